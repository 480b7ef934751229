"""Which board an architecture's kernels boot on."""

from __future__ import annotations

from collections.abc import Mapping

from kprobesim.arch.architecture import halves
from kprobesim.boot.arm64.board import Arm64Board
from kprobesim.boot.x86_64.board import X86Board
from kprobesim.errors import UsageError

__all__ = ["board_class"]

_CLASSES: Mapping[str, type[Arm64Board] | type[X86Board]] = halves(
    x86_64=X86Board, arm64=Arm64Board
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
    return found
