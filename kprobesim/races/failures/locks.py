"""Who holds what in a run: the functions that take locks are watched, with their arguments.

For a run that is done once more to be told about, not for those that are tried: each arrival is one
of Python's.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kprobesim.arch.architecture import architecture
from kprobesim.errors import GuestMemoryError
from kprobesim.image import KernelImage
from kprobesim.machine.code_watch import INSIDE
from kprobesim.races.actors import Actors
from kprobesim.races.failures.standing import Lock

if TYPE_CHECKING:
    from kprobesim.machine.system import System

__all__ = ["HeldLocks"]

_SPIN = ("", "_irq", "_bh", "_irqsave", "_nested", "_irqsave_nested")
_SLEEP = ("", "_interruptible", "_killable", "_nested", "_killable_nested", "_interruptible_nested")
_TAKES = (
    *(f"_raw_spin_lock{end}" for end in _SPIN),
    *(f"_raw_{kind}_lock{end}" for kind in ("read", "write") for end in _SPIN),
    *(f"mutex_lock{end}" for end in (*_SLEEP, "_io", "_io_nested")),
    *(
        f"{name}{end}"
        for name in ("down_read", "down_write", "down", "rt_mutex_lock")
        for end in _SLEEP
    ),
    "down_read_non_owner",
    "down_timeout",
    "rt_spin_lock",
    "rt_read_lock",
    "rt_write_lock",
    "ww_mutex_lock",
    "ww_mutex_lock_interruptible",
)
_TRIES = (
    "_raw_spin_trylock",
    "_raw_spin_trylock_bh",
    "_raw_read_trylock",
    "_raw_write_trylock",
    "mutex_trylock",
    "down_read_trylock",
    "down_write_trylock",
    "down_trylock",
    "rt_mutex_trylock",
    "rt_spin_trylock",
    "ww_mutex_trylock",
)
_LEAVES = (
    *(
        f"_raw_{kind}_unlock{end}"
        for kind in ("spin", "read", "write")
        for end in ("", "_irq", "_bh", "_irqrestore")
    ),
    "mutex_unlock",
    "up_read",
    "up_read_non_owner",
    "up_write",
    "up",
    "rt_mutex_unlock",
    "rt_spin_unlock",
    "rt_read_unlock",
    "rt_write_unlock",
    "ww_mutex_unlock",
)

_SPINS = "_raw_"
_ALONE = ("_raw_spin_", "_raw_write_")
"""Functions whose lock only one can have."""


@dataclass
class _Taking:
    """A lock that somebody has, or is about to take until a function has returned to ``back``."""

    who: Hashable
    lock: Lock
    back: tuple[int, int] | None  # the address, and the stack pointer there


class HeldLocks:
    """The locks that are held in one guest, as a context manager around a run.

    Who holds or wants one is told by a key of :class:`~kprobesim.races.actors.Actors`.
    """

    def __init__(
        self, machine: System, image: KernelImage, place: Callable[[int], str], actors: Actors
    ) -> None:
        """Watch nothing yet.

        Args:
            machine: Whose CPUs run.
            image: Its kernel.
            place: Names a virtual address of data.
            actors: Who takes locks.
        """
        self._machine, self._image, self._place = machine, image, place
        self._actors = actors
        self._abi = architecture(image.arch).abi
        self._ending = ExitStack()
        self._backs: set[int] = set()
        self._taken: list[_Taking] = []  # the oldest first

    def __enter__(self) -> HeldLocks:
        for names, arrived in ((_TAKES, self._take), (_TRIES, self._try), (_LEAVES, self._leave)):
            for name in names:
                found = self._image.symbols.candidates(name)
                if len(found) == 1:
                    self._watch(found[0].address, arrived)
        self._watch(self._actors.returns_to, self._back)
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    def _watch(self, address: int, arrived: Callable[[int], bool]) -> None:
        watch = self._machine.code_watch
        self._ending.callback(watch.unwatch, watch.watch(address, arrived, INSIDE))

    def held(self, who: Hashable) -> tuple[Lock, ...]:
        """What somebody holds, the oldest first."""
        mine = [each.lock for each in self._taken if each.who == who and not each.back]
        return tuple(lock for lock in mine if self._is_taken(lock))

    def _is_taken(self, lock: Lock) -> bool:
        """Whether anybody has a lock: where kernels inline how a spinlock is left, its word tells.

        That is 0 then (include/asm-generic/qspinlock_types.h, qrwlock_types.h).
        """
        if not lock.taken_by.startswith(_SPINS):
            return True
        try:
            return self._machine.memory.read(lock.address, 4) != bytes(4)
        except GuestMemoryError:
            return True

    def wanted(self, who: Hashable) -> Lock | None:
        """The lock that somebody is about to take."""
        wanted = [each.lock for each in self._taken if each.who == who and each.back]
        return wanted[-1] if wanted else None

    def holders(self, address: int) -> list[tuple[Hashable, Lock]]:
        """Who holds the lock at ``address``, each with where it was taken."""
        return [
            (each.who, each.lock)
            for each in self._taken
            if each.lock.address == address and not each.back and self._is_taken(each.lock)
        ]

    def _take(self, address: int) -> bool:
        machine, abi = self._machine, self._abi
        regs = machine.regs
        where, sp = regs.arg(0), regs.sp
        if abi.link_register is None:
            back = machine.memory.read_u64(sp), sp + abi.return_bytes
        else:
            back = regs.gpr(abi.number(abi.link_register)), sp
        by_call = back[0] == self._actors.returns_to
        if back[0] not in self._backs and not by_call:
            self._backs.add(back[0])
            self._watch(back[0], self._back)
        name = machine.symbolize(address).partition("+")[0]
        at = "" if by_call else machine.symbolize(back[0])
        lock = Lock(where, self._place(where), name, at)
        self._taken.append(_Taking(self._actors.running(), lock, back))
        return False

    def _back(self, address: int) -> bool:
        who, sp = self._actors.running(), self._machine.regs.sp
        taken = [each for each in self._taken if each.who == who and each.back == (address, sp)]
        for one in taken:
            one.back = None
            if one.lock.taken_by.startswith(_ALONE):  # whoever had it has left it
                at = one.lock.address
                self._taken = [
                    each
                    for each in self._taken
                    if each is one or each.back or each.lock.address != at
                ]
        return False

    def _try(self, address: int) -> bool:
        where = self._machine.regs.arg(0)
        if any(each.lock.address == where for each in self._taken):
            return False  # it fails
        return self._take(address)

    def _leave(self, _address: int) -> bool:
        who, where = self._actors.running(), self._machine.regs.arg(0)
        mine = [n for n, each in enumerate(self._taken) if each.lock.address == where]
        mine.sort(key=lambda n: (self._taken[n].who == who, not self._taken[n].back))
        if mine:
            del self._taken[mine[-1]]
        return False
