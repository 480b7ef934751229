"""``Difference``: one thing that is not the same in two kernels, and how bad that is for probes."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass
from typing import Any

__all__ = ["Change", "Difference", "KernelDiff"]


class Change(enum.Enum):
    """What became of something, the worst first. The values are stable and serialise as such."""

    GONE = "gone"
    INLINED = "inlined"
    SUFFIXED = "suffixed"
    RENAMED = "renamed"
    REFUSED = "refused"
    NOT_TRACED = "not-traced"
    NOT_OVERRIDABLE = "not-overridable"
    EVENT_GONE = "tracepoint-gone"
    SIGNATURE = "signature"
    EVENT_SIGNATURE = "tracepoint-signature"
    NO_PROTOTYPE = "no-prototype"
    TOLD_OTHERWISE = "told-otherwise"
    MISSES_CALLS = "misses-calls"
    TYPE_GONE = "type-gone"
    TYPE = "type"
    PARAMETER_NAME = "parameter-name"
    LAYOUT = "layout"
    PROBEABLE = "probeable"
    NEW = "new"
    EVENT_NEW = "tracepoint-new"

    @property
    def heading(self) -> str:
        """What to call a list of them."""
        return _HEADINGS[self]

    @property
    def breaks(self) -> bool:
        """Whether it may break a probe that worked; what else there is is only to be known."""
        return _ORDER[self] < _ORDER[Change.PARAMETER_NAME]


_HEADINGS = {
    Change.GONE: "functions gone",
    Change.INLINED: "functions inlined wholly",
    Change.SUFFIXED: "functions left only as clones of the compiler's",
    Change.RENAMED: "functions renamed",
    Change.REFUSED: "functions whose entry takes no kprobe any more",
    Change.NOT_TRACED: "functions that ftrace, fentry and kprobe.multi cannot trace any more",
    Change.NOT_OVERRIDABLE: "functions whose return value cannot be overridden any more",
    Change.EVENT_GONE: "tracepoints gone",
    Change.SIGNATURE: "functions with other arguments or another return value",
    Change.EVENT_SIGNATURE: "tracepoints with other arguments",
    Change.NO_PROTOTYPE: "functions whose types are not told any more (no fentry)",
    Change.TOLD_OTHERWISE: "functions of the same code whose types are told otherwise (fentry)",
    Change.MISSES_CALLS: "functions of which a probe misses calls now",
    Change.TYPE_GONE: "types gone",
    Change.TYPE: "types with members gone, or of another type",
    Change.PARAMETER_NAME: "parameters renamed, or const in one kernel only",
    Change.LAYOUT: "types with members added or moved",
    Change.PROBEABLE: "functions that can be probed or traced now",
    Change.NEW: "functions new",
    Change.EVENT_NEW: "tracepoints new",
}
_ORDER = {change: number for number, change in enumerate(Change)}


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same.

    Attributes:
        change: What became of it.
        name: The function, tracepoint or type (``struct file``) in the old kernel; of what is new,
            in the new one.
        old: What it was: a prototype, a verdict.
        new: What it is, or what there is instead; "" where nothing is.
        details: One line a member that changed, or other things to know.
    """

    change: Change
    name: str
    old: str = ""
    new: str = ""
    details: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """It as plain data."""
        found: dict[str, Any] = {"change": self.change.value, "name": self.name}
        for key in ("old", "new"):
            if getattr(self, key):
                found[key] = getattr(self, key)
        return found | ({"details": list(self.details)} if self.details else {})


@dataclass(frozen=True)
class KernelDiff:
    """All that is not the same in two kernels.

    Attributes:
        old: The name of the old kernel: its release.
        new: That of the new one.
        differences: What is different, the worst first, and by name.
        notes: What could not be compared, and why.
        unchanged: What of a source's needs is the same; empty where all is compared.
    """

    old: str
    new: str
    differences: tuple[Difference, ...]
    notes: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[Change, int]:
        """How many there are of each change that there is, the worst first."""
        found = Counter(each.change for each in self.differences)
        return {change: found[change] for change in Change if found[change]}

    @property
    def breaks(self) -> bool:
        """Whether anything may break a probe that worked."""
        return any(each.change.breaks for each in self.differences)

    def as_dict(self) -> dict[str, Any]:
        """It as plain data."""
        return {
            "old": self.old,
            "new": self.new,
            "counts": {change.value: count for change, count in self.counts.items()},
            "differences": [each.as_dict() for each in self.differences],
            "notes": list(self.notes),
            "unchanged": list(self.unchanged),
        }


def sort_key(difference: Difference) -> tuple[int, bool, bool, str]:
    """The worst first; what is for others to use before helpers, structs before enums; by name."""
    name = difference.name
    return _ORDER[difference.change], name.startswith("_"), name.startswith("enum "), name
