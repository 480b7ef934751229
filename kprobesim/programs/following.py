"""``Following``: what one guest needs so that compiled return programs hear of returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kprobesim.image import KernelImage
from kprobesim.kprobes.task_functions import task_functions
from kprobesim.machine.code_watch import RETURNS, Watch
from kprobesim.machine.system import System
from kprobesim.machine.unicorn.native import Native
from kprobesim.programs.guest import Guest
from kprobesim.programs.pending import Call, Pending, Pool

if TYPE_CHECKING:
    from kprobesim.programs.compiler.jit import Code

__all__ = ["Following"]


class Following:
    """Looks at each block while there are return programs, and at tasks that die.

    Attributes:
        pending: The calls that are followed.
    """

    def __init__(self, machine: System, image: KernelImage, guest: Guest) -> None:
        """Nothing is looked at yet."""
        self.pending = Pending()
        self._machine = machine
        self._image = image
        self._guest = guest
        self._code: Code | None = None
        self._arrived: Native | None = None
        self._of_tasks: list[Watch] = []
        self._pools: dict[Pool, None] = {}

    def begin(self, pool: Pool) -> None:
        """A return program has been registered, which takes instances from ``pool``."""
        self._pools[pool] = None
        if len(self._pools) > 1:
            return
        if self._code is None:
            from kprobesim.programs.compiler.returns import compile_returns

            self._code = compile_returns(self._guest, self.pending)
        self._arrived = self._native("arrived")
        self._machine.engine.dispatch.every_block(self._arrived)
        found = task_functions(self._image)
        if found is not None:
            watch = self._machine.code_watch.watch_native
            self._of_tasks = [
                watch(address, self._native(name), RETURNS)
                for address, name in zip(found, ("task_dead", "task_switched"), strict=True)
            ]

    def end(self, pool: Pool) -> None:
        """The program of ``pool`` has been unregistered: it hears of no return any more."""
        self.pending.drop(pool)
        del self._pools[pool]
        if not self._pools and self._arrived is not None:
            self._machine.engine.dispatch.no_longer(self._arrived)
            for watch in self._of_tasks:
                self._machine.code_watch.unwatch(watch)
            self._of_tasks.clear()
            self.pending.clear()

    def save(self) -> list[tuple[Pool, Call]]:
        """All calls that are followed, for :meth:`restore`."""
        return [(pool, call) for pool in self._pools for call in self.pending.calls(pool)]

    def restore(self, calls: list[tuple[Pool, Call]]) -> None:
        """The guest is where it was at :meth:`save`: follow those, of the programs of now."""
        self.pending.give_back_all()
        self.pending.follow((pool, call) for pool, call in calls if pool in self._pools)

    def _native(self, name: str) -> Native:
        assert self._code is not None
        return Native(self._code.address(name), 0, (self._code, self.pending))
