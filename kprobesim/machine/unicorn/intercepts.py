"""What a board does in the place of an x86-64 CPU of Unicorn's: its interrupts and some registers.

Unicorn has neither an interrupt controller nor a hook for RDMSR and WRMSR. But its CPU is
QEMU's, which looks for an interrupt wherever it may take one, precisely: when IF opens, behind the
instruction that follows STI. Only what it would then ask the controller for was taken out, so that
each interrupt has the vector 0. And at these instructions it asks whether a hypervisor
intercepts them (AMD's SVM). Both are calls of public functions, in whose place ours are put
(:mod:`~kprobesim.machine.unicorn.interposition`; target/i386/seg_helper.c, misc_helper.c, 2.1.4).
"""

from __future__ import annotations

import ctypes
import struct
import weakref
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from kprobesim.errors import EngineError
from kprobesim.machine.unicorn.engine_entries import MOST_ENGINES, EngineEntries
from kprobesim.machine.unicorn.host_code import assemble, host_machine, put_code
from kprobesim.machine.unicorn.intercepts_code import CODE, ENTRY, ENTRY_BYTES, WORDS
from kprobesim.machine.unicorn.interposition import find_function, find_slots, one_at_a_time
from kprobesim.machine.unicorn.library import library

if TYPE_CHECKING:
    from kprobesim.machine.unicorn.engine import Engine

__all__ = ["Intercepts", "make_intercepts"]

_HARD, _NMI = 2, 0x200  # CPU_INTERRUPT_HARD and CPU_INTERRUPT_NMI of QEMU's
_INTERCEPT, _DELIVER = "cpu_svm_check_intercept_param_x86_64", "do_interrupt_x86_hardirq_x86_64"
_LOOP_EXIT, _RESET = "cpu_loop_exit_x86_64", "cpu_reset_interrupt"
_PC = 16  # the word of RIP
_CPU_BYTES = 0x1000  # among the first of these the requests are
_ON_MSR = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint32)
_u64 = ctypes.c_uint64


class Intercepts:
    """One engine's."""

    def __init__(self, engine: Engine, words: Any, requests: int) -> None:
        """Intercept nothing yet; ``words`` are the entry, ``requests`` where those are."""
        self._engine = engine
        self._entry = words
        self._requests = ctypes.c_uint32.from_address(requests)
        self._keep: tuple[Any, ...] = ()
        none = (_u64 * 2)()
        self._ranges: Any = none
        values = {
            "cpu": engine.code_pages.cpu,
            "msrs": ctypes.addressof(none),
            "counter": ctypes.addressof(engine.counter_words),
            "extra": ctypes.addressof(engine.extra_count),
            "requests": requests,
            "env": ctypes.addressof(engine.words),  # from now on it is found
        }
        for name, value in values.items():
            words[ENTRY.index(name)] = value

    # -- interrupts --------------------------------------------------------------------------------

    def offer(self, vector: int, *, ends_run: bool) -> None:
        """Let the CPU take an interrupt as soon as it can: at once, or where IF opens.

        While the engine runs it need not be seen before the run ends.

        Args:
            vector: 0 to 255.
            ends_run: Whether the run ends when it is taken, as there is something to do then.
        """
        entry = self._entry
        entry[_VECTOR] = vector
        entry[_ENDS_WHEN_TAKEN] = ends_run
        self._requests.value |= _HARD

    def withdraw(self) -> None:
        """There is no interrupt any more."""
        self._requests.value &= ~_HARD

    @property
    def is_offered(self) -> bool:
        """Whether the CPU has not yet taken the interrupt."""
        return bool(self._requests.value & _HARD)

    @property
    def taken(self) -> int:
        """How many were taken."""
        return int(self._entry[_TAKEN])

    def offer_nmi(self, on: bool) -> None:
        """Let the CPU take an NMI, which waits while the handler of one runs; or no longer."""
        if on:
            self._requests.value |= _NMI
        else:
            self._requests.value &= ~_NMI

    @property
    def is_nmi_offered(self) -> bool:
        """Whether the CPU has not yet taken it."""
        return bool(self._requests.value & _NMI)

    # -- instructions ------------------------------------------------------------------------------

    def answer_msrs(
        self,
        ranges: Sequence[range],
        read: Callable[[int], int | None],
        write: Callable[[int, int], bool],
    ) -> None:
        """Do RDMSR and WRMSR of some registers.

        Args:
            ranges: Which numbers.
            read: Called with the number; the value, or ``None``: Unicorn does it.
            write: Called with number and value; false: Unicorn does it.
        """
        engine, words = self._engine, self._engine.words
        keep = engine.hooks.keep

        def on_msr(is_write: int) -> int:
            if not engine.running:  # the host reads or writes a register
                return 0
            try:
                number = words[1] & 0xFFFF_FFFF
                if is_write:
                    return write(number, words[0] & 0xFFFF_FFFF | (words[2] & 0xFFFF_FFFF) << 32)
                value = read(number)
                if value is None:
                    return 0
                words[0], words[2] = value & 0xFFFF_FFFF, value >> 32
            except BaseException as error:
                keep(error)
            return 1

        pairs = [word for each in ranges for word in (each.start, len(each))]
        self._ranges = (_u64 * (len(pairs) + 2))(*pairs)
        thunk = _ON_MSR(on_msr)
        self._keep = thunk, self._ranges
        self._entry[ENTRY.index("on_msr")] = ctypes.cast(thunk, ctypes.c_void_p).value or 0
        self._entry[ENTRY.index("msrs")] = ctypes.addressof(self._ranges)


_VECTOR, _TAKEN = ENTRY.index("vector"), ENTRY.index("taken")
_ENDS_WHEN_TAKEN = ENTRY.index("ends_when_taken")


class _Placed:
    """The machine code, once a process, in the place of Unicorn's."""

    def __init__(self, host: str, slots: dict[str, ctypes.c_uint64]) -> None:
        code, labels = assemble(CODE[host])
        lib = library()
        values = {
            "real_intercept": find_function(lib, _INTERCEPT),
            "real_deliver": find_function(lib, _DELIVER),
            "loop_exit": find_function(lib, _LOOP_EXIT),
        }
        placed = put_code(code, WORDS, values, "table", ENTRY_BYTES * MOST_ENGINES)
        self.entries = EngineEntries(placed, ENTRY_BYTES, ENTRY.index("env"), WORDS.index("count"))
        slots[_INTERCEPT].value = placed.code + labels["intercept"]
        slots[_DELIVER].value = placed.code + labels["deliver"]


@cache
def _requests_at() -> int:
    """Where in Unicorn's CPU requests for interrupts are; found by its own function, on a copy."""
    reset = getattr(library(), _RESET)
    reset.argtypes, reset.restype = (ctypes.c_void_p, ctypes.c_int), None
    block = ctypes.create_string_buffer(b"\xff" * _CPU_BYTES, _CPU_BYTES)
    reset(ctypes.addressof(block), _HARD)
    changed = [
        4 * n
        for n, (word,) in enumerate(struct.iter_unpack("<I", block.raw))
        if word != 0xFFFF_FFFF
    ]
    if len(changed) != 1:
        raise EngineError("cannot find Unicorn's interrupts; is this a new version of it?")
    return changed[0]


@one_at_a_time
@cache
def _placed() -> _Placed | None:
    """Put our functions in, once a process; ``None`` where that cannot be."""
    host, lib = host_machine(), library()
    slots = find_slots(lib, (_INTERCEPT, _DELIVER)) if host in CODE else {}
    found = all(find_function(lib, name) for name in (_LOOP_EXIT, _RESET))
    return _Placed(host, slots) if len(slots) == 2 and found else None


def make_intercepts(engine: Engine) -> Intercepts | None:
    """Those of an x86-64 ``engine``; ``None`` if Unicorn's functions cannot be replaced here.

    Raises:
        EngineError: This is another Unicorn.
    """
    placed, cpu = _placed(), engine.code_pages.cpu
    words = placed.entries.take() if placed is not None and cpu else None
    if placed is None or words is None:
        return None
    if engine.layout.pc != _PC:
        raise EngineError("RIP is another word of Unicorn's than it was")
    weakref.finalize(engine, placed.entries.give_back, words).atexit = False
    return Intercepts(engine, words, cpu + _requests_at())
