"""``Recorded``: the policies of a schedule, each from its time on."""

from __future__ import annotations

from kprobesim.boot.boot_schedule import Part
from kprobesim.boot.policy import Policy, SwitchPoint
from kprobesim.boot.policy_text import parse_policy
from kprobesim.boot.round_robin import RoundRobin
from kprobesim.errors import ScheduleError, UsageError

__all__ = ["Recorded"]


class Recorded:
    """Chooses as was chosen; behind the end of the recorded run as the last policy would.

    Attributes:
        at: The places of all its policies.
        accesses: Their functions.
    """

    def __init__(self, parts: tuple[Part, ...]) -> None:
        """Begin with the first part; raises :class:`ScheduleError` if there is no such policy."""
        self._parts = [(part.since, self._make(part)) for part in parts]
        self._number = 0
        policies = [policy for _, policy in self._parts]
        self.at = tuple({name: 0 for each in policies for name in getattr(each, "at", ())})
        self.accesses = tuple(
            {name: 0 for each in policies for name in getattr(each, "accesses", ())}
        )

    def __repr__(self) -> str:
        return f"<Recorded {self._current!r}>"

    @property
    def last(self) -> Policy:
        """Who chooses behind the end."""
        policy = self._parts[-1][1]
        return RoundRobin() if isinstance(policy, _Choices) else policy

    def _make(self, part: Part) -> Policy:
        if not part.policy:
            return _Choices(part.choices)
        try:
            return parse_policy(part.policy)
        except UsageError as error:
            raise ScheduleError(f"the schedule has a policy that is none: {error}") from error

    @property
    def _current(self) -> Policy:
        return self._parts[self._number][1]

    @property
    def blocks(self) -> int:
        """Of the policy whose time it is."""
        return self._current.blocks

    def pick(self, point: SwitchPoint) -> tuple[int, int]:
        """What the policy says whose time it is."""
        later = self._parts[self._number + 1 :]
        while later and point.time >= later[0][0]:
            self._number += 1
            later = later[1:]
        return self._current.pick(point)


class _Choices:
    """Those of a policy that has no text."""

    def __init__(self, choices: tuple[tuple[int, int], ...]) -> None:
        self._choices = iter(choices)
        self._after = RoundRobin()

    def __repr__(self) -> str:
        return "recorded turns"

    @property
    def blocks(self) -> int:
        """Those of the next choice: it was made when another CPU woke."""
        return next(self._choices, (0, self._after.blocks))[1]

    def pick(self, point: SwitchPoint) -> tuple[int, int]:
        return next(self._choices, None) or self._after.pick(point)
