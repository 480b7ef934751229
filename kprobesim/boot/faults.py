"""How a booted guest can fail: told with its call trace and the end of its console."""

from __future__ import annotations

from collections.abc import Sequence

from kprobesim.errors import GuestError
from kprobesim.machine.registers import PtRegs

__all__ = ["BootError", "GuestEnd", "GuestHang", "GuestPanic", "GuestReset", "NoDevice"]


class BootError(GuestError):
    """The booted guest cannot go on.

    ``headline`` says why; ``place`` is where, by symbol, ``pc`` the address and ``regs`` all
    registers; ``trace`` are the callers, innermost first ("? " before a guess); ``console`` is its
    last output, ``hints`` what the kernel lacks if there was none.
    """

    def __init__(
        self,
        headline: str,
        regs: PtRegs,
        place: str,
        trace: Sequence[str],
        console: str,
        hints: Sequence[str] = (),
    ) -> None:
        self.headline = headline
        self.regs = regs
        self.pc = regs.ip
        self.place = place
        self.trace = tuple(trace)
        self.console = console
        self.hints = tuple(hints)
        lines = ["console:", *(f"  | {line}" for line in console.splitlines())]
        super().__init__("\n".join([self.oops(), *(lines if console.strip() else ())]))

    def oops(self) -> str:
        """What, where and why, on several lines; without the console."""
        lines = [f"{self.headline}, at {self.place}"]
        lines += [f"perhaps: {hint}" for hint in self.hints]
        lines += ["call trace:", *(f"  {entry}" for entry in self.trace)] if self.trace else ()
        return "\n".join(lines)

    def as_dict(self) -> dict[str, object]:
        """The failure as plain data, for ``--json`` and logs."""
        return {
            "kind": type(self).__name__,
            "message": self.headline,
            "place": self.place,
            "pc": f"{self.pc:#x}",
            "registers": {name: f"{value:#x}" for name, value in self.regs.as_dict().items()},
            "trace": list(self.trace),
            "hints": list(self.hints),
            "console": self.console,
        }


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
