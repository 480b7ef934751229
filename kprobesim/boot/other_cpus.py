"""What the CPUs beside the one that runs do, for the errors that tell of a guest's end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kprobesim.hexrepr import HexRepr
from kprobesim.late_dataclasses import dataclass

if TYPE_CHECKING:
    from kprobesim.boot.board import Board

__all__ = ["OtherCpu", "other_cpus"]

_MOST_CALLERS = 12


@dataclass(frozen=True, repr=False)
class OtherCpu(HexRepr):
    """One CPU, as it stands.

    Attributes:
        number: As the kernel counts CPUs.
        doing: "runs", "waits for an interrupt" or "is off".
        pc: The program counter's value.
        place: The same by symbol; empty where it is off.
        trace: Its callers, innermost first ("? " before a guess).
    """

    number: int
    doing: str
    pc: int
    place: str = ""
    trace: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """It, for people."""
        if not self.place:
            return [f"CPU {self.number} {self.doing}"]
        callers = [f"  {entry}" for entry in self.trace[:_MOST_CALLERS]]
        return [f"CPU {self.number} {self.doing}, at {self.place}", *callers]

    def as_dict(self) -> dict[str, object]:
        """It as plain data."""
        return {
            "cpu": self.number,
            "doing": self.doing,
            "pc": f"{self.pc:#x}",
            "place": self.place,
            "trace": list(self.trace),
        }


def other_cpus(board: Board, number: int) -> list[OtherCpu]:
    """All but CPU ``number``; none where it is the only one."""
    turns, machine = board.turns, board.machine
    if turns is None:
        return []
    found = []
    for vcpu in machine.vcpus:
        if vcpu.number == number:
            continue
        regs = vcpu.saved_regs()
        if not turns.on[vcpu.number]:
            found.append(OtherCpu(vcpu.number, "is off", regs.ip))
            continue
        doing = "waits for an interrupt" if turns.waiting[vcpu.number] else "runs"
        trace = tuple(machine.unwind(regs))
        found.append(OtherCpu(vcpu.number, doing, regs.ip, machine.symbolize(regs.ip), trace))
    return found
