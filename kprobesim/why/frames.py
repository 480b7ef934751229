"""Which call of which function each instruction of a recording belongs to."""

from __future__ import annotations

from dataclasses import dataclass, field

from kprobesim.image.symbols.table import SymbolTable
from kprobesim.sizes import page_down
from kprobesim.why.instruction import Flow, Insn
from kprobesim.why.recording import Recording

__all__ = ["Frame", "Frames", "without_part"]

_THUNK = "indirect_thunk"
"""Part of the names of retpolines (arch/x86/lib/retpoline.S)."""
_FAR = 1 << 16
"""What lies so far behind a symbol is no part of it."""


@dataclass(eq=False)
class Frame:
    """One call of one function, or an exception that came in between."""

    number: int
    parent: Frame | None
    function: str
    entry: int
    """The number of its first instruction."""
    sp: int
    """The stack pointer then."""
    returns_to: int
    """Where it returns, and with which stack pointer it has returned."""
    sp_after: int
    called_at: int | None
    """The number of the call, or of the jump of a tail call."""
    tail: bool = False
    """Whether it was jumped to at the end of its parent, for which it returns."""
    exception: bool = False
    exit: int = -1
    """The number of its last instruction; -1: it never ended."""
    children: list[Frame] = field(default_factory=list)

    @property
    def is_thunk(self) -> bool:
        """Whether it only jumps to another function."""
        return _THUNK in self.function

    @property
    def caller(self) -> tuple[Frame, int] | None:
        """The function that called this one, and the number of the call: a thunk calls nobody."""
        frame, called_at = self.parent, self.called_at
        while frame is not None and frame.is_thunk:
            called_at = frame.called_at
            frame = frame.parent
        return None if frame is None or called_at is None else (frame, called_at)

    def __repr__(self) -> str:
        return f"<Frame {self.number} {self.function} {self.entry}..{self.exit}>"


def without_part(name: str) -> str:
    """The function whose part ``name`` is: ``.cold`` code lies elsewhere."""
    head, dot, tail = name.rpartition(".")
    if dot and (tail == "cold" or (tail.isdigit() and head.endswith(".cold"))):
        return without_part(head) if tail.isdigit() else head
    return name


class Frames:
    """The calls of a recording.

    Attributes:
        all: In the order in which they began; the first is the recorded function's.
        of: The frame of each instruction, by its number.
    """

    def __init__(self, recording: Recording, symbols: SymbolTable) -> None:
        """Go through it once."""
        self._recording = recording
        self._symbols = symbols
        self._starts: dict[int, str | None] = {}
        self._functions: dict[int, str] = {}
        self.all: list[Frame] = []
        self.of: list[Frame] = []
        self._top = self._push(None, 0, recording.sp(0), 0, recording.sp(0), None)
        self._top.sp_after = -1
        self._go_through()
        for frame in self.all:
            if frame.exit < 0 and frame.parent is None:
                frame.exit = recording.end - 1

    def name_at(self, address: int) -> str | None:
        """The function that begins there, without its part; ``None`` if none does."""
        try:
            return self._starts[address]
        except KeyError:
            found = self._symbols.at(address)
            name = None
            if found is not None and found.offset == 0:
                name = found.symbol.name
                if without_part(name) != name:
                    name = None
            self._starts[address] = name
            return name

    def function_at(self, address: int) -> str:
        """The function that an address belongs to, also by a part of it that lies elsewhere."""
        try:
            return self._functions[address]
        except KeyError:
            name = self._functions[address] = self._function(address)
            return name

    def time_of(self, number: int) -> int:
        """How often instruction ``number`` has run in its call then, with that time."""
        frame, address = self.of[number], self._recording.address(number)
        numbers = range(frame.entry, number + 1)
        return sum(
            self.of[at] is frame and self._recording.address(at) == address for at in numbers
        )

    def place(self, address: int) -> str:
        """An address as ``function+offset``."""
        found = self._symbols.at(address)
        if found is None:
            return f"{address:#x}"
        return f"{found.symbol.name}+{found.offset:#x}"

    def data_at(self, address: int) -> str:
        """A variable by its name, where it has one."""
        found = self._symbols.at(address)
        if found is None or found.offset > _FAR:
            return f"{address:#x}"
        return f"{found.symbol.name}+{found.offset:#x}" if found.offset else found.symbol.name

    def _function(self, address: int) -> str:
        found = self._symbols.at(address)
        if found is None:  # code that nobody has named is one function a page
            return f"{page_down(address):#x}"
        return without_part(found.symbol.name)

    def _push(
        self,
        parent: Frame | None,
        entry: int,
        sp: int,
        returns_to: int,
        sp_after: int,
        called_at: int | None,
        *,
        tail: bool = False,
        exception: bool = False,
    ) -> Frame:
        name = self.function_at(self._recording.address(entry))
        frame = Frame(
            len(self.all), parent, name, entry, sp, returns_to, sp_after, called_at, tail, exception
        )
        self.all.append(frame)
        if parent is not None:
            parent.children.append(frame)
        self._top = frame
        return frame

    def _go_through(self) -> None:
        recording, of = self._recording, self.of
        for number in range(recording.end):
            of.append(self._top)
            if number + 1 == recording.end:
                break
            insn = recording.insn(number)
            after = recording.address(number + 1)
            if insn is None:
                continue
            if insn.flow is Flow.NEXT and after in (insn.end, insn.address):
                continue
            self._went(number, insn, after)

    def _went(self, number: int, insn: Insn, after: int) -> None:
        recording, top = self._recording, self._top
        sp = recording.sp(number + 1)
        if insn.flow is Flow.CALL and after != insn.end:
            self._push(top, number + 1, sp, insn.end, recording.sp(number), number)
        elif insn.flow in (Flow.RETURN, Flow.BACK):
            if not self._pop(number, after, sp) and self.name_at(after) is not None:
                self._jumped(number, sp)  # a thunk that returns to where it jumps
        elif insn.flow in (Flow.JUMP, Flow.INDIRECT, Flow.BRANCH) and after != insn.end:
            if self.name_at(after) is not None and after != recording.address(top.entry):
                self._jumped(number, sp)
        elif insn.flow is Flow.NEXT and sp != recording.sp(number) and self._is_exception(after):
            self._push(top, number + 1, sp, -1, recording.sp(number), number, exception=True)
        elif insn.flow is Flow.NEXT and self._is_exception(after):
            self._push(top, number + 1, sp, -1, sp, number, exception=True)

    def _is_exception(self, address: int) -> bool:
        """Whether the CPU came there by itself: not as a host that goes on behind a fault does."""
        return self.function_at(address) != self._top.function

    def _jumped(self, number: int, sp: int) -> None:
        top = self._top
        frame = self._push(top, number + 1, sp, top.returns_to, top.sp_after, number, tail=True)
        frame.parent = top
        top.exit = number

    def _pop(self, number: int, after: int, sp: int) -> bool:
        """End the frames that return to ``after``; false: there are none."""
        frame: Frame | None = self._top
        while frame is not None:
            if frame.sp_after == sp and frame.returns_to in (after, -1):
                break
            frame = frame.parent
        if frame is None:
            return False
        # What was jumped to returns for those that jumped.
        while frame.tail and frame.parent is not None:
            frame = frame.parent
        ended: Frame | None = self._top
        while ended is not None:
            if ended.exit < 0:
                ended.exit = number
            if ended is frame:
                break
            ended = ended.parent
        if frame.parent is not None:
            self._top = frame.parent
        return True
