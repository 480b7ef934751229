"""``Why``: the answer to why a function returned what it did."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from kprobesim.errno_names import errno_name
from kprobesim.functions.dwarf.source_lines import SourceLine
from kprobesim.hexrepr import HexRepr
from kprobesim.html import preformatted
from kprobesim.why.comparison import Compared
from kprobesim.why.failures import FailedCall, errno_text

__all__ = ["Branch", "CodePlace", "WhichCall", "Why"]


@dataclass(frozen=True, repr=False)
class CodePlace(HexRepr):
    """A place in the kernel's code.

    Attributes:
        address: Where it is.
        symbol: ``function+0x5c/0xa0``.
        source: Its source line, and those of the calls by which it is inlined, innermost first;
            empty where no debug information tells.
    """

    address: int
    symbol: str
    source: tuple[SourceLine, ...] = ()

    def __str__(self) -> str:
        return f"{self.symbol} at {self.source[0]}" if self.source else self.symbol

    def as_dict(self) -> dict[str, object]:
        """As plain data, for JSON."""
        return {
            "address": f"{self.address:#x}",
            "symbol": self.symbol,
            "source": [line._asdict() for line in self.source],
        }


@dataclass(frozen=True)
class Branch:
    """What decided.

    Attributes:
        function: The symbol of the function that it is in.
        place: Where it is.
        instruction: In words.
        kind: "branch", "choice" (CMOV, CSEL), "flags" (SETcc, SBB, CSET), "jump table" or "fault"
            (an access that the kernel's exception table mended).
        taken: Whether a branch was taken.
        comparison: The instruction that set the flags, in words; "" where the branch itself
            compares.
        condition: What was so, in the registers' names: ``eax == 0``; "" where it has no words.
        compared: The values.
        otherwise: What the function would have returned on the other side, found by letting it run
            there; "" where that was not tried.
        time: Its how-manieth execution in that call decided, counted from 1: the turn of a loop.
    """

    function: str
    place: CodePlace
    instruction: str
    kind: str
    taken: bool
    comparison: str
    condition: str
    compared: tuple[Compared, ...]
    otherwise: str = ""
    time: int = 1

    def lines(self) -> list[str]:
        """For people."""
        shown = [f"decided in {self._where()}"]
        shown += [f"  inlined in {line.function} at {line}" for line in self.place.source[1:]]
        how = {"branch": "taken" if self.taken else "not taken"}.get(self.kind, self.kind)
        if self.time > 1:
            how += f", at its execution {self.time}"
        shown.append(f"  {self.place.symbol}: {self.instruction}  ({how})")
        if self.comparison:
            shown.append(f"  behind: {self.comparison}")
        if self.condition:
            shown.append(f"  because {self.condition}")
        shown += [f"    {each}" for each in self.compared if not each.is_constant]
        if self.otherwise:
            shown.append(f"  otherwise: {self.otherwise}")
        return shown

    def _where(self) -> str:
        if not self.place.source:
            return self.function
        line = self.place.source[0]
        return f"{line.function} at {line}"

    def as_dict(self) -> dict[str, object]:
        """As plain data, for JSON."""
        return {
            "function": self.function,
            **self.place.as_dict(),
            "instruction": self.instruction,
            "kind": self.kind,
            "taken": self.taken,
            "time": self.time,
            "comparison": self.comparison or None,
            "condition": self.condition or None,
            "compared": [each.as_dict() for each in self.compared],
            "otherwise": self.otherwise or None,
        }


@dataclass(frozen=True)
class WhichCall:
    """Which of a guest's calls is explained: the first that failed, or the first if none did.

    Attributes:
        number: Its place among them, in the order in which they began, counted from 1.
        count: How many there were.
        failed: How many of them returned an error; if one was asked for, that one.
        errno: The error that was asked for; ``None``: any.
        whole: Whether all that came was waited for; else there may be more.
    """

    number: int
    count: int
    failed: int
    errno: int | None = None
    whole: bool = True

    def __str__(self) -> str:
        if self.count == 1 and self.whole:
            return "the only call"
        least = "" if self.whole else "at least "
        which = f"call {self.number:,} of {least}{self.count:,}"
        how = "failed" if self.errno is None else f"returned -{errno_name(self.errno)}"
        if self.failed < 2:
            return f"{which}, {'the only one that' if self.failed else 'none of which'} {how}"
        return f"{which}, the first of {least}{self.failed:,} that {how}"


@dataclass(frozen=True)
class Why:
    """Why a call returned what it did; ``print`` it.

    Attributes:
        function: What was called.
        returned: What it returned, 64 bits, unsigned.
        branch: What decided; ``None``: nothing did, it returns that whatever happens.
        made: Where the value was made; ``None``: it was passed in, or in memory before.
        calls: The way from the function to the one that decided: where each calls the next.
        failed: The inner calls that returned an error, the first to fail first.
        instructions: How many ran.
        which: Which of the guest's calls it is; ``None``: it was made to be explained.
    """

    function: str
    returned: int
    branch: Branch | None
    made: CodePlace | None
    calls: tuple[CodePlace, ...]
    failed: tuple[FailedCall, ...]
    instructions: int
    which: WhichCall | None = None

    @property
    def first_failure(self) -> FailedCall | None:
        """The inner call that failed first, with the error that came out if any did so.

        ``None`` if none failed. Others that failed on the way, and that nobody minded, are in
        :attr:`failed`.
        """
        errors = {(1 << bits) - self.returned for bits in (32, 64)}
        same = [each for each in self.failed if each.errno in errors]
        return next(iter(same or self.failed), None)

    @property
    def result(self) -> str:
        """What it returned, for people: ``-22 (-EINVAL)``."""
        return result_text(self.returned)

    def __str__(self) -> str:
        shown = [f"{self.function} returned {self.result}"]
        if self.which is not None:
            shown[0] += f", {self.which}"
        if self.branch is None:
            shown.append("nothing in it decided for that: no branch leads to another result")
        else:
            shown += self.branch.lines()
        if self.made is not None:
            shown.append(f"the value was made at {self.made}")
        if self.calls:
            shown.append("called by " + ", ".join(str(place) for place in reversed(self.calls)))
        if self.first_failure is not None:
            shown.append(f"first failure: {self.first_failure}")
        return "\n".join(shown)

    def _repr_html_(self) -> str:
        return preformatted(str(self))

    def as_dict(self) -> dict[str, object]:
        """As plain data, for JSON."""
        return {
            "function": self.function,
            "returned": self.returned,
            "result": self.result,
            "branch": None if self.branch is None else self.branch.as_dict(),
            "made": None if self.made is None else self.made.as_dict(),
            "calls": [place.as_dict() for place in self.calls],
            "failed": [each.as_dict() for each in self.failed],
            "instructions": self.instructions,
            "which": None if self.which is None else asdict(self.which),
        }


def result_text(value: int) -> str:
    """A returned value for people: errors by their names."""
    for bits in 64, 32:
        signed = value - (1 << bits)
        if -4096 < signed < 0:
            name = errno_text(signed)
            return name if name == str(signed) else f"{signed} ({name})"
    return str(value) if value < 10 else f"{value:#x}"
