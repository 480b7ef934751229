"""Where a function may go from some instruction of it, as its code says, and with what result.

All paths are gone from there to the function's ends, with nothing known but where a copy of the
value in question is. So it is decided whether a branch could have led to another result: whether
there is an end at which the value is not what is returned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from kprobesim.arch.abi import Abi
from kprobesim.sizes import MASK32
from kprobesim.why.conditions import holds
from kprobesim.why.decode import Code
from kprobesim.why.instruction import Constant, Flow, Insn, Kind, Memory, Move, Place, Register

__all__ = ["Exit", "Paths", "Spot"]

Spot: TypeAlias = "tuple[str, int]"
"""Where a value is while a function runs: ("register", number), ("stack", offset from the stack
pointer at its entry), ("memory", address)."""
_MOST_STATES = 50_000
_ENDLESS = frozenset(
    {
        *("__stack_chk_fail", "panic", "do_exit", "make_task_dead", "fortify_panic"),
        *("__fortify_panic", "do_group_exit", "__noreturn", "rewind_stack_and_make_dead"),
        *("rest_init", "machine_real_restart", "nmi_panic", "arm64_serror_panic", "bad_mode"),
        *("__module_put_and_kthread_exit", "kthread_exit", "kthread_complete_and_exit"),
        *("__reiserfs_panic", "stop_this_cpu", "x86_64_start_reservations", "cpu_startup_entry"),
    }
)
"""Functions that never return (tools/objtool/noreturns.h of 6.12, those that branches lead to)."""


@dataclass(frozen=True)
class Exit:
    """An end of a function with the value in question.

    ``jumps_to`` is where a tail call goes, ``None`` where it returns. ``spot`` is where the value
    is then; ``None``: what is jumped to makes it.
    """

    spot: Spot | None
    jumps_to: int | None = None


_KEEPING = ("preempt_schedule_thunk", "preempt_schedule_notrace_thunk", "__SCT__preempt_schedule")
"""How functions begin that inline assembly calls, and that keep all registers
(arch/x86/entry/thunk.S)."""

_State = tuple[int, "int | None", frozenset[Spot], "tuple[int, int] | None"]
"""Address, stack pointer from the entry's, where the value is, and the comparison of a copy of it:
the address of the instruction, and whether the copy comes first (1) or second (0)."""


class Paths:
    """The paths of one function.

    Args:
        code: The guest's code.
        abi: Its calling convention.
        is_inside: Whether an address is the function's.
        name_of: The function that begins at an address.
        goes_on: Whether behind a trap at an address the guest goes on, as behind a WARN().
    """

    def __init__(
        self,
        code: Code,
        abi: Abi,
        is_inside: Callable[[int], bool],
        name_of: Callable[[int], str | None],
        goes_on: Callable[[int], bool],
    ) -> None:
        self._code = code
        self._is_inside = is_inside
        self._name_of = name_of
        self._goes_on = goes_on
        self._sp = abi.number(abi.stack_pointer)
        self._bp = abi.number(abi.frame_pointer)
        self._result = abi.number(abi.result)
        self._saved = frozenset(abi.numbers(abi.callee_saved)) | {self._sp}

    def may_differ(
        self,
        start: int,
        sp: int,
        frame: int | None,
        spots: frozenset[Spot],
        sites: Mapping[int, list[tuple[Spot | None, Spot]]],
        end: Exit,
        constant: int | None,
    ) -> bool:
        """Whether there is a path from ``start`` to an end where the value is not in its place.

        Args:
            start: Where they begin.
            sp: The stack pointer there, from that at the function's entry.
            frame: The frame pointer, likewise; ``None``: it is none.
            spots: Where the value is there.
            sites: What instructions did to it when they ran: from where it came to where; from
                ``None``: it was made there.
            end: The end in question.
            constant: What it is if an instruction made it of nothing: others that make the same
                make the same value.
        """
        self._frame, self._sites, self._constant = frame, sites, constant
        seen: set[_State] = set()
        left: list[_State] = [(start, sp, spots, None)]
        while left:
            state = left.pop()
            if state in seen:
                continue
            seen.add(state)
            if len(seen) > _MOST_STATES:
                return True
            following = self._follow(state, end)
            if following is None:
                return True
            left += following
        return False

    def _follow(self, state: _State, end: Exit) -> list[_State] | None:
        """The states behind one instruction; ``None``: it is an end without the value."""
        address, sp, spots, compared = state
        if not self._is_inside(address):
            return self._left_by(address, spots, end)
        insn = self._code.at(address)
        if insn is None:
            return []
        flow = insn.flow
        if flow is Flow.RETURN:
            return None if self._is_other(None, spots, end) else []
        if flow is Flow.JUMP and insn.goes_to is not None:
            return [(insn.goes_to, sp, spots, compared)]
        if flow is Flow.INDIRECT:
            return None
        if flow is Flow.BACK:
            return []
        if flow is Flow.TRAP:
            return [(insn.end, sp, spots, None)] if self._goes_on(address) else []
        if flow is Flow.BRANCH:
            return self._branched(insn, sp, spots, compared)
        if flow is Flow.CALL:
            return self._called(insn, sp, spots)
        after, new_sp = self._moved(insn, sp, spots)
        if insn.sets_flags:
            compared = self._comparison(insn, spots)
        return [(insn.end, new_sp, after, compared)]

    def _left_by(self, address: int, spots: frozenset[Spot], end: Exit) -> list[_State] | None:
        name = self._name_of(address) or ""
        if "return_thunk" in name:
            return None if self._is_other(None, spots, end) else []
        if name in _ENDLESS or not name:  # what lies behind a call that does not return
            return []
        return None if self._is_other(address, spots, end) else []

    def _is_other(self, jumps_to: int | None, spots: frozenset[Spot], end: Exit) -> bool:
        if jumps_to != end.jumps_to:
            return True
        return end.spot is not None and end.spot not in spots

    # -- branches ----------------------------------------------------------------------------------

    def _branched(
        self,
        insn: Insn,
        sp: int | None,
        spots: frozenset[Spot],
        compared: tuple[int, int] | None,
    ) -> list[_State]:
        taken = self._is_taken(insn, spots, compared)
        targets = [insn.goes_to, insn.end]
        if taken is not None:
            targets = targets[:1] if taken else targets[1:]
        return [(target, sp, spots, compared) for target in targets if target is not None]

    def _is_taken(
        self, insn: Insn, spots: frozenset[Spot], compared: tuple[int, int] | None
    ) -> bool | None:
        """Whether it is taken, where it asks for the value itself, which is a known constant."""
        value = self._constant
        if value is None:
            return None
        if not insn.condition:
            first = insn.compared[0] if insn.compared else None
            if not isinstance(first, Register) or ("register", first.number) not in spots:
                return None
            value &= (1 << 8 * first.size) - 1 if first.size < 8 else ~0
            if insn.mnemonic in ("cbz", "cbnz"):
                return (value == 0) == (insn.mnemonic == "cbz")
            second = insn.compared[1]
            if insn.mnemonic in ("tbz", "tbnz") and isinstance(second, Constant):
                return bool(value >> second.value & 1) == (insn.mnemonic == "tbnz")
            return None
        if compared is None:
            return None
        setter = self._code.at(compared[0])
        if setter is None or len(setter.compared) != 2:
            return None
        first, second = setter.compared
        assert isinstance(first, Register)
        other = value if not isinstance(second, Constant) else second.value
        size = first.size
        both = setter.mnemonic in ("test", "tst")
        return holds(insn.condition, value, other, size, both=both)

    def _comparison(self, insn: Insn, spots: frozenset[Spot]) -> tuple[int, int] | None:
        if insn.mnemonic not in ("cmp", "test", "tst") or len(insn.compared) != 2:
            return None
        first, second = insn.compared
        if not isinstance(first, Register) or ("register", first.number) not in spots:
            return None
        return (insn.address, 1) if isinstance(second, Constant) or first == second else None

    # -- what happens to the value -----------------------------------------------------------------

    def _called(self, insn: Insn, sp: int | None, spots: frozenset[Spot]) -> list[_State]:
        if insn.goes_to is not None and self._name_of(insn.goes_to) in _ENDLESS:
            return []
        after = set(spots)
        if not self._keeps_all(insn):
            after = {s for s in spots if s[0] != "register" or s[1] in self._saved}
        after |= self._by_site(insn.address, spots)
        if insn.goes_to == insn.end:  # only to learn where it is
            after = set(spots)
        return [(insn.end, sp, frozenset(after), None)]

    def _keeps_all(self, insn: Insn) -> bool:
        name = None if insn.goes_to is None else self._name_of(insn.goes_to)
        return name is not None and name.startswith(_KEEPING)

    def _by_site(self, address: int, spots: frozenset[Spot]) -> set[Spot]:
        return {to for came, to in self._sites.get(address, ()) if came is None or came in spots}

    def _moved(
        self, insn: Insn, sp: int | None, spots: frozenset[Spot]
    ) -> tuple[frozenset[Spot], int | None]:
        new_sp = sp
        if insn.stack_change is None:
            new_sp = self._frame if insn.mnemonic in ("leave", "mov") else None
            if insn.mnemonic == "leave" and new_sp is not None:
                new_sp += 8
        elif sp is not None:
            new_sp = sp + insn.stack_change
        if not spots and not self._makes(insn):
            return spots, new_sp
        after = set(spots)
        for move in insn.moves:
            target = self._spot(move.target, sp)
            if target is None:
                continue
            after.discard(target)
            if self._is_copy(move, sp, spots):
                after.add(target)
        after |= self._by_site(insn.address, spots)
        return frozenset(after), new_sp

    def _makes(self, insn: Insn) -> bool:
        return insn.address in self._sites or any(m.kind is Kind.CONSTANT for m in insn.moves)

    def _is_copy(self, move: Move, sp: int | None, spots: frozenset[Spot]) -> bool:
        if move.kind is Kind.CONSTANT:
            source = move.sources[0] if move.sources else None
            if self._constant is None or not isinstance(source, Constant):
                return False
            return (source.value ^ self._constant) & MASK32 == 0
        if move.kind is Kind.COPY and len(move.sources) == 1:
            return self._spot(move.sources[0], sp) in spots
        if move.kind is Kind.SELECT:
            return all(self._spot(each, sp) in spots for each in move.sources) and not move.change
        return False

    def _spot(self, place: Place, sp: int | None) -> Spot | None:
        if isinstance(place, Register):
            return "register", place.number
        if isinstance(place, Memory) and place.index is None:
            if place.base == self._sp and sp is not None:
                return "stack", sp + place.displacement
            if place.base == self._bp and self._frame is not None:
                return "stack", self._frame + place.displacement
        return None
