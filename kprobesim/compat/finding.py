"""``Finding``: what one kernel says to one probe, and what to do about it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from kprobesim.asking.counts import Tally
from kprobesim.compat.kinds import Kind, Level
from kprobesim.errno_names import errno_name
from kprobesim.errors import Reason
from kprobesim.sources.wanted import Source, Wanted, WantedArgument

__all__ = [
    "ENOTSUPP",
    "Answer",
    "AskedKernel",
    "Certainty",
    "Compatibility",
    "Finding",
    "Hits",
    "Unread",
    "worst_first",
]

ENOTSUPP = 524
"""Of include/linux/errno.h: the kernel's own, which no C library names."""
Certainty = Literal["exact", "likely", "guess"]


@dataclass(frozen=True)
class AskedKernel:
    """A kernel that was asked.

    Attributes:
        path: Its file, as given.
        label: What it is called in tables: its release and, where that is needed, its architecture.
        release: What ``uname -r`` prints on it.
        arch: "x86_64" or "arm64".
    """

    path: str
    label: str
    release: str
    arch: str


@dataclass(frozen=True)
class Finding:
    """One thing that is known of a probe on a kernel.

    Attributes:
        kind: The class.
        message: Why, in one sentence.
        errno: The positive number with which attaching fails; 0 if it does not.
        rule: The kernel's rule that refused it.
        instead: What to probe or do instead, the best first; each a name or a short sentence.
        found_by: Where that was read: "rules", "symbols", "btf", "code", "dwarf".
        certainty: How sure it is.
    """

    kind: Kind
    message: str
    errno: int = 0
    rule: Reason | None = None
    instead: tuple[str, ...] = ()
    found_by: str = "symbols"
    certainty: Certainty = "exact"

    @property
    def level(self) -> Level:
        """How bad it is."""
        return self.kind.level

    @property
    def errno_name(self) -> str:
        """``"EINVAL"``; ``""`` without an errno."""
        if not self.errno:
            return ""
        return errno_name(self.errno)


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The order in which findings are told."""
    return tuple(sorted(findings, key=lambda finding: -finding.kind.severity))


@dataclass(frozen=True)
class Hits:
    """What a probe has counted in a guest.

    Attributes:
        boot: From the kernel's first instruction until its shell waits for the first line.
        lines: During the lines that the guest was given.
        problem: Why nothing was counted; empty if something could be.
    """

    boot: Tally = field(default_factory=Tally)
    lines: Tally = field(default_factory=Tally)
    problem: str = ""

    @property
    def all(self) -> Tally:
        """Both together."""
        boot, lines = self.boot, self.lines
        lost = None if lines.lost is None else lines.lost + (boot.lost or 0)
        return Tally(boot.hits + lines.hits, boot.nmissed + lines.nmissed, lost)


@dataclass(frozen=True)
class Answer:
    """All that is known of one probe on one kernel: a cell of the table.

    Attributes:
        wanted: The probe.
        kernel: The kernel.
        findings: At least one, the worst first.
        parameters: What the function takes here, ``("struct file *file", ...)``; ``None`` where
            nothing tells.
        result: What it returns here, ``"struct dentry *"``; ``None`` where nothing tells.
        read: The arguments that are read there: those of ``wanted``, or what a compiled program
            for that kernel reads.
        asked: What the kernel itself answered, booted: 0 or the positive errno; ``None`` if it was
            not asked.
        hits: What was counted in it; ``None`` if nothing was.
    """

    wanted: Wanted
    kernel: AskedKernel
    findings: tuple[Finding, ...]
    parameters: tuple[str, ...] | None = None
    result: str | None = None
    read: tuple[WantedArgument, ...] = ()
    asked: int | None = None
    hits: Hits | None = None

    @property
    def worst(self) -> Finding:
        """The finding that is shown."""
        return self.findings[0]

    @property
    def level(self) -> Level:
        """How bad the worst is."""
        return self.worst.level

    def with_finding(self, finding: Finding) -> Answer:
        """The same with one more."""
        return replace(self, findings=worst_first((*self.findings, finding)))

    def counts(self, allowed: Collection[Kind] = ()) -> bool:
        """Whether something is wrong that is not ``allowed``."""
        return any(
            finding.level >= Level.SILENT and finding.kind not in allowed
            for finding in self.findings
        )


@dataclass(frozen=True)
class Unread:
    """Something that could not be asked or answered: a line of a source, a kernel's file.

    Attributes:
        path: The file.
        line: The line in it, where it has lines.
        message: What is wrong, and what to do.
    """

    path: str
    line: int | None
    message: str

    def __str__(self) -> str:
        return (
            f"{self.path}:{self.line}: {self.message}"
            if self.line
            else (f"{self.path}: {self.message}")
        )


@dataclass(frozen=True)
class Compatibility:
    """Every probe on every kernel: what :func:`kprobesim.compatibility` returns.

    Attributes:
        sources: What names the probes.
        kernels: Those that could be read, in the order of their releases.
        answers: One for each probe and kernel: all kernels of the first probe, then of the second.
        problems: What could not be read.
    """

    sources: tuple[Source, ...]
    kernels: tuple[AskedKernel, ...]
    answers: tuple[Answer, ...]
    problems: tuple[Unread, ...]

    @cached_property
    def wanted(self) -> tuple[Wanted, ...]:
        """The probes, each once, in the order of the sources."""
        return tuple(dict.fromkeys(answer.wanted for answer in self.answers))

    def of(self, wanted: Wanted) -> tuple[Answer, ...]:
        """The answers to one probe, kernel by kernel."""
        return tuple(answer for answer in self.answers if answer.wanted == wanted)

    def wrong(self, allowed: Collection[Kind] = ()) -> tuple[Answer, ...]:
        """The answers in which something is wrong that is not ``allowed``."""
        return tuple(answer for answer in self.answers if answer.counts(allowed))

    def exit_status(self, allowed: Collection[Kind] = ()) -> int:
        """0 if all is well, 1 if something is not, 2 if there was nothing to answer."""
        if not self.answers:
            return 0 if self.problems and Kind.PROBLEM in allowed else 2
        if self.problems and Kind.PROBLEM not in allowed:
            return 1
        return 1 if self.wrong(allowed) else 0
