"""``Store``: what every store has in common: the probes that fill it."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from kprobesim.errors import UsageError

__all__ = ["Filling", "Store"]

_S = TypeVar("_S", bound="Store")


class Filling(Protocol):
    """The probes that fill a store."""

    @property
    def compiled(self) -> bool:
        """Whether no Python is on the way."""

    def remove(self) -> None:
        """Unregister them."""

    def disable(self) -> None:
        """Do not fill for now."""

    def enable(self) -> None:
        """Undo that."""


class Store:
    """What an action keeps; it may be used in ``with``, at whose end the probes are gone.

    Attributes:
        planted: The probes that fill it: a :class:`~kprobesim.programs.planted.Planted`.
    """

    planted: Any = None

    def save(self) -> tuple[int, bytes]:
        """How many hits were lost, and all that is kept."""
        raise NotImplementedError

    def load(self, lost: int, data: bytes) -> None:
        """Be what :meth:`save` gave; raises ``ValueError`` if that cannot be."""
        raise NotImplementedError

    def _filling(self) -> Filling:
        if self.planted is None:
            raise UsageError(f"no probe fills {self!r}")
        filling: Filling = self.planted
        return filling

    @property
    def compiled(self) -> bool:
        """Whether the program was compiled; else ``planted.why_not`` says why."""
        return self._filling().compiled

    def remove(self) -> None:
        """Unregister the probes; what they have kept stays."""
        self._filling().remove()

    def disable(self) -> None:
        """``disable_kprobe()`` for all of the probes."""
        self._filling().disable()

    def enable(self) -> None:
        """``enable_kprobe()`` for all of the probes."""
        self._filling().enable()

    def __enter__(self: _S) -> _S:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()
