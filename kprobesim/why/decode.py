"""The guest's instructions, each read once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kprobesim.arch.architecture import halves
from kprobesim.errors import GuestMemoryError
from kprobesim.why.arm64 import read_arm64
from kprobesim.why.instruction import Insn
from kprobesim.why.x86_64 import read_x86

__all__ = ["Code"]

_LONGEST = halves(x86_64=15, arm64=4)
_READ = halves(x86_64=read_x86, arm64=read_arm64)


class Code:
    """What stands at addresses of the guest, as ``read(address, size)`` gives it."""

    def __init__(self, arch: str, read: Callable[[int, int], bytes]) -> None:
        self.arch = arch
        self._read = read
        self._insns: dict[int, Insn | None] = {}
        self._engine = _make_engine(arch)

    def at(self, address: int) -> Insn | None:
        """The instruction there; ``None`` if there is none that capstone knows."""
        try:
            return self._insns[address]
        except KeyError:
            found = self._insns[address] = self._decode(address)
            return found

    def _decode(self, address: int) -> Insn | None:
        if not address >> 63:
            return None  # of a program: which one's memory it is nobody knows
        code = b""
        for size in range(_LONGEST[self.arch], 0, -1):
            try:
                code = self._read(address, size)
                break
            except GuestMemoryError:  # the end of a mapping
                continue
        insn = next(self._engine.disasm(code, address, 1), None)
        return None if insn is None else _READ[self.arch](insn)


def _make_engine(arch: str) -> Any:
    import capstone  # takes as long to import as all that others need

    kinds = halves(
        x86_64=(capstone.CS_ARCH_X86, capstone.CS_MODE_64),
        arm64=(capstone.CS_ARCH_ARM64, capstone.CS_MODE_LITTLE_ENDIAN),
    )
    engine = capstone.Cs(*kinds[arch])
    engine.detail = True
    return engine
