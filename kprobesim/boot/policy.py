"""What a policy is: who chooses which CPU of a board runs next, and for how long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from kprobesim.errors import UsageError
from kprobesim.hexrepr import HexRepr
from kprobesim.late_dataclasses import dataclass
from kprobesim.sizes import MASK64

__all__ = [
    "MOST_BLOCKS",
    "TURN",
    "Policy",
    "SwitchPoint",
    "Turns",
    "check_policy",
    "mixed",
    "named_policy",
    "shortened",
]

TURN = 20_000
"""Blocks of one turn by default: 160 us of the guest's time.

A switch between two programs costs as much as 8,000 blocks: addresses are translated anew.
"""
MOST_BLOCKS = 1 << 40
"""Of one turn."""
_MOST_SHOWN = 200
_WEYL, _FACTORS = 0x9E37_79B9_7F4A_7C15, (0xBF58_476D_1CE4_E5B9, 0x94D0_49BB_1331_11EB)


@dataclass(frozen=True, repr=False)
class SwitchPoint(HexRepr):
    """A moment at which another CPU may come to run.

    Attributes:
        time: The guest's time, in nanoseconds.
        last: The CPU that ran.
        runnable: Those that can run, in ascending order: never empty.
        why: "time" (its turn is over), "spin" (it waits for another CPU), "halt" (it waits for an
            interrupt, or is off), or "place" (it is about to execute one of the policy's places).
    """

    time: int
    last: int
    runnable: Sequence[int]
    why: str


class Policy(Protocol):
    """Chooses among CPUs that can run; what it says may depend on the switch point alone.

    Its attributes ``at`` and ``accesses``, if it has them, are those of :class:`Turns`.
    """

    @property
    def blocks(self) -> int:
        """How long the CPU that runs goes on when another one wakes beside it, in blocks."""

    def pick(self, point: SwitchPoint) -> tuple[int, int]:
        """The number of the CPU that runs next, and for how many blocks at most: 1 or more."""


class Turns(HexRepr):
    """What the policies here have in common.

    Attributes:
        NAME: What it is called in texts.
        blocks: The length of turns.
        at: Places ("vfs_read", "vfs_read+0x1c", "mutex_*") at which a turn is over, too, and the
            policy chooses anew: functions, locks, interrupts (``irq_enter_rcu``).
        accesses: Functions of which each instruction that uses memory is such a place.
    """

    __slots__ = ()
    NAME: ClassVar[str]
    blocks: int
    at: tuple[str, ...]
    accesses: tuple[str, ...]

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for what makes no sense."""
        for name, value in self.parameters().items():
            if name in ("at", "accesses"):
                if not isinstance(value, tuple) or not all(isinstance(one, str) for one in value):
                    raise UsageError(f"{name}={value!r}: give a tuple of names")
                if any(set(one) & set(",|=: ") or not one for one in value):
                    raise UsageError(f"{name}={value!r}: these are no names of places")
            elif type(value) is not int or not (name != "seed") <= value <= MOST_BLOCKS:
                raise UsageError(f"{name} {value!r}: give a positive number")

    def parameters(self) -> Mapping[str, Any]:
        """By name."""
        return vars(self)

    def __str__(self) -> str:
        shown = [
            f"{name}={'|'.join(value) if isinstance(value, tuple) else value}"
            for name, value in self.parameters().items()
            if value != ()
        ]
        return f"{self.NAME}:{','.join(shown)}"


def shortened(what: object) -> str:
    """``what``, of somebody else's, as a text that leaves room for ours."""
    text = str(what)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def named_policy(policy: object) -> str:
    """``policy``, in an error."""
    return f"the policy {shortened(repr(policy))}"


def check_policy(policy: object) -> None:
    """Raise :class:`UsageError` for what is no policy."""
    if not callable(getattr(policy, "pick", None)):
        raise UsageError(
            f"{shortened(repr(policy))} is no policy: give RoundRobin(), RandomTurns(), "
            "Priorities(), their text (random:seed=5), or an object with blocks and pick(point)"
        )
    blocks = getattr(policy, "blocks", None)
    if type(blocks) is not int or blocks < 1:
        raise UsageError(f"{named_policy(policy)} has blocks {blocks!r}: give it 1 or more")


def mixed(*numbers: int) -> int:
    """64 bits that depend on all of ``numbers``, and look as if by chance (SplitMix64)."""
    value = 0
    for number in numbers:
        value = value + number + _WEYL & MASK64
        for shift, factor in zip((30, 27), _FACTORS, strict=True):
            value = (value ^ value >> shift) * factor & MASK64
        value ^= value >> 31
    return value
