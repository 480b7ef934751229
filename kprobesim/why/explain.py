"""``explain``: from a function that can be run again to the answer why it returned that."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice, zip_longest

from kprobesim.errors import UsageError
from kprobesim.functions.dwarf.source_lines import SourceLine, SourceLines
from kprobesim.image import KernelImage
from kprobesim.sizes import MASK32
from kprobesim.why.answer import Branch, CodePlace, Why, result_text
from kprobesim.why.comparison import compared_by, says
from kprobesim.why.decisions import Decider, Decision
from kprobesim.why.decode import Code
from kprobesim.why.failures import FailedCall, failed_calls
from kprobesim.why.frames import Frames
from kprobesim.why.instruction import Flow
from kprobesim.why.recording import Recording
from kprobesim.why.replay import Outcome, Runs, flip_of
from kprobesim.why.slicing import Chain, trace_back

__all__ = ["MOST", "explain"]

MOST = 2_000_000
"""Instructions that a run may have."""
_TRIED = 6
"""Decisions of which the other side is tried."""
_DEEPEST = 100
"""Functions that an error is passed on by."""
_LONGER = 4
"""How much longer another way may be, and instructions that it may have in any case."""
_AT_LEAST = 400_000


class _Run:
    """One recorded run and what is found in it."""

    def __init__(self, outcome: Outcome, runs: Runs, code: Code, image: KernelImage) -> None:
        assert outcome.end is not None
        self.recording = Recording(outcome.noted, code, runs.read, outcome.end)
        self.frames = Frames(self.recording, image.symbols)
        self.decider = Decider(self.recording, self.frames, image)
        self.chain: Chain = self.decider.origin()

    def decisions(self) -> list[Decision]:
        for _ in range(_DEEPEST):
            found = list(islice(self.decider.decisions(self.chain), _TRIED))
            chain = self.decider.passed_on(found[0], self.chain) if found else None
            if chain is None:
                break
            self.chain = chain
        return found

    def had_already(self, other: Chain, origin: int, decision: Decision) -> Chain | None:
        """The way of an error that was in hand at ``decision``, on whose other side it is returned.

        Args:
            other: The way of what that side has returned.
            origin: Where that was made before it was made anew.
            decision: Up to it both runs are the same.

        Returns:
            ``None`` where neither this function nor one that had returned by then has made it.
        """
        place = other.location(decision.number)
        if origin == self.chain.origin or not 0 <= origin < decision.number or place is None:
            return None
        frame = self.frames.of[origin]
        if frame is not decision.frame and not 0 <= frame.exit < decision.number:
            return None
        return trace_back(self.recording, decision.number, place)


def explain(
    runs: Runs,
    code: Code,
    image: KernelImage,
    name_of: Callable[[int], str],
    lines: SourceLines | None,
    *,
    check: Callable[[int], object] = lambda _: None,
    most: int = MOST,
) -> Why:
    """Why it returned what it did.

    Args:
        runs: Runs it.
        code: The guest's instructions.
        image: The kernel.
        name_of: An address as ``symbol+offset/size``.
        lines: Its source lines.
        check: Is given what it returned, and may raise.
        most: Instructions that may be recorded.

    Raises:
        UsageError: It did not return, or ran too long.
    """
    outcome = runs.run(None, most)
    if outcome.end is None or outcome.returned is None:
        raise UsageError(f"it did not return, so there is no result to explain: {outcome.text}")
    check(outcome.returned)
    run = _Run(outcome, runs, code, image)
    decision, otherwise = _choose(run, runs, code, image, outcome.returned)
    return _answer(
        runs,
        run,
        name_of,
        lines,
        decision,
        otherwise,
        failed_calls(run.recording, run.frames, image),
    )


def _choose(
    run: _Run, runs: Runs, code: Code, image: KernelImage, returned: int
) -> tuple[Decision | None, str]:
    """The decision that counts, and what the function would have returned otherwise."""
    for _ in range(_DEEPEST):
        chosen = _try(run, runs, code, image, returned)
        if not isinstance(chosen, Chain):
            return chosen
        run.chain = chosen
    return None, ""


def _try(
    run: _Run, runs: Runs, code: Code, image: KernelImage, returned: int
) -> tuple[Decision | None, str] | Chain:
    """The same, or the way of the value that the function has really passed on."""
    found = run.decisions()
    most = _LONGER * run.recording.end + _AT_LEAST
    doubtful: tuple[Decision, str] | None = None
    for decision, before in zip_longest(found, found[1:]):
        if decision.kind == "table" and before is not None and before.frame is decision.frame:
            return before, ""  # the check of the index: its line is that of the switch
        if doubtful is not None and _comes_before(decision, doubtful[0]):
            return doubtful
        flip = flip_of(run.recording, decision)
        if flip is None:
            return decision, ""
        other = runs.run(flip, most)
        if other.end is None or other.returned is None:
            if not decision.behind:
                return decision, other.text
            doubtful = doubtful or (decision, other.text)
            continue
        if not _same(other.returned, returned):
            return decision, f"it would have returned {result_text(other.returned)}"
        again = _Run(other, runs, code, image)
        returned_by = again.chain
        later = next(iter(again.decisions()), None)
        passed_on = run.had_already(returned_by, again.chain.origin, decision)
        if passed_on is not None:
            return passed_on
        if later is not None and later.number > decision.number:
            if decision.behind and run.recording.came_to(later.insn.address):
                continue  # around once more, and out by the same way
            place = again.frames.place(later.insn.address)
            return decision, f"it would have returned the same, decided at {place} then"
    if doubtful is not None:
        return doubtful
    return (found[0], "it would have returned the same") if found else (None, "")


def _comes_before(decision: Decision, doubtful: Decision) -> bool:
    """Whether it decided before the value was made.

    A branch that lets the value be, and whose other side faults or never ends, may be a check for
    NULL, or stand on the way out. It is on the way out if another one before it has let the value
    be, too.
    """
    if decision.frame is not doubtful.frame:
        return True
    return not decision.behind


def _same(first: int, second: int) -> bool:
    bits = MASK32 if first >> 32 == 0 or second >> 32 == 0 else ~0
    return first & bits == second & bits


def _condition_lines(
    recording: Recording, decision: Decision, lines: SourceLines
) -> tuple[SourceLine, ...]:
    """Where the condition stands in the source.

    A choice bears the line of ``x = y;`` behind ``if (...)``: its condition is where the flags are
    set, if nobody else asks for them in between.
    """
    own = lines.at(decision.insn.address)
    setter = decision.setter
    if decision.kind not in ("choice", "flags") or setter is None or setter == decision.number:
        return own
    between = [recording.insn(number) for number in range(setter + 1, decision.number)]
    if any(insn is None or insn.flow is not Flow.NEXT or insn.reads_flags for insn in between):
        return own
    found = lines.at(recording.address(setter))
    same = own and found and [line.function for line in own] == [line.function for line in found]
    return found if same else own


def _answer(
    runs: Runs,
    run: _Run,
    name_of: Callable[[int], str],
    lines: SourceLines | None,
    decision: Decision | None,
    otherwise: str,
    failed: list[FailedCall],
) -> Why:
    recording, frames = run.recording, run.frames

    def place(address: int) -> CodePlace:
        source: tuple[SourceLine, ...] = () if lines is None else lines.at(address)
        return CodePlace(address, name_of(address), source)

    branch, calls = None, []
    if decision is not None:
        behind = [
            n for n in (decision.setter, *decision.joined) if n not in (None, decision.number)
        ]
        setters = [recording.insn(number) for number in behind[::-1] if number is not None]
        comparison = "; ".join(setter.text for setter in setters if setter is not None)
        branch = Branch(
            decision.frame.function,
            CodePlace(
                decision.insn.address,
                name_of(decision.insn.address),
                () if lines is None else _condition_lines(recording, decision, lines),
            ),
            decision.insn.text,
            decision.kind,
            decision.taken,
            comparison,
            says(recording, decision),
            compared_by(recording, frames, decision),
            otherwise,
            frames.time_of(decision.number),
        )
        caller = decision.frame.caller
        while caller is not None:
            frame, called_at = caller
            calls.append(place(recording.address(called_at)))
            caller = frame.caller
    origin = run.chain.origin
    return Why(
        runs.function,
        recording.returned,
        branch,
        place(recording.address(origin)) if origin >= 0 else None,
        tuple(reversed(calls)),
        tuple(failed),
        recording.end,
        runs.which,
    )
