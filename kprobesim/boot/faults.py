"""How a booted guest can fail: told with the end of its console."""

from __future__ import annotations

from kprobesim.errors import GuestError

__all__ = ["BootError", "GuestEnd", "GuestHang", "GuestPanic", "GuestReset", "NoDevice"]


class BootError(GuestError):
    """The booted guest cannot go on. ``headline`` says why, ``console`` is its last output."""

    def __init__(self, headline: str, place: str, console: str) -> None:
        self.headline = headline
        self.place = place
        self.console = console
        where = f", at {place}" if place else ""
        tail = "\n".join("  | " + line for line in console.splitlines())
        super().__init__(f"{headline}{where}" + (f"\nconsole:\n{tail}" if tail else ""))


class GuestPanic(BootError):
    """The kernel panicked."""


class GuestReset(BootError):
    """The CPU cannot deliver an exception: a triple fault, or no vectors yet."""


class GuestEnd(BootError):
    """The guest switched itself off, restarted or halted while it was to do something else."""


class GuestHang(BootError):
    """The guest waits for something that cannot happen, or repeats one exception for ever."""


class NoDevice(BootError):
    """The guest used a device, or a register of one, that is not there."""
