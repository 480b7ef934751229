"""What one CPU knows of the probe that it is handling, kept while a nested call may be aborted."""

from __future__ import annotations

from typing import Any

from kprobesim.kprobes.ctlblk import KprobeCtlblk
from kprobesim.kprobes.hit.hook import HookHits
from kprobesim.kprobes.rethook import Returns

__all__ = ["NestedHits"]


class NestedHits:
    """One CPU's :class:`~kprobesim.machine.vcpu.HitState`."""

    def __init__(self, ctlblk: KprobeCtlblk, returns: Returns, hooks: HookHits) -> None:
        """Keep what three parts know.

        Args:
            ctlblk: In it no probe is being handled now.
            returns: The calls that are followed.
            hooks: Where a hit is over whose block will start anew.
        """
        self._hooks = hooks
        self._ctlblk = ctlblk
        self._returns = returns
        self._idle = ctlblk.save()

    @property
    def is_stepping(self) -> bool:
        """Whether a probed instruction is on its way."""
        return self._ctlblk.is_stepping

    def save(self) -> Any:
        """Everything, for :meth:`restore`."""
        return self._ctlblk.save(), self._returns.save()

    def restore(self, state: Any) -> None:
        """Be as it was at :meth:`save`: the calls that are followed since will never return."""
        self._hooks.in_place.forget()
        self._ctlblk.restore(state[0])
        self._returns.restore(state[1])

    def abandon(self) -> None:
        """No probe is being handled any more; calls are followed as before."""
        self._hooks.in_place.forget()
        self._ctlblk.restore(self._idle)
