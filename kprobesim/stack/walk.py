"""Call traces by what the image has, ORC or frame pointers: through exceptions and returns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

from kprobesim.errors import GuestMemoryError, ImageError
from kprobesim.image import KernelImage
from kprobesim.image.loaded_image import LoadedImage
from kprobesim.machine.registers import PtRegs
from kprobesim.machine.system import System
from kprobesim.stack.frames import WALK_FRAMES
from kprobesim.stack.orc import CodePlace, LoadedOrcTable, OrcTable, walk_orc
from kprobesim.stack.stack_trace import Frame, StackTrace

__all__ = ["StackWalker"]

_KERNEL = 0xFFFF_0000_0000_0000  # lower addresses are not the kernel's


class StackWalker:
    """Walks the stack of ``machine``, which runs ``image``."""

    def __init__(self, machine: System, image: KernelImage) -> None:
        self._machine = machine
        self._image = image

    def frames(self, regs: PtRegs, trapped_at: int | None = None) -> Iterator[CodePlace]:
        """Where ``regs`` are, and the callers, innermost first; as far as they are known.

        ``trapped_at`` is the address of the breakpoint that ``regs.ip`` points behind, if so.
        """
        yield CodePlace(regs.ip, True, regs.sp)
        ip = regs.ip if trapped_at is None else trapped_at
        for frame in self._callers(regs, ip):
            if not self.is_code(frame.address):
                return
            yield frame

    def _callers(self, regs: PtRegs, ip: int) -> Iterator[CodePlace]:
        machine = self._machine
        memory, recover = machine.memory, machine.recover_return
        found = self._image.symbols.at(ip) if self._image.has_symbols else None
        if self._table:
            return walk_orc(self._table, memory, regs, ip, recover)
        known = found.symbol.address if found is not None else None
        return WALK_FRAMES[self._image.arch](memory, self._read, regs, ip, known, recover)

    @cached_property
    def _table(self) -> OrcTable:
        image = self._image
        return LoadedOrcTable(image) if isinstance(image, LoadedImage) else OrcTable(image)

    def lost_at(self, last: CodePlace, regs: PtRegs) -> int | None:
        """The stack pointer in the ``last`` of :meth:`frames` if its caller could not be told.

        ``None``: it has none, or comes from another mode.
        """
        if self._table and self._image.is_code(last.address) and self._table.knows(last):
            return None
        return last.sp if last.sp is not None else regs.sp

    def is_code(self, address: int) -> bool:
        """Whether the kernel's code, or a module's, is at ``address``."""
        if self._image.is_code(address):
            return True
        return address >= _KERNEL and self._machine.memory.is_executable(address)

    def _read(self, address: int, size: int) -> bytes:
        try:
            return self._machine.read_code(address, size)
        except (GuestMemoryError, ImageError):
            return bytes(size)

    def frame(self, place: CodePlace) -> Frame:
        """``place`` with its symbol: a return address belongs to the call before it.

        (That call may be the last instruction of a function, as ``%pB`` knows.)
        """
        asked = place.address - (not place.exact)
        found = self._image.symbols.at(asked) if self._image.has_symbols else None
        if found is not None:
            found = replace(found, offset=place.address - found.symbol.address)
        return Frame(place.address, place.exact, found)

    def symbolize(self, place: CodePlace) -> str:
        """As ``%pB``."""
        return str(self.frame(place))

    def trace(self, regs: PtRegs, trapped_at: int | None = None) -> StackTrace:
        """All of :meth:`frames`, as data."""
        places = self.frames(regs, trapped_at)
        return StackTrace(tuple(map(self.frame, places)), self._image.arch)
