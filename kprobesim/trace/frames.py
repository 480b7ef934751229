"""The functions of a call stack by name: with inlined ones, file and line where DWARF tells."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from kprobesim.hexrepr import HexRepr
from kprobesim.stack.stack_trace import Frame
from kprobesim.trace.entry import TraceEntry

__all__ = ["SourceFrame", "StackNames"]

Lines = Callable[[int], Sequence[tuple[str, str, int]]]


@dataclass(frozen=True, repr=False)
class SourceFrame(HexRepr):
    """One function on a call stack.

    Attributes:
        function: Its name in the source where that is known, else its symbol's; an address in hex
            where there is neither.
        address: Where it stands: where it was interrupted, or where a call in it returns to.
        place: ``symbol+0x10/0x40``, as the kernel's ``%pB`` prints the code that it is in.
        inlined: Whether it has no code of its own there: it is inlined in the next frame.
        file: The source file, below the kernel's folder; "" where it is not known.
        line: The line in that file; 0 where it is not known.
    """

    function: str
    address: int
    place: str
    inlined: bool = False
    file: str = ""
    line: int = 0

    @property
    def named(self) -> bool:
        """Whether there is a symbol at its address."""
        return not self.place.startswith("0x")

    @property
    def source(self) -> str:
        """``file:line``; "" where it is not known."""
        return f"{self.file}:{self.line}" if self.file else ""

    def __str__(self) -> str:
        words = [self.function]
        if self.inlined:
            words.append("(inlined)")
        if self.file:
            words.append(f"at {self.source}")
        return " ".join(words)


class StackNames:
    """Names the addresses of a stack, each once."""

    def __init__(self, frame: Callable[[int, bool], Frame], lines: Lines | None = None) -> None:
        """Ask nobody yet.

        Args:
            frame: Gives the frame of an address; of an exact one where something was interrupted,
                else of one that a call returns to.
            lines: The function, file and line of an address, and those of what it is inlined into,
                by debug information; ``None``: there is none.
        """
        self._frame = frame
        self._lines = lines
        self._known: dict[tuple[int, bool], tuple[SourceFrame, ...]] = {}

    def at(self, address: int, *, exact: bool = False) -> tuple[SourceFrame, ...]:
        """The functions that ``address`` stands in, innermost first: inlined ones come first.

        Args:
            address: Where a call returns to.
            exact: It is where something was interrupted instead.
        """
        found = self._known.get((address, exact))
        if found is None:
            found = self._known[address, exact] = tuple(self._look_up(address, exact))
        return found

    def _look_up(self, address: int, exact: bool) -> Iterator[SourceFrame]:
        frame = self._frame(address, exact)
        place = str(frame)
        name = hex(address) if frame.symbol is None else frame.symbol.name
        sources = () if self._lines is None else self._lines(address - (not exact))
        for function, file, line in sources[:-1]:
            yield SourceFrame(function, address, place, True, file, line)
        file, line = sources[-1][1:] if sources else ("", 0)
        yield SourceFrame(name, address, place, False, file, line)

    def of(self, entry: TraceEntry) -> tuple[SourceFrame, ...]:
        """The whole stack of ``entry``; see :meth:`stack`."""
        return self.stack(entry.ip, entry.func, entry.stack or ())

    def stack(self, ip: int, func: int | None, callers: Iterable[int]) -> tuple[SourceFrame, ...]:
        """A whole stack, innermost first.

        It begins with the function that is probed, of a return event with the one that returned,
        and goes on with the callers where they were recorded.

        Args:
            ip: Where the probe is.
            func: Of a return event the function.
            callers: Where calls return to, innermost first.
        """
        frames = [*self.at(ip if func is None else func, exact=True)]
        for address in callers:
            frames += self.at(address)
        while len(frames) > 1 and not frames[-1].named:
            frames.pop()  # whoever calls a kernel's functions from outside of it
        return tuple(frames)
