"""Several CPUs in one engine, of which one is in force: how another one is put in.

Each has registers and TLBs of its own, as in hardware; code is everybody's. A TLB is some
kilobytes of descriptors, which are exchanged, and tables, which stay where they are. So nothing is
dropped when another CPU comes to run, be its page tables the same or not, and each finds what it
knew. Hardware's CPUs are told one by one to drop what they know of an address; here whoever drops
anything does it for all: a CPU whose TLBs were put aside before that finds them empty
(:mod:`~kprobesim.machine.unicorn.tlb_flushes`). The cache of jumps goes by virtual address alone:
it is emptied where addresses mean something else.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from kprobesim.machine.unicorn.code_pages import SUFFIXES
from kprobesim.machine.unicorn.context import Context
from kprobesim.machine.unicorn.control_words import translation_offsets
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.machine.unicorn.exclusive_monitor import CLEAR, monitor_word
from kprobesim.machine.unicorn.host_code import put_functions
from kprobesim.machine.unicorn.interposition import find_function
from kprobesim.machine.unicorn.library import library
from kprobesim.machine.unicorn.switch_code import CODE, CPU, DATA
from kprobesim.machine.unicorn.tlb_flushes import FLUSH, flush_counter
from kprobesim.machine.unicorn.tlb_layout import TlbLayout, libc, tlb_layout
from kprobesim.sizes import MASK64

__all__ = ["CpuSwitch", "make_switch"]

_CURRENT, _FORGOTTEN = DATA.index("current"), CPU.index("forgotten")
_TLB = CPU.index("tlb")
_NEVER = MASK64  # so often nothing was ever dropped
_void, _size = ctypes.c_void_p, ctypes.c_size_t


class CpuSwitch(Protocol):
    """The CPUs of one engine."""

    def add(self, context: Context) -> Callable[[], object]:
        """One more: the first is the one that is in the engine.

        Args:
            context: Where its registers are while it is not in the engine.

        Returns:
            What puts it in, between two runs; not for the one that is in.
        """


def make_switch(engine: Engine) -> CpuSwitch:
    """That of an ``engine`` with one CPU.

    Raises:
        EngineError: This is another Unicorn.
    """
    functions, counter = put_functions(CODE), flush_counter(engine)
    if functions is None or counter is None:
        return _PlainSwitch(engine)
    return _NativeSwitch(engine, functions["switch_cpu"], counter)


class _NativeSwitch:
    """Machine code exchanges all at once."""

    def __init__(self, engine: Engine, function: int, counter: ctypes.c_uint64) -> None:
        layout, cpu = tlb_layout(engine.arch), engine.code_pages.cpu
        self._tlbs = _Tlbs(layout, cpu)
        registers = engine.registers_address
        first = ctypes.addressof(engine.words) - registers
        pairs = [(mask, first + at) for at, mask in translation_offsets(engine.arch)]
        compared = (ctypes.c_uint64 * (2 * len(pairs) + 1))(*(n for pair in pairs for n in pair))
        flush = f"{FLUSH}_{SUFFIXES[engine.arch]}"
        monitor = monitor_word(engine)
        values = {
            "current": 0,
            "registers": registers,
            "register_words": len(engine.read_registers()) // 8,
            "compared": ctypes.addressof(compared),
            "tlb": cpu + 8 * layout.first,
            "tlb_words": layout.words,
            "dirty": cpu + 8 * layout.dirty,
            "forgotten": ctypes.addressof(counter),
            "jumps": cpu + 8 * layout.jumps,
            "jump_words": layout.jump_words,
            "flush": find_function(library(), flush),
            "cpu": cpu,
            "monitor": ctypes.addressof(monitor),
        }
        self._data = (ctypes.c_uint64 * len(DATA))(*(values[name] for name in DATA))
        self._cpus: list[Any] = []
        self._keep = compared, monitor
        # Not by a prototype, which would look at each argument; the lock is kept, it is that short.
        self._function = ctypes.PYFUNCTYPE(None)(function)
        weakref.finalize(engine, _free_tables, self._tlbs, self._data, self._cpus).atexit = False

    def add(self, context: Context) -> Callable[[], object]:
        values = {
            "registers": context.registers_address,
            "tlb": self._tlbs.new(),
            "dirty": self._tlbs.all,
            "forgotten": _NEVER,
        }
        cpu = (ctypes.c_uint64 * len(CPU))(*(values[name] for name in CPU))
        if not self._cpus:
            self._data[_CURRENT] = ctypes.addressof(cpu)
        self._cpus.append(cpu)
        return partial(self._function, _void(ctypes.addressof(self._data)), ctypes.byref(cpu))


class _Tlbs:
    """TLBs of CPUs that are not in the engine.

    Attributes:
        all: The bits of all TLBs of a CPU.
    """

    def __init__(self, layout: TlbLayout, cpu: int) -> None:
        self._layout = layout
        self._live = (ctypes.c_uint64 * layout.words).from_address(cpu + 8 * layout.first)
        self._places: list[Any] = []
        self.all = (1 << len(layout.masks)) - 1

    def new(self) -> int:
        """Those of one more CPU, as large as the present one's, with nothing sensible in them.

        All are yet to be emptied.
        """
        layout = self._layout
        words = (ctypes.c_uint64 * layout.words)(*self._live)
        allocate = libc("malloc", _void, _size)
        for mask_at, attributes_at in zip(layout.masks, layout.attributes, strict=True):
            entries = words[mask_at] // layout.entry_bytes + 1
            words[mask_at + 1] = _got(allocate(entries * layout.entry_bytes))
            words[attributes_at] = _got(allocate(entries * layout.attribute_bytes))
        self._places.append(words)
        return ctypes.addressof(words)

    def free(self, words: int) -> None:
        """Give the tables back that some descriptors point to."""
        layout, give = self._layout, libc("free", None, _void)
        tables = (ctypes.c_uint64 * layout.words).from_address(words)
        for mask_at, attributes_at in zip(layout.masks, layout.attributes, strict=True):
            give(tables[mask_at + 1])
            give(tables[attributes_at])


def _got(address: int | None) -> int:
    if not address:
        raise MemoryError
    return address


def _free_tables(tlbs: _Tlbs, data: Any, cpus: Sequence[Any]) -> None:
    """Free those of the CPUs that are not in the engine, which frees the one's that is."""
    for cpu in cpus:
        if ctypes.addressof(cpu) != data[_CURRENT]:
            tlbs.free(cpu[_TLB])


class _PlainSwitch:
    """Where no code of ours can be: Unicorn's functions, and one TLB, emptied at a switch."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._monitor = engine, monitor_word(engine)
        first = ctypes.addressof(engine.words) - engine.registers_address
        self._places = [(first + at, mask) for at, mask in translation_offsets(engine.arch)]
        self._current: Context | None = None

    def add(self, context: Context) -> Callable[[], object]:
        if self._current is None:
            self._current = context
        return partial(self._switch, context)

    def _switch(self, new: Context) -> None:
        old = self._current
        assert old is not None
        old.save()
        new.restore()
        self._current = new
        self._monitor.value = CLEAR
        if any((old.word(at).value ^ new.word(at).value) & mask for at, mask in self._places):
            self._engine.flush_tlb()
