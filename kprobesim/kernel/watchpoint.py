"""``Watchpoint``: who writes, and reads, some bytes of guest memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kprobesim.errors import UsageError
from kprobesim.hexrepr import HexRepr
from kprobesim.html import table
from kprobesim.machine.system import System
from kprobesim.machine.unicorn.memory_hooks import MemoryHooks

__all__ = ["MemoryAccess", "Watchpoint"]

_WIDEST = 16  # bytes of an access


@dataclass(frozen=True, slots=True, repr=False)
class MemoryAccess(HexRepr):
    """One access to memory that is watched.

    Attributes:
        time: The guest's time, in nanoseconds.
        writes: Whether it writes.
        address: Of the first byte.
        size: Of the access, in bytes.
        before: What was there.
        value: What is written; of a read what was there.
        ip: The instruction.
        place: It as ``function+offset/size``.
        pid: Of the task; ``None`` where nobody knows it.
        comm: Its name, likewise.
    """

    time: int
    writes: bool
    address: int
    size: int
    before: int
    value: int
    ip: int
    place: str
    pid: int | None = None
    comm: str | None = None

    def __str__(self) -> str:
        who = "" if self.comm is None else f" [{self.comm}-{self.pid}]"
        value = f"{self.before:#x} -> {self.value:#x}" if self.writes else f"{self.value:#x}"
        verb = "writes" if self.writes else "reads"
        return f"{self.place}{who} {verb} {self.size} bytes at {self.address:#x}: {value}"

    @property
    def function(self) -> str:
        """The function that the instruction is in."""
        return self.place.partition("+")[0]


class Watchpoint:
    """Notes each access until :meth:`end`; as a context manager until the end of the block.

    >>> with k.watch("jiffies") as watch:
    ...     k.run(seconds=0.1)
    >>> watch.by_function()
    Counter({'do_timer': 25})

    Attributes:
        name: What it is called.
        address: Where the bytes are.
        size: How many.
        hits: How often they were accessed.
        accesses: The first ones of these, in order.
    """

    def __init__(
        self,
        system: System,
        name: str,
        address: int,
        size: int,
        *,
        reads: bool,
        writes: bool,
        most: int,
        callback: Callable[[MemoryAccess], object] | None,
        current: Callable[[], tuple[int | None, str | None]],
    ) -> None:
        """Watch from now on; see :meth:`Kernel.watch`."""
        if size <= 0:
            raise UsageError(f"{size} bytes cannot be watched: give a positive number")
        if not reads and not writes:
            raise UsageError("neither reads nor writes are to be told: leave one of them in")
        self.name = name
        self.address = address
        self.size = size
        self.hits = 0
        self.accesses: list[MemoryAccess] = []
        self._system = system
        self._most = most
        self._callback = callback
        self._current = current
        self._counts: Counter[str] = Counter()
        pieces = system.memory.physical(address, size)
        self._starts: dict[int, int] = {}
        at = address
        for start, length in pieces:
            self._starts[start] = at
            at += length
        self._pieces = pieces
        self._hooks = MemoryHooks(system.engine, pieces, self._accessed, reads=reads, writes=writes)

    def _accessed(self, writes: bool, physical: int, size: int, value: int) -> None:
        system = self._system
        address = self._virtual(physical)
        ip = int(system.words[system.engine.layout.pc])
        before = int.from_bytes(system.memory.read(address, size), "little")
        place = system.symbolize(ip)
        self.hits += 1
        self._counts[place.partition("+")[0]] += 1
        if len(self.accesses) >= self._most and self._callback is None:
            return
        value = value if writes else before
        access = MemoryAccess(
            system.clock.now(), writes, address, size, before, value, ip, place, *self._current()
        )
        if len(self.accesses) < self._most:
            self.accesses.append(access)
        if self._callback is not None:
            self._callback(access)

    def _virtual(self, physical: int) -> int:
        for start, length in self._pieces:
            if start - _WIDEST < physical < start + length:  # it may begin before them
                return self._starts[start] + physical - start
        return physical

    def by_function(self) -> Counter[str]:
        """How often each function accessed them."""
        return Counter(self._counts)

    def end(self) -> None:
        """Note no more."""
        self._hooks.end()

    def __enter__(self) -> Watchpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def __iter__(self) -> Iterator[MemoryAccess]:
        return iter(self.accesses)

    def __len__(self) -> int:
        return len(self.accesses)

    def __repr__(self) -> str:
        return f"<Watchpoint {self.name} {self.size} bytes at {self.address:#x}: {self.hits} hits>"

    def _repr_html_(self) -> str:
        rows = (
            (a.time, a.place, a.comm, f"{a.address:#x}", f"{a.before:#x}", f"{a.value:#x}")
            for a in self.accesses
        )
        return table(
            ("time", "instruction", "task", "address", "before", "value"),
            rows,
            caption=repr(self).strip("<>"),
            total=self.hits,
        )

    def __str__(self) -> str:
        return "\n".join(map(str, self.accesses))
