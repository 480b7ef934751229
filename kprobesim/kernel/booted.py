"""``BootedKernel``: an unmodified kernel that boots itself, probed from its first instruction."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from kprobesim.boot.board import Board
from kprobesim.boot.console import Console
from kprobesim.errors import UsageError
from kprobesim.image import KernelImage, Symbol
from kprobesim.inside.guest_image import GuestImage
from kprobesim.kernel.arguments import (
    as_int,
    as_result,
    check_limits,
    code_address,
    give_back,
    pass_arguments,
)
from kprobesim.kernel.base import Kernel
from kprobesim.kernel.on_demand import LateNames
from kprobesim.kernel.racing import Racing
from kprobesim.kernel.running import Running, Until
from kprobesim.machine.faults import GuestStop
from kprobesim.machine.fork_state import ForkState
from kprobesim.machine.turn import in_turn

if TYPE_CHECKING:  # read when first asked for
    from kprobesim.boot.fork_state import Forks
    from kprobesim.inside.allocator import GuestAllocator
    from kprobesim.inside.arrivals import Arrivals
    from kprobesim.inside.calls import GuestCalls
    from kprobesim.inside.cpu_context import Standing
    from kprobesim.inside.lane_calls import LaneCalls
    from kprobesim.inside.modules import GuestModules
    from kprobesim.inside.tasks import Task, Tasks
    from kprobesim.kernel.booted_races import BootedRaces
    from kprobesim.kprobes.manager import KprobesManager
    from kprobesim.kprobes.model import Model
    from kprobesim.types.btf import Btf
    from kprobesim.unbooted.trap_tables import GuestWarning

__all__ = ["BootedKernel", "Until"]

_log = logging.getLogger(__name__)

WhichModel: TypeAlias = "Model | Callable[[], Model | None] | None"

_STEPS = 1000  # of one hit: a REP instruction takes many


class BootedKernel(Running, Kernel, Racing):
    """A kernel on a board of its own: one CPU, RAM, timer, interrupts and a serial console.

    Time is virtual, so two boots print the same text, time stamps included. Probes are hooks that
    change no byte of the guest, which therefore boots as it does without them. :meth:`stop` lets
    :meth:`run` return, and the guest can go on; a :meth:`call` then raises :class:`GuestTimeout`.
    """

    boots = True

    def __init__(
        self,
        image: KernelImage,
        board: Board,
        model: WhichModel = None,
        *,
        strict: bool = False,
        init_freed: bool = False,
    ) -> None:
        """Make a kernel of a board.

        Args:
            image: What boots on it, or has.
            board: The board.
            model: The kernel whose kprobes to imitate, or what gives it; by default its own.
            strict: Imitate it also where it is wrong.
            init_freed: It has given the memory of ``__init`` functions back.
        """
        self._guest_image = with_modules = GuestImage(image, board.machine)
        super().__init__(
            with_modules, board.machine, lambda: self._make_manager(model, strict=strict)
        )
        board.machine.names = LateNames(board.machine, with_modules)
        self.board = board
        self._init_freed = init_freed
        self._dies_watched = False
        board.to_prepare.append(self._watch_init_memory)

    def _make_manager(self, model: WhichModel, *, strict: bool) -> KprobesManager:
        from kprobesim.kernel.on_demand import make_manager

        model = model() if callable(model) else model
        manager = make_manager(self.image, self.machine, self.call, model, strict=strict)
        manager.init_memory.freed = self._init_freed
        self._guest_image.tell(manager.module_notifier)
        manager.module_notifier.watched = self._guest_image.watch
        return manager

    def _is_init_freed(self) -> bool:
        return super()._is_init_freed() if "kprobes" in self.__dict__ else self._init_freed

    def snapshot(self, path: str | os.PathLike[str]) -> None:
        """Write everything to one file, from which :meth:`resume` goes on, in any process.

        An older file of that name is replaced, and only when the new one is complete. What you
        have added to the console's listeners and the probes' handlers is not in it.

        Raises :class:`UsageError` while the guest runs, so also in a handler, or while there are
        return probes or jprobes, and :class:`SnapshotError` if the file cannot be written.
        """
        from kprobesim.kernel.snapshots import write_snapshot

        with self.machine.turn:
            self._check_runs_not()
            self._finish_step()
        tracing = self.tracing_store if "tracing" in self.__dict__ else None
        write_snapshot(path, self._guest_image.kernel, self.board, self.kprobes, tracing)
        _log.info("wrote snapshot %s at %.9f s", path, self.time)

    def _check_runs_not(self) -> None:
        if self.machine.in_handler or self.board.clock.running:
            raise UsageError(
                "the guest is running: its state can be had when run() has returned "
                "(a handler can ask for that with k.stop())"
            )

    def _check_no_breakpoints(self) -> None:
        """They are in the guest's memory, as the pages of their slots are."""
        if self.kprobes.breakpoints:
            raise UsageError(
                "unregister the probes first that are armed by breakpoints: those would come and "
                "go with the guest's memory"
            )

    def _finish_step(self) -> None:
        """Stopped in the middle of a hit, the guest takes the one step that ends it."""
        for _ in range(_STEPS):
            if all(ctl.current_kprobe is None for ctl in self.kprobes.ctlblk):
                return
            self.board.run(seconds=1e-9)
        raise UsageError("the guest is in the middle of a probe: let it run a little further")

    def _watch_init_memory(self) -> None:
        if not self._is_init_freed() and self.image.has_symbols:
            from kprobesim.inside.init_memory import watch_init_memory

            watch_init_memory(self.machine, self.image, self.kprobes.init_memory.free)

    def _watch_die_chain(self) -> None:
        if not self._dies_watched:
            from kprobesim.inside.die_chain import watch_die_chain

            watch_die_chain(self.machine, self.image)
            self._dies_watched = True

    @in_turn
    def fork_state(self) -> ForkState:
        """See :meth:`Kernel.fork_state`.

        Where to fork: behind a first :meth:`call` or :meth:`alloc`, if calls are what follows. The
        guest stands then where it can be called, and a cycle of going back and calling takes 0.4 ms
        instead of 2.
        """
        self._check_runs_not()
        self._check_no_breakpoints()
        self._finish_step()
        return self._forks.fork()

    @in_turn
    def restore_state(self, state: ForkState | None = None) -> int:
        """See :meth:`Kernel.restore_state`."""
        self._check_runs_not()
        self._check_no_breakpoints()
        return self._forks.restore(state)

    @cached_property
    def _forks(self) -> Forks:
        from kprobesim.boot.fork_state import Forks

        def keep() -> Any:
            followed = self._programs.following.save() if "_programs" in self.__dict__ else []
            calls = memory = None
            if "_calls" in self.__dict__:
                calls, memory = self._calls.save(), self._memory.save()
            freed, slots = self.kprobes.init_memory.freed, self.kprobes.slots.save()
            return calls, memory, followed, freed, slots

        def give_back(kept: Any) -> None:
            calls, memory, followed, freed, slots = kept
            self.kprobes.init_memory.restore(freed=freed)
            self.kprobes.slots.restore(slots)
            self._guest_image.look_again()
            if "_programs" in self.__dict__:
                self._programs.following.restore(followed)
            if "_calls" in self.__dict__:
                self._calls.restore(calls)
                self._memory.restore(memory)

        return Forks(self.board, keep, give_back)

    @property
    def console(self) -> Console:
        """What the guest printed, and the way to type: ``k.console.text``, ``k.console.send``."""
        return self.board.console

    @cached_property
    def modules(self) -> GuestModules:
        """The modules that the guest has loaded: a look at its own list each time."""
        from kprobesim.inside.modules import GuestModules

        return GuestModules(self.image, self.board.machine.memory)

    @property
    def warnings(self) -> list[GuestWarning]:
        """The WARN()s that the guest has executed: those that its console tells of."""
        from kprobesim.inside.warnings import console_warnings

        return console_warnings(self.console.text, self.symbols)

    @cached_property
    def _standing(self) -> Standing:
        from kprobesim.inside.cpu_context import make_standing

        return make_standing(self.board, self.image)

    @cached_property
    def tasks(self) -> Tasks:
        """Reads the guest's ``task_struct`` objects."""
        from kprobesim.inside.tasks import Tasks

        standing, machine = self._standing, self.machine
        place = standing.task, standing.current
        return Tasks(self.image, machine.memory, *place, lambda: machine.vcpu.number)

    def _module_types(self) -> Sequence[Btf]:
        return self._guest_image.module_types.all()

    def _percpu_offset(self) -> int:
        return self._standing.per_cpu_offset()

    @cached_property
    def _calls(self) -> GuestCalls:
        return self.new_calls()

    def new_calls(self) -> GuestCalls:
        """Who makes calls, each on a way of its own: one may be called while another waits."""
        from kprobesim.inside.calls import GuestCalls

        return GuestCalls(self.board, self.image, self._standing, self._new_arrivals())

    def new_lane_calls(self) -> LaneCalls:
        """Who makes the calls of one CPU in a race."""
        from kprobesim.inside.lane_calls import LaneCalls

        return LaneCalls(self.board, self.image, self._standing, self._new_arrivals())

    def _new_arrivals(self) -> Arrivals:
        from kprobesim.inside.arrivals import Arrivals
        from kprobesim.kernel.noticing import Probes

        return Arrivals(self.board, self._forks, Probes(self.kprobes))

    @cached_property
    def _races(self) -> BootedRaces:
        from kprobesim.kernel.booted_races import BootedRaces

        return BootedRaces(self, self._memory, self._standing)

    @cached_property
    def _memory(self) -> GuestAllocator:
        from kprobesim.inside.allocator import GuestAllocator

        allocator = GuestAllocator(self._calls, self.image, self.machine.memory)
        self.machine.explainers.append(allocator.explain)
        return allocator

    @property
    def current(self) -> Task | None:
        """See :meth:`Kernel.current`."""
        return self.tasks.current()

    @in_turn
    def call(
        self,
        function: int | str | Symbol,
        *arguments: Any,
        signed: bool = False,
        timeout: float | None = 10.0,
        max_instructions: int = 0,
        guard: bool | None = None,
        cpu: int | None = None,
    ) -> int:
        """Call a guest function in process context and return its 64-bit result.

        The guest runs on until one of its kworkers does the call, on a stack of its own: the
        function may sleep, take locks and wait; interrupts, other tasks, probes and time go on.
        Then the kworker's registers are put back, and the guest stands there until it is run or
        called again. What the function has done to memory stays. With ``cpu`` it is a kworker of
        that CPU, which is on; else of any.

        Arguments as for :meth:`Kernel.call`; what needs memory is in the guest's own: kmalloc's,
        where some zeroes behind it tell afterwards if it was overrun (:class:`GuestError`), or with
        ``guard`` vmalloc's, where an overrun is a :class:`GuestFault` at once, but which no
        function takes that wants the page of an address (``virt_to_page()``). A booted guest counts
        time: ``max_instructions`` are as many nanoseconds, also of those who
        run meanwhile.

        Raises :class:`GuestFault` and :class:`GuestBug` where the guest would oops (it goes on, but
        locks that the function held stay locked), :class:`GuestTimeout`, :class:`GuestLimit`, other
        :class:`BootError`, and whatever a handler raises; :class:`UsageError` in a handler.
        """
        check_limits(timeout, max_instructions)
        calls = self._calls
        calls.arrive(timeout, cpu)
        target = code_address(function, self.symbols, self.machine)
        values, lent = pass_arguments(arguments, self._memory, bool(guard))
        try:
            result = calls.call(
                target, values, timeout=timeout, max_instructions=max_instructions, cpu=cpu
            )
        except BaseException as error:
            if isinstance(error, GuestStop):
                self._tell_schedule(error)
            give_back(lent, self._memory, failed=True)
            raise
        give_back(lent, self._memory)
        return as_result(result, signed=signed)

    @in_turn
    def alloc(self, size: int, *, executable: bool = False, guard: bool = False) -> int:
        """``size`` zeroed bytes from the guest's own allocator, ``__kmalloc()`` or ``vmalloc()``.

        Executable memory is what the guest's own kprobes take for their slots: one page. With
        ``guard`` it is ``vmalloc()``'s, at the end of a page.
        """
        size = as_int(size, "size")
        if executable and guard:
            raise UsageError("executable memory has no guard: leave guard= or executable= out")
        if executable:
            address = self._memory.alloc_code(size)
        else:
            address = (self._memory.alloc_guarded if guard else self._memory.alloc)(size)
        self.machine.write(address, bytes(size))
        return address

    @in_turn
    def free(self, address: int) -> None:
        """Give memory from :meth:`alloc` back."""
        self._memory.free(as_int(address, "address"))
