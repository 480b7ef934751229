"""``BootedKernel``: an unmodified kernel that boots itself, probed from its first instruction."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kprobesim.boot.arm64.board import Arm64Board
from kprobesim.boot.board import Board, StopReason
from kprobesim.boot.console import Console
from kprobesim.boot.die_chain import watch_die_chain
from kprobesim.boot.initramfs import built_in_initramfs
from kprobesim.boot.unwind import Unwinder
from kprobesim.boot.x86_64.board import X86Board
from kprobesim.errors import ImageError, UsageError
from kprobesim.handle import KernelHandle, as_kprobe, memory_size
from kprobesim.image import KernelImage
from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.kprobes.manager import KprobesManager

__all__ = ["BootedKernel", "Until"]

Until = str | Callable[["BootedKernel"], bool] | None
"""What :meth:`BootedKernel.run` waits for: a text on the console, or a condition."""

_MEMORY = 256 << 20
_CONSOLE = {"x86_64": "console=ttyS0", "arm64": "console=ttyAMA0"}


class BootedKernel(KernelHandle):
    """A kernel on a board of its own: one CPU, RAM, timer, interrupts and a serial console.

    Time is virtual, so two boots print the same text, time stamps included. Probes are hooks that
    change no byte of the guest, which therefore boots as it does without them.
    """

    def __init__(self, image: KernelImage, board: Board) -> None:
        machine = board.machine
        unwinder = Unwinder(machine, image)
        machine.symbolize = unwinder.symbolize
        machine.unwind = unwinder.trace
        manager = KprobesManager(machine, image, "breakpoint", "hook")
        super().__init__(image, machine, manager)
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
    ) -> BootedKernel:
        """Power a board on with ``image`` in its memory; nothing has run yet.

        initrd : a cpio archive, packed or not: its bytes, or the name of its file; without one a
                 small ``/init`` of ours does some work and powers off
        append : the kernel's command line; ``console=`` is added if it names none
        memory : RAM in bytes, or "256M"
        probes : registered before the first instruction
        """
        if not isinstance(append, str):
            raise UsageError(f"append {append!r} is no str: give the kernel's command line")
        if "console=" not in append:
            append = f"{_CONSOLE[image.arch]} {append}".strip()
        make: Callable[..., Board] = X86Board if image.arch == "x86_64" else Arm64Board
        board = make(
            image,
            initrd=_read_initrd(initrd, image.arch),
            append=append,
            memory=memory_size(memory),
        )
        kernel = cls(image, board)
        kernel.register_kprobes([as_kprobe(p) for p in probes])
        return kernel

    def _watch_die_chain(self) -> None:
        if not self._dies_watched and self.kprobes.hooks is not None:
            watch_die_chain(self.machine, self.image, self.kprobes.hooks)
            self._dies_watched = True

    @property
    def console(self) -> Console:
        """What the guest printed, and the way to type: ``k.console.text``, ``k.console.send``."""
        return self.board.console

    @property
    def time(self) -> float:
        """Virtual seconds since power-on."""
        return self.board.time

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
