"""Which branch of a recorded run decided what was returned."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kprobesim.arch.architecture import architecture
from kprobesim.image import KernelImage
from kprobesim.sizes import MASK32
from kprobesim.why.frames import Frame, Frames
from kprobesim.why.instruction import Flow, Insn, Kind, Memory, Place, Register
from kprobesim.why.paths import Exit, Paths, Spot
from kprobesim.why.recording import PER_CPU, Recording
from kprobesim.why.slicing import Chain, Location, trace_back

__all__ = ["Decider", "Decision"]

_MOST_JOINED = 8
_MAX_ERRNO = 4095  # linux/err.h
_GCC = 14
_BELOW, _ABOVE = 0x10000, 0x1000
"""How far from a function's entry its own part of the stack reaches."""


@dataclass(frozen=True)
class Decision:
    """An instruction at which the run could have come to another result.

    Attributes:
        number: Of the instruction in the recording.
        frame: The call that it belongs to.
        insn: The instruction.
        kind: "branch", "choice" (CMOV, CSEL), "flags" (SETcc, SBB, CSET), "jump table",
            "table" (the value stands in one) or "fault".
        taken: Of a branch, whether it was taken.
        other: Where a branch goes on the other side; what a choice was not.
        setter: The number of the instruction that set the flags, or that compares.
        joined: Those whose comparisons that one goes on from, as CCMP does.
        behind: Whether the value was there already: the branch let it be.
    """

    number: int
    frame: Frame
    insn: Insn
    kind: str
    taken: bool = False
    other: int | None = None
    setter: int | None = None
    behind: bool = False
    joined: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Made:
    """The value as something that a frame makes: which of its instructions does."""

    number: int
    locations: Callable[[int], Location | None]
    constant: int | None
    origin: int


class Decider:
    """Looks through one recording."""

    def __init__(self, recording: Recording, frames: Frames, image: KernelImage) -> None:
        """Get ready."""
        self._recording = recording
        self._frames = frames
        self._image = image
        self._abi = architecture(recording.code.arch).abi
        self._by_frame: dict[int, list[int]] = defaultdict(list)
        for number, frame in enumerate(frames.of):
            self._by_frame[frame.number].append(number)

    def origin(self) -> Chain:
        """The way of what the function returned."""
        register = self._recording.result_number
        size = 4 if self._recording.returned >> 32 in (0, MASK32) else 8
        return trace_back(self._recording, self._recording.end, ("register", register, size))

    def passed_on(self, decision: Decision, chain: Chain) -> Chain | None:
        """The way of an error that is only passed on, although the code makes it anew.

        gcc knows since 14 what the static functions of a file return. Where one returns 0 or a
        single error, ``if (err) return err;`` becomes a constant.

        Returns:
            ``None`` where that cannot be so: the function is called through a pointer, or can be
            called from other files.
        """
        if chain.how != "constant" or decision.setter is None or not _knows_results(self._image):
            return None
        setter = self._recording.insn(decision.setter)
        error = self._recording.returned & MASK32
        for place in setter.compared if setter is not None else ():
            if not isinstance(place, Register) or error <= MASK32 - _MAX_ERRNO:
                continue
            if self._recording.register(decision.setter, place.number) & MASK32 != error:
                continue
            location = "register", place.number, 4
            found = trace_back(self._recording, decision.setter, location)
            if found.origin >= 0 and self._comes_out_of_static(decision.frame, found.origin):
                return found
        return None

    def _comes_out_of_static(self, frame: Frame, origin: int) -> bool:
        inner: Frame | None = self._frames.of[origin]
        while inner is not None and inner.parent is not frame:
            inner = inner.parent
        if inner is None or inner.called_at is None:
            return False
        call = self._recording.insn(inner.called_at)
        symbol = self._image.symbols.at(self._recording.address(inner.entry))
        direct = call is not None and call.goes_to is not None
        return direct and symbol is not None and symbol.symbol.type.islower()

    def decisions(self, chain: Chain) -> Iterator[Decision]:
        """What may have decided, the most likely first: the innermost function, its last branch."""
        made = self._made(chain)
        frame: Frame | None = self._frames.of[max(made.number, 0)]
        while frame is not None:
            yield from self._in_frame(frame, made, chain)
            if frame.parent is None or frame.called_at is None:
                return
            made = self._made_by_call(frame, made)
            frame = frame.parent

    def _made(self, chain: Chain) -> _Made:
        number, constant = chain.origin, None
        if chain.how == "input" and chain.last[0] == "memory" and chain.steps:
            number = chain.steps[-1].number  # read from memory that was there before
            return _Made(number, lambda at: None if at <= number else chain.location(at), None, -1)
        if chain.how == "constant":
            constant = self._constant(chain)
        return _Made(number, chain.location, constant, chain.origin)

    def _constant(self, chain: Chain) -> int | None:
        insn = self._recording.insn(chain.origin)
        value: int | None = None
        for move in insn.moves if insn is not None else ():
            if move.kind is Kind.CONSTANT and move.sources:
                value = self._recording.value(chain.origin, move.sources[0])
        return value

    def _made_by_call(self, frame: Frame, made: _Made) -> _Made:
        """What the caller sees: the call makes the value, whatever happens in it."""
        called, before = frame.called_at, made.locations
        assert called is not None
        return _Made(called, lambda at: None if at <= called else before(at), None, made.origin)

    # -- one frame ---------------------------------------------------------------------------------

    def _in_frame(self, frame: Frame, made: _Made, chain: Chain) -> Iterator[Decision]:
        numbers = self._by_frame[frame.number]
        last = frame.exit if frame.exit >= 0 else self._recording.end - 1
        numbers = [number for number in numbers if number <= last]
        if not numbers:
            return
        sites = self._sites(frame, numbers, made)
        end = self._end(frame, last, made)
        paths = Paths(
            self._recording.code,
            self._abi,
            lambda address: self._is_inside(frame, address),
            self._frames.name_at,
            self._goes_on,
        )
        selects = {
            s.number: s for s in chain.steps if s.kind is Kind.SELECT and s.other is not None
        }
        for at in range(len(numbers) - 1, -1, -1):
            number = numbers[at]
            insn = self._recording.insn(number)
            if insn is None:
                continue
            if number in selects and not self._passes_it_on(numbers, at, insn, chain):
                step = selects[number]
                yield Decision(
                    number, frame, insn, "choice", other=step.other,
                    setter=self._setter(numbers, at, insn),
                )  # fmt: skip
            if number == chain.origin and number == made.number:
                if chain.how == "flags":
                    setter = self._setter(numbers, at, insn)
                    yield Decision(number, frame, insn, "flags", setter=setter)
                elif chain.how == "host":
                    yield Decision(number, frame, insn, "fault")
            if number == made.number and chain.how == "input" and _indexed(insn) is not None:
                yield Decision(number, frame, insn, "table")
            if at + 1 == len(numbers):
                after = self._recording.address(number + 1) if insn.flow is Flow.BRANCH else None
            else:
                after = self._recording.address(numbers[at + 1])
            if after is None:
                continue
            if insn.flow is Flow.NEXT and after not in (insn.end, insn.address):
                # The exception table says where to go on behind a fault.
                if self._may_differ(paths, frame, number, insn.end, sites, end, made):
                    yield Decision(number, frame, insn, "fault", other=insn.end)
                continue
            if insn.flow is Flow.INDIRECT and self._is_inside(frame, after):
                yield Decision(number, frame, insn, "jump table")
            if insn.flow is not Flow.BRANCH or insn.goes_to is None or insn.goes_to == insn.end:
                continue
            taken = after == insn.goes_to
            other = insn.end if taken else insn.goes_to
            if made.locations(number) is not None and self._passes_it_on(numbers, at, insn, chain):
                continue
            if self._may_differ(paths, frame, number, other, sites, end, made):
                setter = self._setter(numbers, at, insn)
                behind = made.locations(number) is not None
                joined = tuple(self._setters(numbers, at, insn)[1:])
                yield Decision(number, frame, insn, "branch", taken, other, setter, behind, joined)

    def _may_differ(
        self,
        paths: Paths,
        frame: Frame,
        number: int,
        other: int,
        sites: dict[int, list[tuple[Spot | None, Spot]]],
        end: Exit,
        made: _Made,
    ) -> bool:
        spot = self._spot(frame, made.locations(number))
        bp = self._recording.register(number, self._abi.number(self._abi.frame_pointer)) - frame.sp
        return paths.may_differ(
            other,
            self._recording.sp(number) - frame.sp,
            bp if -_BELOW < bp < _ABOVE else None,
            frozenset(() if spot is None else (spot,)),
            sites,
            end,
            made.constant,
        )

    def _sites(
        self, frame: Frame, numbers: list[int], made: _Made
    ) -> dict[int, list[tuple[Spot | None, Spot]]]:
        sites: dict[int, list[tuple[Spot | None, Spot]]] = {}
        for number, following in zip(numbers, [*numbers[1:], numbers[-1] + 1], strict=True):
            before, after = made.locations(number), made.locations(following)
            if before == after or after is None:
                continue
            came, to = self._spot(frame, before), self._spot(frame, after)
            if to is not None:
                sites.setdefault(self._recording.address(number), []).append((came, to))
        return sites

    def _end(self, frame: Frame, last: int, made: _Made) -> Exit:
        spot = self._spot(frame, made.locations(last))
        insn = self._recording.insn(last)
        if last + 1 > self._recording.end or insn is None or insn.flow is Flow.RETURN:
            return Exit(spot)
        target = self._recording.address(last + 1)
        if "return_thunk" in (self._frames.name_at(target) or "") or not self._jumps_away(
            frame, target
        ):
            return Exit(spot)
        return Exit(spot, target)

    def _jumps_away(self, frame: Frame, target: int) -> bool:
        return self._frames.name_at(target) is not None and not self._is_inside(frame, target)

    def _spot(self, frame: Frame, location: Location | None) -> Spot | None:
        if location is None:
            return None
        what, place, _ = location
        if what == "register":
            return "register", place
        if place < PER_CPU and -_BELOW < place - frame.sp < _ABOVE:
            return "stack", place - frame.sp
        return "memory", place

    def _is_inside(self, frame: Frame, address: int) -> bool:
        return self._frames.function_at(address) == frame.function

    def _goes_on(self, address: int) -> bool:
        bug = self._image.bug_table.at(address)
        return bug is not None and bug.is_warning

    # -- what a branch asks for --------------------------------------------------------------------

    def _setter(self, numbers: list[int], at: int, insn: Insn) -> int | None:
        """The instruction of this frame that set the flags which instruction ``at`` reads."""
        if not insn.reads_flags:
            return numbers[at] if insn.compared else None
        for before in range(at - 1, -1, -1):
            setter = self._recording.insn(numbers[before])
            if setter is not None and setter.sets_flags:
                return numbers[before]
        return None

    def _passes_it_on(self, numbers: list[int], at: int, insn: Insn, chain: Chain) -> bool:
        """Whether a branch only asks whether there is an error, instead of deciding for it.

        But data that a function has read itself and found to be 0 are as good as a constant 0 to
        its compiler.
        """
        first = chain.steps[-1].number if chain.steps else -1
        is_data = chain.how in ("input", "host") and self._recording.returned & MASK32 == 0
        if is_data and first >= 0 and self._frames.of[first] is self._frames.of[numbers[at]]:
            return False
        return any(self._compares_it(number, chain) for number in self._setters(numbers, at, insn))

    def _setters(self, numbers: list[int], at: int, insn: Insn) -> list[int]:
        """All that compare for instruction ``at``: CCMP goes on from another comparison."""
        found: list[int] = []
        while len(found) < _MOST_JOINED:
            setter = self._setter(numbers, at, insn)
            if setter is None or setter in found:
                break
            found.append(setter)
            at = bisect_left(numbers, setter)
            compares = self._recording.insn(setter)
            if compares is None or not compares.reads_flags:
                break
            insn = compares
        return found

    def _compares_it(self, number: int, chain: Chain) -> bool:
        compares = self._recording.insn(number)
        places = compares.compared if compares is not None else ()
        return any(self._is_the_value(number, place, chain) for place in places)

    def _is_the_value(self, number: int, place: Place, chain: Chain, depth: int = 4) -> bool:
        """Whether it is the value, or what an earlier comparison of it gave."""
        if not isinstance(place, (Register, Memory)):
            return False
        if isinstance(place, Register):
            location: Location = ("register", place.number, place.size)
        else:
            location = ("memory", self._recording.where(number, place), place.size)
        found = trace_back(self._recording, number, location)
        if found.origin == chain.origin and found.how == chain.how:
            return found.origin >= 0 or found.last[:2] == chain.last[:2]
        made = self._recording.insn(found.origin) if found.origin >= 0 else None
        if made is None or not depth:
            return False
        if found.how == "flags":
            frame = self._by_frame[self._frames.of[found.origin].number]
            at = bisect_left(frame, found.origin)
            return any(self._compares_it(each, chain) for each in self._setters(frame, at, made))
        if found.how != "result":
            return False
        sources = [source for move in made.moves for source in move.sources]
        registers = [source for source in sources if isinstance(source, Register)]
        return any(self._is_the_value(found.origin, r, chain, depth - 1) for r in registers)


def _knows_results(image: KernelImage) -> bool:
    """Whether its compiler may have taken a function's result for known."""
    compiler = re.search(r"gcc\S* \([^)]*\) (\d+)\.", image.banner)
    return compiler is not None and int(compiler[1]) >= _GCC


def _indexed(insn: Insn) -> Memory | None:
    """The entry of a table that it reads."""
    for move in insn.moves:
        for source in move.sources:
            if isinstance(source, Memory) and source.index is not None:
                return source
    return None
