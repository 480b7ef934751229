"""Every load and store of a guest, noted by machine code: what it took place in, where, and how.

It makes each access some ten times slower, and all translated code is dropped when it begins and
when it ends; so it is for runs of some thousand instructions. The engine counts instructions
meanwhile: an access is told with the number of those that came before it.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from kprobesim.errors import UsageError
from kprobesim.machine.unicorn import numbers
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.machine.unicorn.host_code import put_functions

__all__ = [
    "CODE",
    "NUMBER",
    "RECORD",
    "Access",
    "AccessLog",
    "columns",
    "read_records",
    "unpack_record",
]

CODE = {
    "x86_64": """
note:
    498b01                  mov rax, qword ptr [r9]
    493b4108                cmp rax, qword ptr [r9+0x8]
    732b                    jae full
    4d8b5110                mov r10, qword ptr [r9+0x10]
    4d8b12                  mov r10, qword ptr [r10]
    4c8910                  mov qword ptr [rax], r10
    4d8b5118                mov r10, qword ptr [r9+0x18]
    4d8b12                  mov r10, qword ptr [r10]
    4c895008                mov qword ptr [rax+0x8], r10
    48895010                mov qword ptr [rax+0x10], rdx
    4c894018                mov qword ptr [rax+0x18], r8
    894820                  mov dword ptr [rax+0x20], ecx
    897024                  mov dword ptr [rax+0x24], esi
    4883c028                add rax, 0x28
    498901                  mov qword ptr [r9], rax
    c3                      ret
full:
    49ff4120                inc qword ptr [r9+0x20]
    c3                      ret
""",
    "aarch64": """
note:
    a61c40a9                ldp x6, x7, [x5]
    df0007eb                cmp x6, x7
    42010054                b.cs full
    a72041a9                ldp x7, x8, [x5, #16]
    e70040f9                ldr x7, [x7]
    080140f9                ldr x8, [x8]
    c72000a9                stp x7, x8, [x6]
    c21001a9                stp x2, x4, [x6, #16]
    c3040429                stp w3, w1, [x6, #32]
    c6a00091                add x6, x6, #0x28
    a60000f9                str x6, [x5]
    c0035fd6                ret
full:
    a71040f9                ldr x7, [x5, #32]
    e7040091                add x7, x7, #0x1
    a71000f9                str x7, [x5, #32]
    c0035fd6                ret
""",
}
"""``uc_cb_hookmem_t`` of Unicorn by the host's architecture.

The last argument are five words: where the next record goes, where none goes any more, the places
of the count and of the pc, and how many found no room.
"""

_RECORD = struct.Struct("<QQQqII")
RECORD = _RECORD.size
"""Bytes of one."""
NUMBER = 8
"""Those of its number, with which it begins."""
_WORDS = RECORD // 8
_VALUE = 8  # bytes of what is stored, at most
_WRITE = numbers.UC_MEM_WRITE
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

    def __enter__(self) -> AccessLog:
        if self._engine.running:
            raise UsageError("the guest runs: record from outside of handlers")
        kinds = numbers.UC_HOOK_MEM_READ | numbers.UC_HOOK_MEM_WRITE
        data = ctypes.addressof(self._words)
        function = _function()
        thunk = ctypes.c_void_p(function) if function else _MEMORY(self._note)
        self._hook = self._engine.hooks.add(kinds, thunk, data=data, keep=(self._words, thunk))
        self._translate_anew()
        return self

    def __exit__(self, *_: object) -> None:
        if self._hook is not None:
            self._engine.hooks.unhook(self._hook)
            self._hook = None
            self._translate_anew()

    def _translate_anew(self) -> None:
        self._engine.forget_all_code()
        self._engine.flush_tlb()

    def _note(self, _uc: int, kind: int, address: int, size: int, value: int, _data: int) -> None:
        words = self._words
        if words[0] >= words[1]:
            words[4] += 1
            return
        count, pc = self._engine.counter_words[0], self._engine.words[self._engine.layout.pc]
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


def columns(records: bytes) -> tuple[list[int], list[int], bytes, bytes]:
    """What is looked at most: the numbers, physical addresses, sizes, and which are stores (1)."""
    words = memoryview(records).cast("Q")
    sizes, kinds = records[_SIZE_AT::RECORD], records[_KIND_AT::RECORD]
    return words[::_WORDS].tolist(), words[2::_WORDS].tolist(), sizes, kinds.translate(_IS_STORE)


@cache
def _function() -> int:
    """Where the function is; 0 where there is none for this computer."""
    functions = put_functions(CODE)
    return functions["note"] if functions else 0
