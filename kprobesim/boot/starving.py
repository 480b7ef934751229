"""``Starving``: notices a CPU that could run and is never chosen."""

from __future__ import annotations

from kprobesim.boot.policy import Policy, SwitchPoint
from kprobesim.errors import UsageError

__all__ = ["Starving"]

_NS, _TURNS = 5 * 10**9, 100_000


class Starving:
    """Looks after the CPUs of one board."""

    def __init__(self, cpus: int) -> None:
        """None waits."""
        self._waits: list[tuple[int, int] | None] = [None] * cpus  # since when, for its turn

    def forget(self) -> None:
        """Another run begins."""
        self._waits[:] = [None] * len(self._waits)

    def check(self, policy: Policy, point: SwitchPoint, number: int, turns: int) -> None:
        """Look who has not come to run.

        Args:
            policy: Who has chosen.
            point: Among whom.
            number: Which one.
            turns: How many turns there were.

        Raises:
            UsageError: Another one has waited for too long.
        """
        waits, now = self._waits, point.time
        for n, since in enumerate(waits):
            if n == number or n not in point.runnable:
                waits[n] = None
            elif since is None:
                waits[n] = now, turns
            elif now - since[0] > _NS or turns - since[1] > _TURNS:
                waits[n] = None
                raise UsageError(
                    f"the policy {policy!r} lets CPU {n} starve: it could run and did not for "
                    f"{turns - since[1]} turns, {(now - since[0]) / 1e9:.3f} s of the guest's time"
                )
