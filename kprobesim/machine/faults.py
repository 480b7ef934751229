"""What can go wrong while the guest runs, told as a kernel oops tells it."""

from __future__ import annotations

from collections.abc import Sequence

from kprobesim.errors import GuestError
from kprobesim.machine.registers import PtRegs
from kprobesim.machine.trap import Trap, TrapKind

__all__ = ["CallStopped", "GuestBug", "GuestFault", "GuestLimit", "GuestStop", "GuestTimeout"]


class GuestStop(GuestError):
    """The guest was stopped where it should not have stopped.

    Attributes:
        headline: Why, in a line.
        regs: All registers, as they were then.
        pc: The program counter's value.
        place: The same by symbol.
        trace: The callers, innermost first ("? " before a guess).
        schedule: The text that lets a booted kernel of several CPUs run so again; else empty.
    """

    schedule: str = ""

    def __init__(self, headline: str, regs: PtRegs, place: str, trace: Sequence[str]) -> None:
        self.headline = headline
        self.regs = regs
        self.pc = regs.ip
        self.place = place
        self.trace = tuple(trace)
        super().__init__(f"{headline}, at {place}")

    def tell_schedule(self, schedule: str) -> None:
        """Say at the end of the message how the CPUs of a booted kernel have run."""
        if not self.schedule:
            self.schedule = schedule
            self.args = (f"{self.args[0]}\nschedule: {schedule}", *self.args[1:])

    def oops(self) -> str:
        """The whole story on several lines: what, where, registers, call trace."""
        lines = [self.headline, f"ip: {self.place} [{self.pc:#018x}]"]
        row: list[str] = []
        for name, value in self.regs.as_dict().items():
            row.append(f"{name:>7}: {value:016x}")
            if len(row) == 4:
                lines.append(" ".join(row))
                row = []
        if row:
            lines.append(" ".join(row))
        lines.append("Call trace:")
        lines += [f"  {entry}" for entry in self.trace or ("(empty)",)]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, object]:
        """The stop as plain data, for ``--json`` and logs."""
        return {
            "kind": type(self).__name__,
            "message": self.headline,
            "place": self.place,
            "pc": f"{self.pc:#x}",
            "registers": {name: f"{value:#x}" for name, value in self.regs.as_dict().items()},
            "trace": list(self.trace),
            **self.details(),
        }

    def details(self) -> dict[str, object]:
        """What this kind of stop has to say besides, as plain data."""
        return {}


class GuestFault(GuestStop):
    """An exception that neither a probe nor the guest's own tables handled.

    Attributes:
        trap: Which one.
        hint: What is known of the reason, such as which argument was overrun; else "".
    """

    def __init__(
        self, trap: Trap, regs: PtRegs, place: str, trace: Sequence[str], hint: str = ""
    ) -> None:
        self.trap = trap
        self.hint = hint
        headline = f"guest fault: {trap}" + (f": {hint}" if hint else "")
        super().__init__(headline, regs, place, trace)

    def details(self) -> dict[str, object]:
        """The exception, as the CPU tells it, and what is known of the reason."""
        trap = self.trap
        address = None if trap.address is None else f"{trap.address:#x}"
        return {
            "trap": {
                "kind": trap.kind.value,
                "number": trap.number,
                "code": trap.code,
                "address": address,
                "access": trap.access,
            },
            "hint": self.hint,
        }


class GuestBug(GuestFault):
    """The guest executed ``BUG()``: ``file`` and ``line`` come from its ``__bug_table``.

    A probe hit two levels inside others is one, too: ``trap`` tells, and ``line`` is 0.
    """

    def __init__(
        self,
        trap: Trap,
        regs: PtRegs,
        place: str,
        trace: Sequence[str],
        file: str | None,
        line: int,
    ) -> None:
        super().__init__(trap, regs, place, trace)
        self.file = file
        self.line = line
        if trap.kind is TrapKind.UNRECOVERABLE_KPROBE:
            where = f"{file} ({trap.kind.value})"
        elif file:
            where = f"{file}:{line}"
        else:
            where = "an unknown line (no verbose BUG in this kernel)"
        self.headline = f"kernel BUG at {where}"
        self.args = (f"{self.headline}, at {place}",)

    def details(self) -> dict[str, object]:
        """The exception, and where the source has the ``BUG()``."""
        return {**super().details(), "file": self.file, "line": self.line}


class GuestTimeout(GuestStop):
    """The call did not return in time and was abandoned."""


class GuestLimit(GuestStop):
    """The call did not return within ``max_instructions`` and was abandoned.

    Attributes:
        instructions: How many were executed; ``None`` for a booted guest, which counts time.
        nanoseconds: How long the call took, in the guest's time; ``None`` for a called kernel.
    """

    def __init__(
        self,
        headline: str,
        regs: PtRegs,
        place: str,
        trace: Sequence[str],
        *,
        instructions: int | None = None,
        nanoseconds: int | None = None,
    ) -> None:
        self.instructions = instructions
        self.nanoseconds = nanoseconds
        super().__init__(headline, regs, place, trace)

    def details(self) -> dict[str, object]:
        """How far it came."""
        return {"instructions": self.instructions, "nanoseconds": self.nanoseconds}


class CallStopped(GuestStop):
    """The call was abandoned since somebody asked for it: ``Kernel.stop()``."""
