"""A call trace as data: frames, and the text that the kernel makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import overload

from kprobesim.arch.architecture import halves
from kprobesim.hexrepr import HexRepr
from kprobesim.image import Symbol, SymbolAt
from kprobesim.late_dataclasses import dataclass

__all__ = ["Frame", "StackTrace"]


# What stands above and below: show_trace_log_lvl() of x86, dump_backtrace() of ARM64.
_AROUND: Mapping[str, tuple[list[str], list[str]]] = halves(
    x86_64=(["Call Trace:", " <TASK>"], [" </TASK>"]), arm64=(["Call trace:"], [])
)


@dataclass(frozen=True)
class Frame(HexRepr):
    """One function on the way; as text the kernel's ``%pB``, ``name+0x10/0x40 [module]``.

    Attributes:
        address: Where it stands: where it was interrupted, or where a call in it returns to.
        exact: It was interrupted there, and not left by a call.
        found: The symbol, with the offset of ``address`` in it; ``None`` where there is none.
    """

    address: int
    exact: bool
    found: SymbolAt | None

    @property
    def symbol(self) -> Symbol | None:
        """The function's symbol."""
        return None if self.found is None else self.found.symbol

    @property
    def offset(self) -> int | None:
        """Bytes from the symbol to ``address``."""
        return None if self.found is None else self.found.offset

    def __str__(self) -> str:
        return f"{self.address:#x}" if self.found is None else str(self.found)


@dataclass(frozen=True)
class StackTrace(Sequence[Frame]):
    """The frames, innermost first; as text what dump_stack() of the kernel prints."""

    frames: tuple[Frame, ...]
    arch: str

    def __len__(self) -> int:
        return len(self.frames)

    @overload
    def __getitem__(self, index: int) -> Frame: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Frame, ...]: ...

    def __getitem__(self, index: int | slice) -> Frame | tuple[Frame, ...]:
        return self.frames[index]

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.frames)

    def __str__(self) -> str:
        lines = [f" {frame}" for frame in self.frames]
        before, behind = _AROUND[self.arch]
        return "\n".join([*before, *lines, *behind, ""])

    def _repr_html_(self) -> str:
        """For a notebook."""
        from kprobesim import html

        rows = ((f"{frame.address:#x}", frame) for frame in self.frames)
        return html.table(["address", "function"], rows, total=len(self.frames))
