"""The CPU emulator behind three verbs: run, stop, forget; its hooks are in hooks.py.

The official binding costs 1-2 us for one register; a breakpoint needs several of them for every
hit. Unicorn keeps the registers of the guest in a C struct, so the engine finds that struct once
(:mod:`~kprobesim.machine.unicorn.struct_layout`) and hands out the words themselves: a register
access is then an array access. All other calls go to the C functions with plain integer prototypes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING

from kprobesim.arch.architecture import halves
from kprobesim.errors import EngineError
from kprobesim.machine.unicorn import numbers, struct_layout
from kprobesim.machine.unicorn.call_list import STEP, CallList, succeed
from kprobesim.machine.unicorn.cmpxchg import mend_cmpxchg
from kprobesim.machine.unicorn.code_pages import CodePages
from kprobesim.machine.unicorn.context import Context
from kprobesim.machine.unicorn.counting import Counting
from kprobesim.machine.unicorn.dispatch import make_dispatch
from kprobesim.machine.unicorn.hooks import Hooks
from kprobesim.machine.unicorn.interposition import one_at_a_time
from kprobesim.machine.unicorn.library import (
    GPRS,
    check,
    describe,
    function_address,
    holding_library,
)
from kprobesim.machine.unicorn.named_registers import NamedRegisters
from kprobesim.machine.unicorn.python_stack import with_room
from kprobesim.machine.unicorn.struct_layout import Layout, Words
from kprobesim.sizes import PAGE

if TYPE_CHECKING:
    from kprobesim.machine.stopwatch import RunTime
    from kprobesim.machine.unicorn.spins import Spins

__all__ = ["Engine"]

_REMOVE_CACHE = numbers.UC_CTL_IO_WRITE << 30 | 2 << 26 | numbers.UC_CTL_TB_REMOVE_CACHE
_HALTS = halves(x86_64=b"\xf4", arm64=b"\x7f\x20\x03\xd5")  # hlt, wfi
_NOWHERE = 1 << 36  # a physical address where no board has anything

_MARK = 0x5AFE_0F15_7A65_0000  # a value of the first register that nothing else has
_NEVER = ctypes.CFUNCTYPE(ctypes.c_bool)

_u64 = ctypes.c_uint64
_ptr = ctypes.c_void_p

_MEND: Mapping[str, Callable[[], object]] = halves(x86_64=mend_cmpxchg, arm64=lambda: None)
_IS_IN_USER_MODE: Mapping[str, Callable[[Engine], bool]] = halves(
    x86_64=lambda engine: engine.read_register("cs") & 3 != 0,
    arm64=lambda engine: engine.read_flags() & 0xC == 0,
)


class Engine(NamedRegisters):
    """One emulated CPU of ``arch`` ("x86_64" or "arm64").

    ``words`` are the guest's registers, live, as 64-bit words; ``layout`` says which word is which
    (see :class:`~kprobesim.machine.unicorn.struct_layout.Layout`); ``fields`` are what a fault
    leaves behind, by name ("error_code" and "old_exception", or "esr", "far" and "pstate").
    ``model`` is the x86-64 CPU: "epyc" (all that kernel functions want) or "qemu64" (little, for
    booting: what it has not, such as the host's random numbers, no kernel asks for). Not
    thread-safe, but :meth:`stop` may be called from any thread.
    """

    @one_at_a_time
    def __init__(self, arch: str, model: str = "") -> None:
        super().__init__(arch, model)
        self.code_pages = CodePages(self._uc, arch)
        _MEND[arch]()
        self._is_in_user_mode: Callable[[Engine], bool] = _IS_IN_USER_MODE[arch]
        self._pc = self._numbers["pc"]
        # With arguments made once and no prototype to check them against: every emulated branch
        # reads the flags, and this takes 0.3 us instead of 0.5.
        self._flags = _u64()
        flags = (
            _ptr(self._handle),
            ctypes.c_int(self._numbers["flags"]),
            _ptr(ctypes.addressof(self._flags)),
        )
        self._fetch_flags = partial(self._lib["uc_reg_read"], *flags)
        self._store_flags = partial(self._lib["uc_reg_write"], *flags)
        self.layout: Layout = struct_layout.layout(arch)
        self.words: Words = struct_layout.find_words(
            self._handle, self.layout, GPRS[arch], self.write_number
        )
        self.window = memoryview(self.words).cast("B").cast("Q")
        """The same words for hot paths: twice as fast, and picky: only 0 to 2**64-1 are written."""
        self.leave_block: Callable[[], object] = partial(
            self._lib["uc_reg_write"],
            _ptr(self._handle),
            ctypes.c_int(self._pc),
            _ptr(ctypes.addressof(self.words) + 8 * self.layout.pc),
        )
        """From a code hook: leave the running block, and go on at the pc that is in the words.

        Only there: in the hook of an interrupt the words are enough (unicorn#1027), and one who
        also stops the engine stops it first (unicorn#1579).
        """
        self.fields = struct_layout.find_fields(self.words, self.layout)
        self.counter_words: Words = struct_layout.find_counter(self._handle, self.layout)
        """What was executed so far, and the limit, of the current or last counted run; live."""
        stop = partial(self._lib.uc_emu_stop, self._handle)  # where no frame of Python is left, too
        self.hooks = hooks = Hooks(self._lib, self._handle, self.words, stop)
        self._begin, self._count, nowhere = _u64(), ctypes.c_size_t(), _u64(0)
        arguments = _ptr(self._handle), self._begin, nowhere, nowhere, self._count
        self._start = partial(self._lib["uc_emu_start"], *arguments)
        self._start_holding = partial(holding_library()["uc_emu_start"], *arguments)
        self._between_blocks, self._nested, self._forgotten = False, 0, False
        self.dispatch = dispatch = make_dispatch(self, self._uc, self._run_one_block)
        """Who is called before instructions, and at blocks."""
        self.counts = Counting(
            self._handle, self.layout, dispatch, hooks.unhook, self.forget_all_code
        )
        self.run_time: RunTime | None = None
        """Who measures how long it runs, if somebody does."""
        self.extra_count: Words = (_u64 * 1)()
        """One word: by how much the limit was raised for a step that must come to its end."""
        self.spin_words: Words = (_u64 * 2)()
        """Whether a spin of the guest ends the run, and at which count one does."""
        self.spins: Spins | None = None
        """Whoever notes spins, if somebody does: see :func:`.spins.watch_spins`."""
        if not self.code_pages.exact:
            # No store is fast then.
            self.hooks.add(numbers.UC_HOOK_MEM_FETCH_PROT, _NEVER(lambda: False))

    # -- memory ------------------------------------------------------------------------------

    def map_ram(self, physical: int, size: int, host_address: int) -> None:
        """Let ``size`` bytes at ``host_address`` be the RAM at physical address ``physical``."""
        self._map(physical, size, host_address)
        self.code_pages.cover(physical, size, host_address)

    def _map(self, physical: int, size: int, host_address: int) -> None:
        status = self._lib.uc_mem_map_ptr(
            self._handle, physical, size, numbers.UC_PROT_ALL, host_address
        )
        check(status, f"mapping {size:#x} bytes of RAM at {physical:#x}")

    def forget_code(self, start: int, end: int) -> None:
        """Drop what was translated from the virtual range [``start``, ``end``), which is mapped.

        For hooks that come or go: Unicorn 2.1.4 goes on with what it has (unicorn#2200, #2279).
        In user mode that is all there is (3 ms, and translating it again), once until it runs:
        Unicorn looks addresses up with the rights of the moment, and the kernel's would raise a
        page fault.
        """
        if self.in_user_mode():
            if not self._forgotten:
                self._uc.forget_all_code()
                self._forgotten = not self._nested  # until it runs
        else:
            # Not through the binding, which takes 3 us: a stepped hit does this twice.
            status = self._lib.uc_ctl(self._handle, _REMOVE_CACHE, start, end)
            check(status, "forgetting code")

    def in_user_mode(self) -> bool:
        """Whether the CPU is in ring 3 or at EL0."""
        return self._is_in_user_mode(self)

    def forget_all_code(self) -> None:
        """Drop all that was translated (3 ms in a booted guest); not while the engine runs."""
        self._uc.forget_all_code()
        self.code_pages.flushed()

    def flush_tlb(self) -> None:
        """Forget all address translations; a TLB that was over 70 % full doubles its size."""
        self._uc.flush_tlb()

    # -- running -----------------------------------------------------------------------------

    def run(self, begin: int, count: int = 0, *, holding: bool = False) -> int:
        """Run from ``begin`` until a halt, a :meth:`stop`, or ``count`` instructions if not 0.

        Returns Unicorn's error number, 0 if it just stopped; raises what a hook's callback raised.
        Counting is exact: a block that was translated for an uncounted run does not count, so all
        are dropped when the mode changes (unicorn#1606: without that ``count=1`` may run four).
        ``holding`` keeps the interpreter's lock, so that no other thread runs but in callbacks:
        letting go of it and taking it back costs each callback 50 ns.

        Raises:
            RecursionError: Python's stack has no room left for a callback.
        """
        self._count.value = with_room(self.counts.begin, count)
        self._begin.value = begin
        if self.run_time is not None:
            self.run_time.begin()
        self._nested, self._forgotten = self._nested + 1, False
        try:
            status: int = self._start_holding() if holding else self._start()
        finally:
            self._nested -= 1
        if self.dispatch.retired and not self._nested:
            self.dispatch.retired.clear()
        if self.hooks.kept is not None:
            self.hooks.raise_kept()
        return status

    def start_step(self, begin: int, count: int) -> tuple[int, ...]:
        """The step of a :class:`.call_list.CallList` that does what :meth:`run` does.

        Args:
            begin: As there.
            count: As there, but no 0.

        Returns:
            Its words, of which number 2 is where the run begins.
        """
        function = function_address(self._lib["uc_emu_start"])
        return succeed(function, (self._handle, begin, 0, 0, count))

    def run_list(self, calls: CallList, first: int, end: int, count: int, *, holding: bool) -> int:
        """Let the steps ``first`` to ``end``, without that, run the guest, as often as they like.

        Args:
            calls: The list.
            first: A number of a step.
            end: Another one.
            count: What :meth:`start_step` was given for them.
            holding: As for :meth:`run`.

        Returns:
            The number of the step that ended it; ``end``: none has. It raises what a hook's
            callback raised, when all that is over.
        """
        with_room(self.counts.begin, count)
        call = calls.holding if holding else calls.releasing
        self._nested, self._forgotten = self._nested + 1, False
        try:
            step = end - call(calls.address + 8 * STEP * first, end - first)
        finally:
            self._nested -= 1
        if self.dispatch.retired and not self._nested:
            self.dispatch.retired.clear()
        if self.hooks.kept is not None:
            self.hooks.raise_kept()
        return step

    @property
    def running(self) -> bool:
        """Whether it runs now: a callback asks."""
        return self._nested > 0

    def execute(self, code: bytes, values: Sequence[int]) -> None:
        """Run ``code``, which ends by a halt, with ``values`` in the first registers.

        The CPU has its MMU off and may do anything. Raises :class:`EngineError` if it does not get
        there.
        """
        for number, value in enumerate(values):
            self.words[number] = value
        self._run_apart(code, partial(self.run, _NOWHERE))
        if self.words[self.layout.pc] != _NOWHERE + len(code):
            raise EngineError(f"Unicorn stopped at {self.words[self.layout.pc]:#x}")

    def _run_one_block(self) -> int:
        """Run one instruction, where no board has anything; its address."""
        self._begin.value = _NOWHERE
        self._run_apart(_HALTS[self.arch], self._start)
        self.words[self.layout.pc] = 0
        return _NOWHERE

    def _run_apart(self, code: bytes, run: Callable[[], int]) -> None:
        """Run ``code`` where no board has anything."""
        buffer = ctypes.create_string_buffer(2 * PAGE)
        host = -(-ctypes.addressof(buffer) // PAGE) * PAGE
        ctypes.memmove(host, code, len(code))
        self._map(_NOWHERE, PAGE, host)
        try:
            check(run(), "running a few instructions")
        finally:
            self.forget_code(_NOWHERE, _NOWHERE + PAGE)
            status = self._lib.uc_mem_unmap(self._handle, _NOWHERE, PAGE)
            check(status, "unmapping a page")

    def count_blocks(self) -> None:
        """From now on count blocks: see :meth:`.counting.Counting.blocks`."""
        self.counts.blocks()
        self.dispatch.look_everywhere(not self._between_blocks)

    def count_instructions(self) -> None:
        """Count instructions again, after :meth:`count_blocks`; limits are exact instructions."""
        self.counts.instructions()
        self.dispatch.look_everywhere(True)

    def stop_between_blocks(self) -> None:
        """From now on look for a stop only where a block starts (see :mod:`.stop_points`).

        Who is armed may move the pc and stop at once as before; a stop in another callback waits
        for the next block, which is precise. For an engine that has not run.
        """
        self._between_blocks = True
        self.dispatch.look_everywhere(False)

    def on_code(self, address: int, callback: Callable[[int, int], object]) -> None:
        """Call ``callback(address, size)`` before the instruction at virtual ``address``.

        Guest memory is not touched. Code that was translated before is to be forgotten. There is
        one callback an address: who shares one is a client of
        :class:`~kprobesim.machine.code_watch.CodeWatch`.
        """
        self.dispatch.arm(address, self.hooks.code_callback(callback), leaves=True)

    def stop(self) -> None:
        """Ask the running guest to stop; precise when asked from a hook."""
        self._lib.uc_emu_stop(self._handle)

    @property
    def counting(self) -> bool:
        """Whether the current or last run counts instructions."""
        return self.counts.on and not self.counts.in_blocks

    @property
    def counter(self) -> tuple[int, int]:
        """(instructions executed, limit) of the current or last counted run."""
        return self.counter_words[0], self.counter_words[1]

    @counter.setter
    def counter(self, value: tuple[int, int]) -> None:
        time = self.run_time
        now = 0 if time is None else time.now()
        self.counter_words[0], self.counter_words[1] = value
        if time is not None:
            time.set(now)

    @staticmethod
    def describe(status: int) -> str:
        """The text of an error number that :meth:`run` returned."""
        return describe(status)

    # -- registers that are not words ----------------------------------------------------------

    def read_flags(self) -> int:
        """EFLAGS or PSTATE, put together from where Unicorn keeps the parts (0.3 us)."""
        self._fetch_flags()
        return self._flags.value

    def write_flags(self, value: int) -> None:
        """Write EFLAGS or PSTATE."""
        self._flags.value = value
        self._store_flags()

    def write_pc(self, value: int) -> None:
        """Go on at ``value``, from a code hook, as :meth:`leave_block` does."""
        self.words[self.layout.pc] = value
        self.leave_block()

    # -- the whole CPU -------------------------------------------------------------------------

    def new_context(self) -> Context:
        """A copy of all registers as they are now."""
        context = Context(self._lib, self._handle, self._uc.new_context())
        context.save()
        return context

    @property
    def version(self) -> str:
        """Unicorn's, to which the bytes of :meth:`read_registers` belong."""
        number = self._lib.uc_version(None, None)
        return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}"

    @cached_property
    def registers_address(self) -> int:
        """Where the struct of :meth:`read_registers` is inside Unicorn, live."""
        self.words[0], kept = _MARK, self.words[0]
        registers = self.read_registers()
        address = ctypes.addressof(self.words) - registers.find(_MARK.to_bytes(8, "little"))
        found = ctypes.string_at(address, len(registers)) == registers
        self.words[0] = kept
        if not found:
            raise EngineError("cannot find all registers inside Unicorn; is this a new version?")
        return address

    def read_registers(self) -> bytes:
        """The struct that holds all registers."""
        return self.new_context().registers

    def write_registers(self, registers: bytes) -> None:
        """Set all registers to what :meth:`read_registers` gave, in any process.

        Address translations stay: see :meth:`flush_tlb`. Unicorn trusts what is in there, so only
        the length can be checked here.
        """
        context = self.new_context()
        context.registers = registers
        context.restore()
