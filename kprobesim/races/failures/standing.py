"""``Standing``: what one CPU is about at a moment of a run: where, with which locks, for what."""

from __future__ import annotations

from dataclasses import dataclass

from kprobesim.hexrepr import HexRepr

__all__ = ["Lock", "Standing"]


@dataclass(frozen=True, repr=False)
class Lock(HexRepr):
    """A lock that a CPU holds, or waits for.

    Attributes:
        address: Where it is.
        what: That place by name.
        taken_by: The function that takes it, as ``mutex_lock``.
        taken_at: Where that was called; "" where it is one of the calls that are raced.
    """

    address: int
    what: str
    taken_by: str
    taken_at: str

    def __str__(self) -> str:
        where = f" in {self.taken_at}" if self.taken_at else ""
        return f"{self.what}, by {self.taken_by}(){where}"

    def holder(self) -> str:
        """How who has it came to it, for people."""
        return f", by {self.taken_by}()" + f" in {self.taken_at}" * bool(self.taken_at)

    def as_dict(self) -> dict[str, object]:
        """As plain data, for JSON."""
        return {
            "address": f"{self.address:#x}",
            "what": self.what,
            "taken_by": self.taken_by,
            "taken_at": self.taken_at,
        }


@dataclass(frozen=True, repr=False)
class Standing(HexRepr):
    """What a CPU is about.

    Attributes:
        cpu: Its number.
        name: What its calls are called.
        what: In words: "loads 4 bytes, 0x7", "waits", "is over".
        pc: The address of the instruction; 0: its calls are over.
        step: The instructions before.
        place: ``function+offset/size`` of the instruction.
        source: Its line, and those of the functions that it is inlined by; empty if not known.
        stack: The callers, innermost first.
        holds: The locks that it holds.
        waits_for: What it waits for, in words; "" if it does not.
        by: Who acts there, where that are not its calls: an interrupt, another task.
    """

    cpu: int
    name: str
    what: str
    pc: int = 0
    step: int = 0
    place: str = ""
    source: tuple[str, ...] = ()
    stack: tuple[str, ...] = ()
    holds: tuple[Lock, ...] = ()
    waits_for: str = ""
    by: str = ""

    def lines(self) -> list[str]:
        """For people: the first line says what it does, the others begin with two spaces."""
        where = f" in {self.place}" if self.place else ""
        who = f"{self.by} beside {self.name}" if self.by and self.name else self.by or self.name
        cpu = f"{who} on CPU {self.cpu}" if who else f"CPU {self.cpu}"
        lines = [f"{cpu} {self.what}{where}"]
        lines += [f"  at {line}" for line in self.source]
        lines += [f"  called by {caller}" for caller in self.stack]
        lines += [f"  holds {lock}" for lock in self.holds]
        if self.waits_for:
            lines.append(f"  waits for {self.waits_for}")
        return lines

    def as_dict(self) -> dict[str, object]:
        """As plain data, for JSON."""
        return {
            "cpu": self.cpu,
            "name": self.name,
            "what": self.what,
            "pc": f"{self.pc:#x}",
            "step": self.step,
            "place": self.place,
            "source": list(self.source),
            "stack": list(self.stack),
            "holds": [lock.as_dict() for lock in self.holds],
            "waits_for": self.waits_for,
            "by": self.by,
        }
