"""Every load and store of a guest, noted by machine code: what it took place in, where, and how.

It makes each access some ten times slower, and all translated code is dropped when it begins and
when it ends; so it is for runs of some thousand instructions. The engine counts instructions
meanwhile: an access is told with the number of those that came before it.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

from kprobesim.errors import UsageError
from kprobesim.machine.unicorn import numbers
from kprobesim.machine.unicorn.access_log_code import CODE
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.machine.unicorn.host_code import put_functions
from kprobesim.machine.unicorn.known_places import trust_the_pc
from kprobesim.machine.unicorn.native import SIGNATURE, Native

__all__ = [
    "NUMBER",
    "PLACE_AT",
    "RECORD",
    "Access",
    "AccessLog",
    "columns",
    "instructions",
    "marks",
    "read_records",
    "unpack_record",
]

_RECORD = struct.Struct("<QQQqII")
RECORD = _RECORD.size
"""Bytes of one."""
NUMBER = 8
"""Those of its number, with which it begins."""
PLACE_AT = 16
"""Where in one its physical address is."""
_WORDS = RECORD // 8
_VALUE = 8  # bytes of what is stored, at most
_WRITE = numbers.UC_MEM_WRITE
_MARK = 1  # the kind of a mark, which is none of Unicorn's
_IS_STORE = bytes(kind == _WRITE for kind in range(256))
_SIZE_AT, _KIND_AT = 32, 36  # in a record, as little-endian numbers below 256
_MEMORY = ctypes.CFUNCTYPE(
    None,
    ctypes.c_void_p,
    ctypes.c_int,
    ctypes.c_uint64,
    ctypes.c_int,
    ctypes.c_int64,
    ctypes.c_void_p,
)


class Access(NamedTuple):
    """A load or a store.

    Attributes:
        number: Instructions that the engine had counted in its run, this one among them.
        pc: The address of the instruction.
        physical: The physical address.
        value: What is stored; 0 for a load.
        size: Bytes.
        is_store: Which of both it is.
    """

    number: int
    pc: int
    physical: int
    value: int
    size: int
    is_store: bool


class AccessLog:
    """The accesses of an engine that counts instructions, as a context manager.

    Attributes:
        lost: How many came after the log was full.
    """

    def __init__(self, engine: Engine, most: int = 1 << 18) -> None:
        """Have room for ``most`` accesses.

        Args:
            engine: The engine; nothing is noted before the ``with``.
            most: How many; later ones are only counted.
        """
        self._engine = engine
        self._records = ctypes.create_string_buffer(most * _RECORD.size)
        start = ctypes.addressof(self._records)
        self._words = (ctypes.c_uint64 * 5)(
            start,
            start + most * _RECORD.size,
            ctypes.addressof(engine.counter_words),
            ctypes.addressof(engine.words) + 8 * engine.layout.pc,
            0,
        )
        self._start = start
        self._hook: int | None = None
        self._search_again: Callable[[], object] = lambda: None

    def __enter__(self) -> AccessLog:
        if self._engine.running:
            raise UsageError("the guest runs: record from outside of handlers")
        kinds = numbers.UC_HOOK_MEM_READ | numbers.UC_HOOK_MEM_WRITE
        data = ctypes.addressof(self._words)
        function = _functions().get("note")
        thunk = ctypes.c_void_p(function) if function else _MEMORY(self._note)
        self._hook = self._engine.hooks.add(kinds, thunk, data=data, keep=(self._words, thunk))
        self._search_again = trust_the_pc(self._engine)
        self._translate_anew()
        return self

    def __exit__(self, *_: object) -> None:
        if self._hook is not None:
            self._engine.hooks.unhook(self._hook)
            self._hook = None
            self._search_again()
            self._translate_anew()

    def _translate_anew(self) -> None:
        self._engine.forget_all_code()
        self._engine.flush_tlb()

    def _note(self, _uc: int, kind: int, address: int, size: int, value: int, _data: int) -> None:
        pc = self._engine.words[self._engine.layout.pc]
        self._put(pc, address, value, size, kind)

    def _put(self, pc: int, address: int, value: int, size: int, kind: int) -> None:
        words = self._words
        if words[0] >= words[1]:
            words[4] += 1
            return
        count = self._engine.counter_words[0]
        _RECORD.pack_into(
            self._records, words[0] - self._start, count, pc, address, value, size, kind
        )
        words[0] += _RECORD.size

    def note_store(self, physical: int, data: bytes) -> None:
        """Note a store that the host makes for the instruction that the CPU stands at.

        Args:
            physical: The physical address.
            data: Up to 8 bytes.
        """
        value = int.from_bytes(data, "little", signed=len(data) == _VALUE)
        self._note(0, _WRITE, physical, len(data), value, 0)

    def mark(self) -> Native:
        """Notes that the CPU came to an instruction: for those that access nothing.

        The record has its address and its number; it is a load of no bytes.
        """
        data, function = ctypes.addressof(self._words), _functions().get("mark")
        if function:
            return Native(function, data, self._words)
        python = SIGNATURE(self._note_mark)
        return Native(ctypes.cast(python, ctypes.c_void_p).value or 0, data, (self._words, python))

    def _note_mark(self, _uc: int, address: int, _size: int, _data: int) -> None:
        self._put(address, 0, 0, 0, _MARK)

    @property
    def lost(self) -> int:
        """How many found no room."""
        return int(self._words[4])

    def __len__(self) -> int:
        return (int(self._words[0]) - self._start) // _RECORD.size

    def clear(self) -> None:
        """Forget what was noted."""
        self._words[0], self._words[4] = self._start, 0

    def forget_from(self, first: int) -> None:
        """Forget what was noted from number ``first`` on."""
        self._words[0] = self._start + first * RECORD

    def records(self, first: int = 0, end: int | None = None) -> bytes:
        """A copy of what was noted from number ``first`` on, for :func:`read_records`."""
        end = len(self) if end is None else end
        return bytes(memoryview(self._records)[first * RECORD : end * RECORD])


def read_records(records: bytes | memoryview) -> Iterator[Access]:
    """The accesses in ``records``, one by one."""
    for number, pc, physical, value, size, kind in _RECORD.iter_unpack(records):
        yield Access(number, pc, physical, value, size, kind == _WRITE)


def unpack_record(records: bytes, index: int) -> tuple[int, int, int, int, bool]:
    """Of access number ``index``: pc, physical address, value, size, whether it is a store."""
    _, pc, physical, value, size, kind = _RECORD.unpack_from(records, index * RECORD)
    return pc, physical, value, size, kind == _WRITE


def marks(records: bytes) -> list[int]:
    """The numbers of the records that are marks."""
    kinds, found, at = records[_KIND_AT::RECORD], list[int](), -1
    while (at := kinds.find(_MARK, at + 1)) >= 0:
        found.append(at)
    return found


def columns(records: bytes) -> tuple[list[int], list[int], bytes, bytes]:
    """What is looked at most: the numbers, physical addresses, sizes, and which are stores (1)."""
    words = memoryview(records).cast("Q")
    sizes, kinds = records[_SIZE_AT::RECORD], records[_KIND_AT::RECORD]
    return words[::_WORDS].tolist(), words[2::_WORDS].tolist(), sizes, kinds.translate(_IS_STORE)


def instructions(records: bytes) -> list[int]:
    """Of each access the address of its instruction."""
    return memoryview(records).cast("Q")[1::_WORDS].tolist()


@cache
def _functions() -> dict[str, int]:
    """Where the functions are; nothing where there are none for this computer."""
    return put_functions(CODE) or {}
