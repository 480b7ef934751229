"""Call traces by what the image has, ORC or frame pointers: through exceptions and returns."""

from __future__ import annotations

from collections.abc import Iterator

from kprobesim.boot.frames import walk_frames_arm64, walk_frames_x86
from kprobesim.boot.orc import Frame, OrcTable, walk_orc
from kprobesim.errors import GuestMemoryError, ImageError
from kprobesim.image import KernelImage
from kprobesim.machine.guest import Guest
from kprobesim.machine.registers import PtRegs

__all__ = ["StackTrace"]


class StackTrace:
    """Walks the stack of ``machine``, which runs ``image``."""

    def __init__(self, machine: Guest, image: KernelImage) -> None:
        self._machine = machine
        self._image = image
        self._orc: OrcTable | None = None

    def frames(self, regs: PtRegs, trapped_at: int | None = None) -> Iterator[Frame]:
        """Where ``regs`` are, and the callers, innermost first; as far as they are known.

        ``trapped_at`` is the address of the breakpoint that ``regs.ip`` points behind, if so.
        """
        yield Frame(regs.ip, True)
        ip = regs.ip if trapped_at is None else trapped_at
        for frame in self._callers(regs, ip):
            if not self._image.is_code(frame.address):
                return
            yield frame

    def _callers(self, regs: PtRegs, ip: int) -> Iterator[Frame]:
        machine = self._machine
        memory, recover = machine.memory, machine.recover_return
        found = self._image.symbols.at(ip)
        start = found.symbol.address if found is not None else ip
        if self._image.arch == "arm64":
            return walk_frames_arm64(memory, self._read, regs, start, recover)
        if self._orc is None:
            self._orc = OrcTable(self._image)
        if self._orc:
            return walk_orc(self._orc, memory, regs, ip, recover)
        return walk_frames_x86(memory, self._read, regs, ip, start, recover)

    def _read(self, address: int, size: int) -> bytes:
        try:
            return self._machine.read_code(address, size)
        except (GuestMemoryError, ImageError):
            return bytes(size)

    def symbolize(self, frame: Frame) -> str:
        """As ``%pB``: a return address belongs to the call before it, which may be the last."""
        found = self._image.symbols.at(frame.address - (not frame.exact))
        if found is None:
            return f"{frame.address:#x}"
        offset = frame.address - found.symbol.address
        return f"{found.symbol.name}+{offset:#x}/{found.size:#x}"

    def dump(self, regs: PtRegs, trapped_at: int | None = None) -> str:
        """The lines of ``dump_stack()``, from "Call trace:" on."""
        lines = [f" {self.symbolize(frame)}" for frame in self.frames(regs, trapped_at)]
        if self._image.arch == "x86_64":
            return "\n".join(["Call Trace:", " <TASK>", *lines, " </TASK>", ""])
        return "\n".join(["Call trace:", *lines, ""])
