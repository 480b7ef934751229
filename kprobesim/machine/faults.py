"""What can go wrong while the guest runs, told as a kernel oops tells it."""

from __future__ import annotations

from collections.abc import Sequence

from kprobesim.errors import GuestError
from kprobesim.machine.registers import PtRegs
from kprobesim.machine.trap import Trap, TrapKind

__all__ = ["GuestBug", "GuestFault", "GuestLimit", "GuestStopped", "GuestTimeout"]


class _GuestStop(GuestError):
    """The guest stopped at ``pc``; ``regs`` are its registers then, ``trace`` its callers."""

    def __init__(self, headline: str, regs: PtRegs, place: str, trace: Sequence[str]) -> None:
        self.headline = headline
        self.regs = regs
        self.pc = regs.ip
        self.place = place
        self.trace = tuple(trace)
        super().__init__(f"{headline}, at {place}")

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


class GuestFault(_GuestStop):
    """An exception that neither a probe nor the guest's own tables handled: ``trap`` says which."""

    def __init__(self, trap: Trap, regs: PtRegs, place: str, trace: Sequence[str]) -> None:
        self.trap = trap
        super().__init__(f"guest fault: {trap}", regs, place, trace)


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


class GuestTimeout(_GuestStop):
    """The call did not return in time and was abandoned."""


class GuestLimit(_GuestStop):
    """The call did not return within ``max_instructions``; ``executed`` of them ran."""

    def __init__(
        self, headline: str, regs: PtRegs, place: str, trace: Sequence[str], executed: int
    ) -> None:
        self.executed = executed
        super().__init__(headline, regs, place, trace)


class GuestStopped(_GuestStop):
    """The call was abandoned since somebody asked for it: :meth:`Kernel.stop`."""
