"""How a booted guest can fail: told with its call trace and the end of its console."""

from __future__ import annotations

from collections.abc import Sequence

from kprobesim.boot.other_cpus import OtherCpu
from kprobesim.machine.faults import GuestStop
from kprobesim.machine.registers import PtRegs

__all__ = ["BootError", "GuestEnd", "GuestHang", "GuestPanic", "GuestReset", "NoDevice"]


class BootError(GuestStop):
    """The booted guest cannot go on.

    Attributes:
        console: Its last output.
        hints: What the kernel lacks if there was none.
        cpu: The number of the CPU that it happened on.
        others: What the other CPUs did then; none where there is one.
        schedule: The text that lets a kernel of several CPUs run so again; else empty.
    """

    def __init__(
        self,
        headline: str,
        regs: PtRegs,
        place: str,
        trace: Sequence[str],
        console: str,
        hints: Sequence[str] = (),
        cpu: int = 0,
        others: Sequence[OtherCpu] = (),
        schedule: str = "",
    ) -> None:
        super().__init__(headline, regs, place, trace)
        self.console = console
        self.hints = tuple(hints)
        self.cpu = cpu
        self.others = tuple(others)
        self.schedule = schedule
        lines = ["console:", *(f"  | {line}" for line in console.splitlines())]
        self.args = ("\n".join([self.oops(), *(lines if console.strip() else ())]),)

    def oops(self) -> str:
        """What, where and why, on several lines; without the console."""
        where = f" on CPU {self.cpu}" if self.others else ""
        lines = [f"{self.headline},{where} at {self.place}"]
        lines += [f"perhaps: {hint}" for hint in self.hints]
        lines += ["call trace:", *(f"  {entry}" for entry in self.trace)] if self.trace else ()
        for other in self.others:
            lines += other.lines()
        lines += [f"schedule: {self.schedule}"] if self.schedule else ()
        return "\n".join(lines)

    def details(self) -> dict[str, object]:
        """What the console, the kernel's configuration and the other CPUs tell."""
        own: dict[str, object] = {"hints": list(self.hints), "console": self.console}
        if self.others:
            own |= {
                "schedule": self.schedule,
                "cpu": self.cpu,
                "others": [other.as_dict() for other in self.others],
            }
        return own


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
