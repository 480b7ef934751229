"""Who holds what in a run: the functions that take locks are watched, with their arguments.

For a run that is done once more to be told about, not for those that are tried: each arrival is one
of Python's.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kprobesim.arch.architecture import architecture
from kprobesim.image import KernelImage
from kprobesim.machine.code_watch import INSIDE
from kprobesim.races.standing import Lock

if TYPE_CHECKING:
    from kprobesim.machine.machine import Machine

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


@dataclass
class _Taking:
    """A lock that a CPU has, or is about to take until its function has returned to ``back``."""

    cpu: int
    lock: Lock
    back: tuple[int, int] | None  # the address, and the stack pointer there


class HeldLocks:
    """The locks that the CPUs of one machine hold, as a context manager around a run."""

    def __init__(self, machine: Machine, image: KernelImage, place: Callable[[int], str]) -> None:
        """Watch nothing yet.

        Args:
            machine: Whose CPUs run.
            image: Its kernel.
            place: Names a virtual address of data.
        """
        self._machine, self._image, self._place = machine, image, place
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
        self._watch(self._machine.return_address, self._back)
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    def _watch(self, address: int, arrived: Callable[[int], bool]) -> None:
        watch = self._machine.code_watch
        self._ending.callback(watch.unwatch, watch.watch(address, arrived, INSIDE))

    def held(self, cpu: int) -> tuple[Lock, ...]:
        """What CPU number ``cpu`` holds, the oldest first."""
        return tuple(each.lock for each in self._taken if each.cpu == cpu and not each.back)

    def wanted(self, cpu: int) -> Lock | None:
        """The lock that it is about to take."""
        wanted = [each.lock for each in self._taken if each.cpu == cpu and each.back]
        return wanted[-1] if wanted else None

    def holders(self, address: int) -> list[tuple[int, Lock]]:
        """The CPUs that hold the lock at ``address``, each with where it was taken."""
        return [
            (each.cpu, each.lock)
            for each in self._taken
            if each.lock.address == address and not each.back
        ]

    def _take(self, address: int) -> bool:
        machine, abi = self._machine, self._abi
        regs = machine.regs
        where, sp = regs.arg(0), regs.sp
        if abi.link_register is None:
            back = machine.memory.read_u64(sp), sp + abi.return_bytes
        else:
            back = regs.gpr(abi.number(abi.link_register)), sp
        if back[0] not in self._backs and back[0] != machine.return_address:
            self._backs.add(back[0])
            self._watch(back[0], self._back)
        caller = machine.unwind(regs)[1:2]
        name = machine.symbolize(address).partition("+")[0]
        at = caller[0] if caller and back[0] != machine.return_address else ""
        lock = Lock(where, self._place(where), name, at)
        self._taken.append(_Taking(machine.vcpu.number, lock, back))
        return False

    def _back(self, address: int) -> bool:
        cpu, sp = self._machine.vcpu.number, self._machine.regs.sp
        for each in self._taken:
            if each.cpu == cpu and each.back == (address, sp):
                each.back = None
        return False

    def _try(self, address: int) -> bool:
        where = self._machine.regs.arg(0)
        if any(each.lock.address == where for each in self._taken):
            return False  # it fails
        return self._take(address)

    def _leave(self, _address: int) -> bool:
        cpu, where = self._machine.vcpu.number, self._machine.regs.arg(0)
        mine = [n for n, each in enumerate(self._taken) if each.lock.address == where]
        mine.sort(key=lambda n: (self._taken[n].cpu == cpu, not self._taken[n].back))
        if mine:
            del self._taken[mine[-1]]
        return False
