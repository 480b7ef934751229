"""What ends a search in types that were made to have no end, and why a relocation is refused."""

from __future__ import annotations

__all__ = ["Budget", "CannotRelocate"]

#: libbpf has none but levels, which two members of each struct's own type turn into 2^32 steps.
_MOST_STEPS = 200_000


class CannotRelocate(Exception):
    """Why libbpf gives up loading the whole object; caught where relocations are told."""


class Budget:
    """Counts the steps of one relocation."""

    def __init__(self) -> None:
        self._left = _MOST_STEPS

    def spend(self, steps: int = 1) -> None:
        """Take ``steps``.

        Raises:
            CannotRelocate: None is left.
        """
        self._left -= steps
        if self._left < 0:
            raise CannotRelocate("its types are too deep, or contain themselves")
