"""Return programs: the probe at the entry of a function whose program runs when it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kprobesim.kprobes.kretprobe import Kretprobe, KretprobeEntry, KretprobeInstance
from kprobesim.programs.compiler.block import returns_at
from kprobesim.programs.fault import FAULT
from kprobesim.programs.following import Following
from kprobesim.programs.pending import Call, Pool
from kprobesim.programs.probe import ProgramProbe
from kprobesim.programs.program import Program
from kprobesim.programs.stores.words import Words
from kprobesim.programs.task import TaskFacts

__all__ = ["ReturnProgramProbe", "ReturnedCall"]


class _EntryCounts(Kretprobe):
    """A return probe that counts its misses in its entry probe."""

    __slots__ = ()

    @property
    def nmissed(self) -> int:
        """Those of ``kp``."""
        return self.kp.nmissed

    @nmissed.setter
    def nmissed(self, value: int) -> None:
        self.kp.nmissed = value


class ReturnedCall:
    """The registers at a return, with what was kept from the entry."""

    __slots__ = ("_arguments", "_facts", "_regs", "caller", "duration")

    def __init__(self, regs: Any, ri: KretprobeInstance, facts: TaskFacts, *, timed: bool) -> None:
        entered, self._arguments = ri.data
        self._regs = regs
        self._facts = facts
        self.caller = ri.ret_addr
        self.duration = facts.now() - entered if timed else 0

    @property
    def stack_id(self) -> Any:
        """The number of the stack of callers."""
        number = self._facts.stack_id(self.caller, self.caller)
        return FAULT if number is None else number

    @property
    def unwound(self) -> Any:
        """The same, as the unwinder tells it."""
        number = self._facts.unwound(self.caller, self.caller)
        return FAULT if number is None else number

    def arg(self, n: int) -> int:
        """What argument ``n`` was."""
        return int(self._arguments[n])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._regs, name)


class ReturnProgramProbe(ProgramProbe, KretprobeEntry):
    """The entry probe of a return program.

    Its ``nmissed`` are calls that were not followed: ``maxactive`` others were, or a probe was
    being handled. (A kretprobe's two counts in one, as kprobe_profile adds them up.)

    Attributes:
        rp: The return probe of Python's, if the program is not compiled.
    """

    __slots__ = ("_address", "_following", "_pool", "rp")

    def __init__(self, place: Mapping[str, Any], program: Program, block: Words, at: int) -> None:
        """As a :class:`ProgramProbe`."""
        self._address: int | None = None
        self._following: Following | None = None
        self._pool: Pool | None = None
        self.rp: Kretprobe | None = None
        super().__init__(place, program, block, at)

    def follow(self, following: Following, maxactive: int, returned: int) -> None:
        """Compiled code follows the calls.

        Args:
            following: Who hears of returns.
            maxactive: How many calls at a time.
            returned: The address of the function to be called at a return.
        """
        free = self._at + returns_at(len(self.program.actions), "free")
        pool = Pool(maxactive, len(self.program.saved), self._block, self._at, free)
        pool.return_to(returned)
        self._following, self._pool = following, pool

    def return_by_python(
        self, run: Callable[[Any, int], None], facts: TaskFacts, maxactive: int
    ) -> None:
        """Let a return probe of Python's follow the calls: :attr:`rp`.

        Args:
            run: The program, to be called with a :class:`ReturnedCall` and the function's address.
            facts: What is known of the guest.
            maxactive: As a ``Kretprobe``'s.
        """
        saved, timed = [argument.n for argument in self.program.arguments], self.program.is_timed

        def entered(ri: KretprobeInstance, regs: Any) -> None:
            ri.data = facts.now() if timed else 0, {n: regs.arg(n) for n in saved}

        def returned(ri: KretprobeInstance, regs: Any) -> None:
            run(ReturnedCall(regs, ri, facts, timed=timed), self.addr or 0)

        self.rp = _EntryCounts(handler=returned, entry_handler=entered, maxactive=maxactive)
        self.rp.kp = self

    def become(self, other: ProgramProbe) -> None:
        """As a :class:`ProgramProbe` that is compiled; calls that are followed are forgotten."""
        assert isinstance(other, ReturnProgramProbe)
        address = self._address
        self.registered_at = None
        super().become(other)
        self._following, self._pool = other._following, other._pool
        self.registered_at = address

    @property
    def told_nobody(self) -> int:  # type: ignore[override]
        """Also more after each entry, and after each return."""
        told = super().told_nobody
        if self._following is None or self._pool is None:
            return told
        return told + 2 * self._following.pending.save() - len(self._pool.in_use())

    @property
    def is_stored(self) -> bool:
        """Its calls can be stored if compiled code follows them."""
        return self._pool is not None

    @property
    def calls(self) -> list[Call]:
        """The calls that are followed, if compiled code does."""
        if self._following is None or self._pool is None:
            return []
        return self._following.pending.calls(self._pool)

    def again(self, calls: Iterable[Call]) -> list[tuple[Pool, Call]]:
        """``calls``, for :meth:`.pending.Pending.follow`."""
        assert self._pool is not None
        return [(self._pool, call) for call in calls]

    @property
    def registered_at(self) -> int | None:
        """Where it is registered; whoever unregisters it ends what it follows."""
        return self._address

    @registered_at.setter
    def registered_at(self, address: int | None) -> None:
        before, self._address = self._address, address
        if self._following is None or self._pool is None or (before is None) == (address is None):
            return
        if address is not None:
            place = returns_at(len(self.program.actions), "address")
            self._block[self._at + place] = address
            self._following.begin(self._pool)
        else:
            self._following.end(self._pool)
