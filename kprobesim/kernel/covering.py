"""``Covering``: the verb that notes which of a kernel's code runs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from kprobesim.errors import ImageError, UsageError
from kprobesim.image import KernelImage
from kprobesim.machine.system import System
from kprobesim.machine.turn import in_turn
from kprobesim.sizes import MASK64

if TYPE_CHECKING:
    from kprobesim.coverage.covered import Coverage
    from kprobesim.coverage.drcov import CodeArea
    from kprobesim.inside.modules import GuestModule
    from kprobesim.kernel.modules import Module

__all__ = ["Covering"]

_KERNEL = 1 << 63


class Covering:
    """The verb of :class:`~kprobesim.kernel.base.Kernel` that tells what code runs."""

    machine: System
    image: KernelImage

    @property
    @abstractmethod
    def modules(self) -> Collection[Module | GuestModule]:
        """The modules that are loaded."""

    @in_turn
    def coverage(self, *, edges: bool = True, blocks: bool = True, user: bool = False) -> Coverage:
        """Note from now on which code runs: blocks, and AFL's map of edges.

        Some nanoseconds a block; the guest's time is the same. It is no part of snapshots: what was
        noted stays when the kernel goes back to one, and forks are not noted.

        >>> with k.coverage() as c:
        ...     k.call("gcd", 12, 18)
        >>> c.save("gcd.drcov")

        Args:
            edges: Whether edges are noted.
            blocks: Whether blocks are.
            user: Whether also those of programs in user space.

        Returns:
            What has run so far; it stops at the end of a ``with``, or by :meth:`Coverage.stop`.

        Raises:
            UsageError: There is nothing to note.
        """
        from kprobesim.coverage.covered import Coverage  # who covers nothing needs none of it
        from kprobesim.machine.unicorn.covered_blocks import CoveredBlocks

        if not edges and not blocks:
            raise UsageError("coverage of neither edges nor blocks: leave one of them in")
        low, high = (0, MASK64) if user else (_KERNEL, MASK64)
        engine = self.machine.engine
        noted = CoveredBlocks(engine, low, high, edges=bool(edges), blocks=bool(blocks))
        noted.start()
        return Coverage(noted, self.image, lambda: self._code_areas())

    def _code_areas(self) -> Iterator[CodeArea]:
        from kprobesim.coverage.drcov import CodeArea

        start, end = min(self.image.text_ranges)[0], max(e for _, e in self.image.text_ranges)
        yield CodeArea(str(self.image.path), start, end)
        try:
            modules = list(self.modules)
        except ImageError:  # a kernel that does not tell which it has
            return
        for module in modules:
            yield CodeArea(module.name, module.address, module.address + module.size)
