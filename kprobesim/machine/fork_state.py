"""A guest's state in memory, whoever the guest is: what the users of forks hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kprobesim.errors import UsageError
from kprobesim.machine.ram_image import RamImage

__all__ = ["ForkState", "state_of"]


class ForkState:
    """What :meth:`Kernel.fork_state` gives.

    It belongs to that kernel and lives in this process; a snapshot is for files.

    Attributes:
        time: The guest's time, in seconds.
        dirty_pages: How many pages of the host's size were written before the guest last came back
            here.
    """

    def __init__(self, owner: object, ram: RamImage, time: float, put: Callable[[], None]) -> None:
        """A state of ``owner``, whose RAM is ``ram``; ``put()`` brings the rest back."""
        self.owner = owner
        self.ram = ram
        self.time = time
        self.put = put
        self.dirty_pages = 0
        self.kept: Any = None
        self.plain: Any = None
        """All but the RAM as plain data, where that is known."""
        self.way: Any = None
        """How the guest comes from here to where it can be called, once that is known."""

    def __repr__(self) -> str:
        return f"<ForkState at {self.time:.6f} s>"


def state_of(owner: object, state: object, current: ForkState | None) -> ForkState:
    """``state``, by default ``current``; raises :class:`UsageError` if it is not of ``owner``."""
    if current is None:
        raise UsageError("there is no state to go back to: call fork_state() first")
    if state is None:
        return current
    if not isinstance(state, ForkState) or state.owner is not owner:
        raise UsageError(f"{state!r} is no state of this kernel")
    return state
