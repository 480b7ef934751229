"""Which board an architecture's kernels boot on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from kprobesim.arch.architecture import halves
from kprobesim.errors import UsageError

if TYPE_CHECKING:
    from kprobesim.boot.arm64.board import Arm64Board
    from kprobesim.boot.x86_64.board import X86Board

__all__ = ["board_class"]


def _x86_64() -> type[X86Board]:
    from kprobesim.boot.x86_64.board import X86Board  # a dozen devices that no other board has

    return X86Board


def _arm64() -> type[Arm64Board]:
    from kprobesim.boot.arm64.board import Arm64Board

    return Arm64Board


_CLASSES: Mapping[str, Callable[[], type[Arm64Board] | type[X86Board]]] = halves(
    x86_64=_x86_64, arm64=_arm64
)


def board_class(arch: str) -> type[Arm64Board] | type[X86Board]:
    """The class of the board for ``arch``; raises :class:`UsageError`.

    ``board_class(arch)(image, initrd=..., append=..., memory=...)`` stands at the kernel's first
    instruction; ``board_class(arch).empty(image, memory)`` waits for a state.
    """
    found = _CLASSES.get(arch)
    if found is None:
        raise UsageError(
            f"no board boots a kernel for {arch!r}: {' and '.join(_CLASSES)} are there"
        )
    return found()
