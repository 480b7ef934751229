"""``BootedKernel``: an unmodified kernel that boots itself, probed from its first instruction."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from kprobesim.boot.board import Board
from kprobesim.boot.boards import board_class
from kprobesim.boot.console import Console
from kprobesim.boot.fork_state import Forks, ForkState
from kprobesim.boot.initramfs import built_in_initramfs
from kprobesim.boot.missing_config import CONSOLES
from kprobesim.boot.stop import StopReason
from kprobesim.errors import ImageError, UsageError
from kprobesim.image import KernelImage, Symbol
from kprobesim.inside.calls import GuestCalls
from kprobesim.inside.cpu_context import Standing, make_standing
from kprobesim.inside.die_chain import watch_die_chain
from kprobesim.inside.tasks import Task, Tasks
from kprobesim.kernel.arguments import as_int, as_result, check_limits, code_address, passed
from kprobesim.kernel.base import KernelHandle, as_kprobe, memory_size
from kprobesim.kernel.snapshots import resume_board, write_snapshot
from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.kprobes.manager import KprobesManager
from kprobesim.kprobes.model import Model, model_of
from kprobesim.kprobes.state import load_probes
from kprobesim.stack.unwind import Unwinder

__all__ = ["BootedKernel", "Until"]

Until = str | Callable[["BootedKernel"], bool] | None
"""What :meth:`BootedKernel.run` waits for: a text on the console, or a condition."""

_MEMORY = 256 << 20
_STEPS = 1000  # of one hit: a REP instruction takes many


class BootedKernel(KernelHandle):
    """A kernel on a board of its own: one CPU, RAM, timer, interrupts and a serial console.

    Time is virtual, so two boots print the same text, time stamps included. Probes are hooks that
    change no byte of the guest, which therefore boots as it does without them.
    """

    def __init__(
        self, image: KernelImage, board: Board, model: Model | None = None, *, strict: bool = False
    ) -> None:
        machine = board.machine
        unwinder = Unwinder(machine, image)
        machine.symbolize = unwinder.symbolize
        machine.unwind = unwinder.trace
        model = model or model_of(image.version)
        stepping = model.of(image.arch).stepping
        manager = KprobesManager(machine, image, stepping, "hook", model=model, strict=strict)
        super().__init__(image, machine, manager)
        machine.no_hit = manager.idle_state()
        self.board = board
        self._dies_watched = False

    @classmethod
    def start(
        cls,
        image: KernelImage,
        *,
        initrd: str | os.PathLike[str] | bytes | None = None,
        append: str = "",
        memory: int | str = _MEMORY,
        probes: Sequence[Kprobe] = (),
        clock: str = "virtual",
        model: Model | None = None,
        strict: bool = False,
    ) -> BootedKernel:
        """Power a board on with ``image`` in its memory; nothing has run yet.

        initrd : a cpio archive, packed or not: its bytes, or the name of its file; without one a
                 small ``/init`` of ours does some work and powers off
        append : the kernel's command line; ``console=`` is added if it names none
        memory : RAM in bytes, or "256M"
        probes : registered before the first instruction
        clock  : "virtual" (time passes with what the guest does and is skipped when it idles: the
                 same in each run) or "host" (real seconds, for somebody who types)
        model  : the kernel whose kprobes to imitate; by default that of the image's version
        strict : imitate it also where it is wrong
        """
        if not isinstance(append, str):
            raise UsageError(f"append {append!r} is no str: give the kernel's command line")
        if "console=" not in append:
            append = f"console={CONSOLES[image.arch]} {append}".strip()
        board = board_class(image.arch)(
            image,
            initrd=_read_initrd(initrd, image.arch),
            append=append,
            memory=memory_size(memory),
            clock=clock,
        )
        kernel = cls(image, board, model, strict=strict)
        if probes:
            kernel.register_kprobes([as_kprobe(p) for p in probes])
        return kernel

    @classmethod
    def resume(
        cls,
        path: str | os.PathLike[str],
        *,
        probes: Sequence[Kprobe] = (),
        image: str | os.PathLike[str] | None = None,
        clock: str = "virtual",
        progress: Callable[[str], None] | None = None,
    ) -> BootedKernel:
        """Go on from a file that :meth:`snapshot` wrote: registers, memory, devices, time, probes.

        The file is all that is needed; the kernel's symbols and tables are in it.

        probes   : Handlers are functions and are in no file. A probe here that names the place of
                   a stored one, in the same words, takes its place and gets its ``nmissed`` and
                   ``flags``; others are registered. The stored ones are all registered again,
                   without handlers: ``for p in k.kprobes: p.pre_handler = ...``.
        image    : a kernel image that must be of the same kernel
        clock    : "virtual" or "host", as in :meth:`start`; time goes on from where it stood
        progress : hears what takes long, such as unpacking ``image``

        Raises :class:`SnapshotError` for a file that is damaged, cut short, of another kernel than
        ``image``, or of a version or an emulator that is not this one.
        """
        resumed = resume_board(path, image, clock, progress)
        kernel = cls(resumed.image, resumed.board)
        load_probes(kernel.kprobes, resumed.probes, [as_kprobe(p) for p in probes])
        return kernel

    def snapshot(self, path: str | os.PathLike[str]) -> None:
        """Write everything to one file, from which :meth:`resume` goes on, in any process.

        An older file of that name is replaced, and only when the new one is complete. What you
        have added to the console's listeners and the probes' handlers is not in it.

        Raises :class:`UsageError` while the guest runs, so also in a handler, or while there are
        return probes or jprobes, and :class:`SnapshotError` if the file cannot be written.
        """
        self._check_runs_not()
        self._finish_step()
        write_snapshot(path, self.image, self.board, self.kprobes)

    def _check_runs_not(self) -> None:
        if self.machine.in_handler or self.board.clock.running:
            raise UsageError(
                "the guest is running: its state can be had when run() has returned "
                "(a handler can ask for that with k.board.stop())"
            )

    def _finish_step(self) -> None:
        """Stopped in the middle of a hit, the guest takes the one step that ends it."""
        for _ in range(_STEPS):
            if self.kprobes.ctlblk[0].running is None:
                return
            self.board.run(seconds=1e-9)
        raise UsageError("the guest is in the middle of a probe: let it run a little further")

    def _watch_die_chain(self) -> None:
        if not self._dies_watched:
            watch_die_chain(self.machine, self.image)
            self._dies_watched = True

    def fork_state(self) -> ForkState:
        """The guest's state in memory, for :meth:`restore_state`: the base of campaigns.

        Takes some 0.1 s; the state is freed with its last reference. Raises :class:`UsageError`
        while the guest runs, so also in a handler.
        """
        self._check_runs_not()
        self._finish_step()
        return self._forks.fork()

    def restore_state(self, state: ForkState | None = None) -> int:
        """Back to ``state``, by default the one that was last forked or restored.

        Registers, memory, devices, console and virtual time are as they were; only pages that were
        written since are touched, and their number is returned. Going back to another state than
        the last one resets all pages. Probes stay as they are: those registered now, with their
        counts.

        Raises :class:`UsageError` while the guest runs, and for a state that is not this kernel's.
        """
        self._check_runs_not()
        return self._forks.restore(state)

    @cached_property
    def _forks(self) -> Forks:
        def keep() -> Any:
            return self._calls.save() if "_calls" in self.__dict__ else None

        def give_back(kept: Any) -> None:
            if "_calls" in self.__dict__:
                self._calls.restore(kept)

        return Forks(self.board, keep, give_back)

    @property
    def console(self) -> Console:
        """What the guest printed, and the way to type: ``k.console.text``, ``k.console.send``."""
        return self.board.console

    @property
    def time(self) -> float:
        """Virtual seconds since power-on."""
        return self.board.time

    @cached_property
    def _standing(self) -> Standing:
        return make_standing(self.board, self.image)

    @cached_property
    def tasks(self) -> Tasks:
        """Reads the guest's ``task_struct`` objects."""
        return Tasks(self.image, self.board.machine.memory, self._standing)

    @cached_property
    def _calls(self) -> GuestCalls:
        return GuestCalls(self.board, self.image, self._standing)

    @property
    def current(self) -> Task | None:
        """The task that runs now, also in a handler: ``k.current.pid``, ``.tgid``, ``.comm``.

        ``None`` before the kernel has set up its first task. Raises :class:`ImageError` for a
        kernel built without CONFIG_DEBUG_INFO_BTF.
        """
        return self.tasks.current()

    def run(
        self, until: Until = None, *, timeout: float | None = 60.0, seconds: float | None = None
    ) -> StopReason:
        """Let the guest run on.

        until   : a text that it prints from now on, or a function of this kernel that is asked
                  every few milliseconds; by default until the guest ends
        timeout : seconds of the host's time (``None``: no limit)
        seconds : virtual seconds

        Raises :class:`GuestPanic`, :class:`GuestHang` and other :class:`BootError`, and whatever a
        handler raises.
        """
        condition: Any = until
        if callable(until):
            ask = until

            def condition(_board: Board) -> bool:
                return ask(self)

        return self.board.run(condition, timeout=timeout, seconds=seconds)

    def call(
        self,
        function: int | str | Symbol,
        *arguments: Any,
        signed: bool = False,
        timeout: float | None = 10.0,
        max_instructions: int = 0,
    ) -> int:
        """Call a guest function in process context and return its 64-bit result.

        The guest runs on until one of its kworkers does the call, on a stack of its own: the
        function may sleep, take locks and wait; interrupts, other tasks, probes and time go on.
        Then the kworker's registers are put back, and the guest stands there until it is run or
        called again. What the function has done to memory stays.

        function  : its symbol, or its address
        arguments : as in :meth:`Kernel.call`; what needs memory is in the guest's own (kmalloc)
        signed    : give the result as a signed 64-bit number
        timeout   : host seconds after which the call is abandoned (``None``: never)
        max_instructions : abandon it then (0: no limit); a booted guest counts time instead, a
                    nanosecond an instruction, also of those who run meanwhile

        Raises :class:`GuestFault` and :class:`GuestBug` where the guest would oops (it goes on, but
        locks that the function held stay locked), :class:`GuestTimeout`, :class:`GuestLimit`, other
        :class:`BootError`, and whatever a handler raises. Not for handlers.
        """
        check_limits(timeout, max_instructions)
        calls = self._calls
        calls.arrive(timeout)
        target = code_address(function, self.symbols, self.machine)
        with passed(arguments, self.machine, calls.alloc, calls.give_back) as values:
            result = calls.call(target, values, timeout=timeout, max_instructions=max_instructions)
        return as_result(result, signed=signed)

    def alloc(self, size: int) -> int:
        """The address of ``size`` zeroed bytes from the guest's own allocator (``__kmalloc()``)."""
        size = as_int(size, "size")
        address = self._calls.alloc(size)
        self.machine.write(address, bytes(size))
        return address

    def free(self, address: int) -> None:
        """Give memory from :meth:`alloc` back (``kvfree()``)."""
        self._calls.free(as_int(address, "address"))


def _read_initrd(initrd: str | os.PathLike[str] | bytes | None, arch: str) -> bytes:
    if initrd is None:
        return built_in_initramfs(arch)
    if isinstance(initrd, bytes):
        return initrd
    try:
        return Path(initrd).read_bytes()
    except (OSError, TypeError, ValueError) as error:
        name = initrd if isinstance(initrd, (str, os.PathLike)) else repr(initrd)
        raise ImageError(name, f"cannot be read as an initrd: {error}") from error
