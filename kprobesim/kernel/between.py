"""``Between``: a call that another CPU makes right before one executes a certain instruction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import ExitStack

from kprobesim.errors import UsageError

__all__ = ["Between"]


class Between(ABC):
    """What :meth:`Kernel.between` gives, for the time of a ``with``.

    Attributes:
        place: Before which instruction, as it was written.
        address: Its address.
        on: The CPU that makes the call.
        results: What the call has returned, each time.
    """

    def __init__(self, place: str, address: int, on: int, times: int) -> None:
        """Nothing is watched yet."""
        self.place, self.address, self.on = place, address, on
        self.results: list[int] = []
        self._times = times
        self._busy = False
        self._ending = ExitStack()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.place}, {len(self.results)} times>"

    @property
    def result(self) -> int:
        """What the call has returned, the last time; raises :class:`UsageError` before that."""
        if not self.results:
            raise UsageError(f"no CPU has come to {self.place} yet: nothing was called")
        return self.results[-1]

    def __enter__(self) -> Between:
        with ExitStack() as stack:
            self._begin(stack)
            self._ending = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._ending.close()
        if kind is None and not self.results:
            raise UsageError(
                f"no CPU but {self.on} came to {self.place} within the block: nothing was called"
            )

    @abstractmethod
    def _begin(self, stack: ExitStack) -> None:
        """Watch the instruction; ``stack`` ends that."""

    def _wanted(self, cpu: int) -> bool:
        """Whether the call is to be made now that CPU ``cpu`` has come to the instruction."""
        return not self._busy and cpu != self.on and len(self.results) < self._times
