"""``Coverage``: what of a kernel's code has run since it was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from kprobesim.coverage.drcov import CodeArea, drcov
from kprobesim.coverage.lcov import lcov
from kprobesim.errors import DebugInfoError, UsageError
from kprobesim.functions.dwarf.debug_file import open_symcache
from kprobesim.image import KernelImage
from kprobesim.machine.unicorn.covered_blocks import Block, CoveredBlocks

__all__ = ["Coverage"]


class Coverage:
    """Blocks and edges that have run; as a context manager it stops at the end of the block.

    >>> with k.coverage() as c:
    ...     k.call("gcd", 12, 18)
    >>> c.functions()
    {'gcd': 1}

    A block ends where the CPU may go elsewhere, or at a page's end. One that was left for a probe
    and begun again, which is rare, is counted again.
    """

    def __init__(
        self,
        noted: CoveredBlocks,
        image: KernelImage,
        areas: Callable[[], Iterable[CodeArea]],
    ) -> None:
        """Show what was ``noted``; ``areas()`` are the kernel and its modules, as they are now."""
        self._noted = noted
        self._image = image
        self._areas = areas

    def __enter__(self) -> Coverage:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "on" if self._noted.on else "stopped"
        return f"<Coverage {state}: {len(self.blocks)} blocks, {len(self.functions())} functions>"

    # -- when --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Go on after :meth:`stop`, with what there is."""
        self._noted.start()

    def stop(self) -> None:
        """Note nothing more; what was noted stays."""
        self._noted.stop()

    def clear(self) -> None:
        """Forget what has run so far, before the next input for one."""
        self._noted.clear()

    # -- what --------------------------------------------------------------------------------------

    @property
    def edges(self) -> memoryview:
        """AFL's map, live: 65,536 counters of 8 bits.

        Each is of pairs of blocks that ran one after the other, those that share a hash (QEMU mode
        of AFL 2.57b); a full one goes on with 1, as in AFL++. Empty with ``edges=False``.
        """
        return self._noted.edges

    @property
    def blocks(self) -> list[Block]:
        """Address, size in bytes and hits of each block, by address; none with ``blocks=False``."""
        return list(self._noted)

    def functions(self) -> dict[str, int]:
        """The functions that were entered at their first instruction, and how often; by address."""
        found: dict[str, int] = {}
        symbols = self._image.symbols
        for block in self._noted:
            at = symbols.at(block.address)
            if at is not None and at.offset == 0:
                found[symbols.unique_name(at.symbol)] = block.hits
        return found

    # -- for others --------------------------------------------------------------------------------

    def drcov(self) -> bytes:
        """A drcov file (version 2) of the kernel and its modules, for Lighthouse and its like."""
        return drcov(self.blocks, self._areas())

    def lcov(
        self,
        debug: str | Path | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> str:
        """An lcov file (``.info``) of the kernel's source files of which anything has run.

        Args:
            debug: The vmlinux with debug information, or a package that has it; by default the
                image itself.
            progress: Hears what takes long.

        Raises:
            DebugInfoError: There is no debug information.
            ImageError: ``debug`` is of another build, or damaged.
            UsageError: symbolic, which reads it, is not installed.
        """
        cache = open_symcache(self._image, debug, progress)
        if cache is None:
            raise DebugInfoError(
                "lcov counts source lines, and this image does not tell which code they are: "
                "give debug= the vmlinux of the kernel's -dbg package"
            )
        return lcov(self.blocks, cache, self._image)

    def save(self, path: str | Path, debug: str | Path | None = None) -> None:
        """Write a file: ``.info`` is for lcov, ``.drcov`` and ``.log`` are drcov's.

        Raises:
            UsageError: The name ends in none of these.
            OSError: It cannot be written.
        """
        path = Path(path)
        if path.suffix == ".info":
            path.write_text(self.lcov(debug))
        elif path.suffix in (".drcov", ".log"):
            path.write_bytes(self.drcov())
        else:
            raise UsageError(f"{path.name} ends in neither .info (lcov) nor .drcov, .log (drcov)")
