"""Types that no BTF has a record of: a pointer to another, an array of it."""

from __future__ import annotations

from kprobesim.types.base import POINTER_SIZE, Array, Pointer, Type

__all__ = ["array_of", "pointer_to"]


class _PointerTo(Pointer):
    __slots__ = ("_target",)

    def __init__(self, target: Type) -> None:
        super().__init__(target.btf, -1, 0)
        self._target = target

    def __reduce__(self) -> tuple[object, ...]:
        return pointer_to, (self._target,)

    @property
    def name(self) -> str:
        """A pointer has none."""
        return ""

    @property
    def target(self) -> Type:
        """What it points to."""
        return self._target

    def _own_size(self) -> int:
        return POINTER_SIZE


class _ArrayOf(Array):
    __slots__ = ("_element", "_length")

    def __init__(self, element: Type, count: int) -> None:
        super().__init__(element.btf, -1, 0)
        self._element = element
        self._length = count

    def __reduce__(self) -> tuple[object, ...]:
        return array_of, (self._element, self._length)

    @property
    def name(self) -> str:
        """An array has none."""
        return ""

    @property
    def element(self) -> Type:
        """The type of each element."""
        return self._element

    @property
    def count(self) -> int:
        """How many elements."""
        return self._length


def pointer_to(target: Type) -> Pointer:
    """``target *``."""
    return _PointerTo(target)


def array_of(element: Type, count: int) -> Array:
    """``element[count]``."""
    return _ArrayOf(element, count)
