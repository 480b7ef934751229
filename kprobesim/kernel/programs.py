"""``ProgramVerbs``: counting, measuring and recording without Python at a hit."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, overload

from kprobesim.errors import UsageError
from kprobesim.image import KernelImage, Symbol, SymbolTable
from kprobesim.kernel.verdicts import Verdicts
from kprobesim.machine.system import System
from kprobesim.machine.turn import in_turn
from kprobesim.sizes import MAX_KEYS

if TYPE_CHECKING:  # a kernel on which nobody plants any needs none of it
    from kprobesim.inside.tasks import Tasks
    from kprobesim.kprobes.kprobe import Kprobe
    from kprobesim.kprobes.manager import KprobesManager
    from kprobesim.kprobes.rules.names import Names
    from kprobesim.programs.actions import Full, Linear, Log2
    from kprobesim.programs.planted import Planted
    from kprobesim.programs.planting import Programs
    from kprobesim.programs.program import Program
    from kprobesim.programs.saved import SavedPrograms
    from kprobesim.programs.stores.counts import Counts
    from kprobesim.programs.stores.ring import Ring
    from kprobesim.programs.stores.single import Counter
    from kprobesim.programs.stores.stacks import Stacks
    from kprobesim.programs.stores.table import Table

    Where = Names | int | Symbol
    """Places of probes."""

__all__ = ["ProgramVerbs"]


class ProgramVerbs(Verdicts):
    """The verbs of :class:`~kprobesim.kernel.base.Kernel` that plant programs."""

    kprobes: KprobesManager
    machine: System
    image: KernelImage

    @property
    @abstractmethod
    def tasks(self) -> Tasks:
        """Reads the guest's ``task_struct`` objects."""

    @cached_property
    def _programs(self) -> Programs:
        from kprobesim.programs.planting import Programs

        return Programs(self.machine, self.kprobes, self.tasks)

    @property
    def stacks(self) -> Stacks:
        """What the numbers of ``stack_id`` stand for: addresses of callers, the innermost first.

        As many as frame pointers tell, or ORC in kernels without them.
        """
        return self._programs.stacks

    @property
    def programs(self) -> list[Planted]:
        """All programs that are planted, in order; also those that a snapshot has brought."""
        from kprobesim.programs.saved import planted_in

        return planted_in(self.kprobes)

    def prepare_programs(self, saved: SavedPrograms) -> dict[int, Kprobe]:
        """The probes that did stored programs, by their numbers; raises :class:`UsageError`."""
        from kprobesim.programs.saved import prepare_saved

        return prepare_saved(self._programs, saved)

    @in_turn
    def plant(self, where: Where, program: Program, *, compiled: bool | None = None) -> Planted:
        """Plant ``program`` at each place of ``where``.

        Args:
            where: A function, a place in one ("vfs_read+0x10"), a glob, or several of them; or one
                address, or symbol.
            program: What is done at each hit.
            compiled: ``True``: refuse what cannot be compiled; ``False``: let Python do it; by
                default it is compiled where it can be.

        Raises:
            KprobeError: A probe is refused; none is registered then.
            UsageError: The program makes no sense there.
        """
        from kprobesim.kprobes.rules.names import is_many
        from kprobesim.programs.program import Program

        if not isinstance(program, Program):
            raise UsageError(f"{program!r} is of type {type(program).__name__}: give a Program")
        many = not isinstance(where, (str, int, Symbol)) or (
            isinstance(where, str) and is_many(where)
        )
        with self.kprobes.rules.judging_once():
            if isinstance(where, (int, Symbol)):
                names: Sequence[str] = [_by_address(where, self.image.symbols)]
            else:
                names = self.functions(where, kretprobe=bool(program.returns))
            return self._programs.plant(names, program, many=many, compiled=compiled)

    @overload
    def count(
        self,
        where: list[str] | tuple[str, ...],
        *,
        when: Any = None,
        returns: bool | None = None,
        compiled: bool | None = None,
    ) -> Counts: ...

    @overload
    def count(
        self,
        where: Where,
        *,
        when: Any = None,
        returns: bool | None = None,
        compiled: bool | None = None,
    ) -> Counter | Counts: ...

    @overload
    def count(
        self,
        where: Where,
        *,
        key: Any,
        max_keys: int = MAX_KEYS,
        when: Any = None,
        returns: bool | None = None,
        compiled: bool | None = None,
    ) -> Table: ...

    @overload
    def count(
        self,
        where: Where,
        *,
        per_cpu: Literal[True],
        key: Any = (),
        when: Any = None,
        returns: bool | None = None,
    ) -> Table: ...

    def count(
        self,
        where: Where,
        *,
        key: Any = (),
        max_keys: int = MAX_KEYS,
        when: Any = None,
        returns: bool | None = None,
        compiled: bool | None = None,
        per_cpu: bool = False,
    ) -> Counter | Counts | Table:
        """Count hits, all or those that meet a condition, for each key if there is one.

        >>> hits = k.count("kmem_cache_alloc")
        >>> int(hits)

        Args:
            where: As for :meth:`plant`.
            key: A value or a tuple of them: count for each.
            max_keys: With more keys than these the run ends with :class:`UsageError`.
            when: Count hits only where this is true.
            returns: Count returns instead.
            compiled: As for :meth:`plant`.
            per_cpu: Count for each CPU: its number is the key, or comes before the others.

        Returns:
            A live counter for one function, one for each of several, or a table by key.
        """
        from kprobesim.programs import cpu
        from kprobesim.programs.actions import Count

        if per_cpu:
            others = key if isinstance(key, tuple) else (key,)
            key = (cpu, *others) if others else cpu
        found: Counter | Counts | Table = self._plant_one(
            where, Count(key, max_keys=max_keys), when, returns, compiled
        )
        return found

    def record(
        self,
        where: Where,
        /,
        *,
        fields: Mapping[str, Any] | None = None,
        when: Any = None,
        capacity: int = 1 << 14,
        full: Full = "drain",
        returns: bool | None = None,
        compiled: bool | None = None,
        **named: Any,
    ) -> Ring:
        """Record values of each hit.

        >>> ring = k.record("vfs_read", fd=arg(0), n=arg(2).u32, when=arg(2) > 4096)
        >>> for r in ring:
        ...     print(r.fd, r.n)

        Args:
            where: As for :meth:`plant`.
            fields: Values by name, for names that are words of this call, such as "when".
            when: Record hits only where this is true.
            capacity: How many records the ring has room for.
            full: What happens when it is full: "drain" (Python takes them out, none is lost) or
                "drop" (new ones are dropped, and counted).
            returns: Record returns instead.
            compiled: As for :meth:`plant`.
            **named: The values by name.
        """
        from kprobesim.programs.actions import Record

        if not isinstance(fields, (Mapping, type(None))):
            raise UsageError(f"fields {fields!r}: give values by their names, as a dict")
        action = Record({**(fields or {}), **named}, capacity=capacity, full=full)
        ring: Ring = self._plant_one(where, action, when, returns, compiled)
        return ring

    def histogram(
        self,
        where: Where,
        value: Any,
        *,
        log2: bool = False,
        linear: tuple[int, int, int] | None = None,
        key: Any = (),
        max_keys: int = MAX_KEYS,
        when: Any = None,
        returns: bool | None = None,
        compiled: bool | None = None,
    ) -> Any:
        """Count hits by how large ``value`` is.

        Args:
            where: As for :meth:`plant`.
            value: A number.
            log2: In powers of two; that is so by default.
            linear: In equal steps: (low, high, step).
            key: A value or a tuple of them: a histogram for each.
            max_keys: As for :meth:`count`.
            when: Count hits only where this is true.
            returns: At returns; ``retval`` alone says so, too.
            compiled: As for :meth:`plant`.

        Returns:
            A live :class:`~.stores.single.Single`, whose ``value`` is the
            :class:`~.stores.cells.Buckets` of now; with a key a :class:`~.stores.table.Table`.
        """
        from kprobesim.programs.actions import Histogram

        action = Histogram(value, key, max_keys=max_keys, scale=_scale(log2=log2, linear=linear))
        return self._plant_one(where, action, when, returns, compiled)

    def latency(
        self,
        where: Names,
        *,
        log2: bool = False,
        linear: tuple[int, int, int] | None = None,
        key: Any = (),
        max_keys: int = MAX_KEYS,
        when: Any = None,
        maxactive: int = 0,
        compiled: bool | None = None,
    ) -> Any:
        """Count calls by how long they take, from the entry to the return, in nanoseconds.

        They are the guest's own: see :mod:`~kprobesim.machine.stopwatch`.

        >>> times = k.latency("vfs_read", log2=True)

        Args:
            where: Functions, as for :meth:`plant`.
            log2: As for :meth:`histogram`.
            linear: As for :meth:`histogram`.
            key: As for :meth:`histogram`; arguments are those of the entry.
            max_keys: As for :meth:`count`.
            when: Count only calls that return when this is true; ``arg(0)`` is that of the entry.
            maxactive: How many calls of one function are followed at a time, as by a ``Kretprobe``;
                others are counted in ``nmissed``.
            compiled: As for :meth:`plant`.

        Returns:
            As :meth:`histogram`.
        """
        from kprobesim.programs.actions import Histogram
        from kprobesim.programs.program import Program
        from kprobesim.programs.spelling import duration

        scale = _scale(log2=log2, linear=linear)
        action = Histogram(duration, key, max_keys=max_keys, scale=scale)
        program = Program((action,), when, maxactive=maxactive)
        return self.plant(where, program, compiled=compiled).stores[0]

    def _plant_one(
        self, where: Any, action: Any, when: Any, returns: bool | None, compiled: bool | None
    ) -> Any:
        from kprobesim.programs.program import Program

        program = Program((action,), when, returns)
        return self.plant(where, program, compiled=compiled).stores[0]

    def sum(
        self,
        where: Where,
        value: Any,
        *,
        key: Any = (),
        max_keys: int = MAX_KEYS,
        when: Any = None,
        returns: bool | None = None,
        compiled: bool | None = None,
    ) -> Any:
        """Add ``value`` up over all hits; arguments as for :meth:`histogram`.

        Returns:
            A live :class:`~.stores.single.Single`, whose ``value`` is the
            :class:`~.stores.cells.Total` of now; with a key a :class:`~.stores.table.Table`.
        """
        from kprobesim.programs.actions import Sum

        return self._plant_one(where, Sum(value, key, max_keys=max_keys), when, returns, compiled)

    def min(
        self,
        where: Where,
        value: Any,
        *,
        key: Any = (),
        max_keys: int = MAX_KEYS,
        when: Any = None,
        returns: bool | None = None,
        compiled: bool | None = None,
    ) -> Any:
        """Keep the least ``value`` of all hits; arguments as for :meth:`histogram`.

        Returns:
            A live :class:`~.stores.single.Single`, whose ``value`` is the
            :class:`~.stores.cells.Total` of now; with a key a :class:`~.stores.table.Table`.
        """
        from kprobesim.programs.actions import Minimum

        return self._plant_one(
            where, Minimum(value, key, max_keys=max_keys), when, returns, compiled
        )

    def max(
        self,
        where: Where,
        value: Any,
        *,
        key: Any = (),
        max_keys: int = MAX_KEYS,
        when: Any = None,
        returns: bool | None = None,
        compiled: bool | None = None,
    ) -> Any:
        """Keep the greatest ``value`` of all hits; arguments as for :meth:`histogram`.

        Returns:
            A live :class:`~.stores.single.Single`, whose ``value`` is the
            :class:`~.stores.cells.Total` of now; with a key a :class:`~.stores.table.Table`.
        """
        from kprobesim.programs.actions import Maximum

        return self._plant_one(
            where, Maximum(value, key, max_keys=max_keys), when, returns, compiled
        )


def _scale(*, log2: bool, linear: tuple[int, int, int] | None) -> Log2 | Linear:
    from kprobesim.programs.actions import Linear, Log2

    if linear is None:
        return Log2()
    if log2:
        raise UsageError("log2 and linear are both given: choose one")
    try:
        return Linear(*linear)
    except TypeError:
        raise UsageError(f"linear {linear!r}: give three integers (low, high, step)") from None


def _by_address(where: int | Symbol, symbols: SymbolTable) -> str:
    """A place by name, which is all that a program remembers of it."""
    address = where.address if isinstance(where, Symbol) else where
    found = symbols.at(address)
    if found is None:
        raise UsageError(f"there is no function at {address:#x}")
    name = symbols.unique_name(found.symbol)
    return f"{name}+{found.offset:#x}" if found.offset else name
