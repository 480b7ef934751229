"""ORC: the table by which x86-64 kernels since 4.14 find the callers of any instruction.

``.orc_unwind_ip`` has the sorted addresses, each as a distance from its own place, and
``.orc_unwind`` a record for each (arch/x86/include/asm/orc_types.h): where the caller's stack
pointer is, where its frame pointer was saved, and whether a call or an exception led here.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Iterator

from kprobesim.errors import GuestMemoryError
from kprobesim.hexrepr import HexRepr
from kprobesim.image import KernelImage
from kprobesim.image.loaded_image import LoadedImage
from kprobesim.image.modules.module_image import ModuleImage
from kprobesim.late_dataclasses import dataclass
from kprobesim.machine.memory import HostAccess
from kprobesim.machine.registers import PtRegs
from kprobesim.sizes import MASK64

__all__ = ["CodePlace", "LoadedOrcTable", "OrcTable", "walk_orc"]

_RECORD = struct.Struct("<hhH")
_IP = ("__start_orc_unwind_ip", "__stop_orc_unwind_ip", ".orc_unwind_ip")
_ENTRIES = ("__start_orc_unwind", "__stop_orc_unwind", ".orc_unwind")
_MOST_FRAMES = 256

# Offsets in struct pt_regs, and in the frame that IRET takes.
_BP, _PT_IP = 32, 128
_IRET_CS, _IRET_SP = 8, 24


class _Reg(enum.IntEnum):
    """What an offset counts from."""

    UNDEFINED = 0
    PREV_SP = 1
    DX = 2
    DI = 3
    BP = 4
    SP = 5
    R10 = 6
    R13 = 7
    BP_INDIRECT = 8
    SP_INDIRECT = 9


# By the number in the record, since 7.2; DI, of which no kernel makes use, is not known.
_RENUMBERED = {
    2: _Reg.DX,
    3: _Reg.SP,
    4: _Reg.BP,
    6: _Reg.R10,
    7: _Reg.R13,
    8: _Reg.PREV_SP,
    9: _Reg.SP_INDIRECT,
    10: _Reg.BP_INDIRECT,
}
_SAMPLE = 4096  # records tell how registers are numbered: nearly all name SP

_SCRATCH = {_Reg.DX: 2, _Reg.DI: 7, _Reg.R10: 10, _Reg.R13: 13}
"""Registers that code of the entry keeps its stack pointer in, by their numbers."""


class _Kind(enum.Enum):
    UNDEFINED = "nothing is known"
    END = "the outermost frame"
    CALL = "a call"
    REGS = "an exception that saved all registers"
    REGS_PARTIAL = "an exception that has saved some"


_KINDS = {
    # by the number in the record: up to 6.3 (END is a flag there), and since 6.4
    False: (_Kind.CALL, _Kind.REGS, _Kind.REGS_PARTIAL, _Kind.UNDEFINED),
    True: (_Kind.UNDEFINED, _Kind.END, _Kind.CALL, _Kind.REGS, _Kind.REGS_PARTIAL),
}


@dataclass(frozen=True, repr=False)
class CodePlace(HexRepr):
    """An address on the way; ``exact``: it was interrupted there, and not left by a call.

    ``sp`` is the stack pointer there, if it is known.
    """

    address: int
    exact: bool
    sp: int | None = None


@dataclass(frozen=True, repr=False)
class OrcEntry(HexRepr):
    """How to find the caller of the instructions from one address to the next."""

    sp_offset: int
    bp_offset: int
    sp_reg: int
    bp_reg: int
    kind: _Kind


class OrcTable:
    """The table of ``image``; empty (false) if it has none."""

    def __init__(self, image: KernelImage) -> None:
        ips, entries = image.table(*_IP), image.table(*_ENTRIES)
        self._base, self._ips, self._entries = 0, b"", b""
        if ips is not None and entries is not None:
            count = min(len(ips[1]) // 4, len(entries[1]) // _RECORD.size)
            self._base = ips[0]
            self._ips = ips[1][: 4 * count]
            self._entries = entries[1][: _RECORD.size * count]
        if isinstance(image, ModuleImage):
            self._sort()
        self._new = image.version >= (6, 4)
        self._end_bit = 11 if image.version[:2] == (6, 3) else 10
        bases = [bits & 15 for bits in self._entries[4 : _RECORD.size * _SAMPLE : _RECORD.size]]
        self._renumbered = bases.count(3) > bases.count(_Reg.SP)

    def __len__(self) -> int:
        return len(self._ips) // 4

    def _sort(self) -> None:
        """A module's table is sorted when it is loaded (unwind_module_init())."""
        places = sorted((self._address(index), index) for index in range(len(self)))
        distances = (
            (address - self._base - 4 * at + (1 << 31) & 0xFFFF_FFFF) - (1 << 31)
            for at, (address, _) in enumerate(places)
        )
        self._ips = struct.pack(f"<{len(places)}i", *distances)
        size = _RECORD.size
        self._entries = b"".join(self._entries[size * i : size * (i + 1)] for _, i in places)

    def _address(self, index: int) -> int:
        (distance,) = struct.unpack_from("<i", self._ips, 4 * index)
        return int(self._base + 4 * index + distance) & MASK64

    def find(self, address: int) -> OrcEntry | None:
        """The entry for the instruction at ``address``."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self._address(middle) <= address:
                low = middle + 1
            else:
                high = middle
        if not low:
            return None
        sp_offset, bp_offset, bits = _RECORD.unpack_from(self._entries, _RECORD.size * (low - 1))
        kinds = _KINDS[self._new]
        number = bits >> 8 & (7 if self._new else 3)
        kind = kinds[number] if number < len(kinds) else _Kind.UNDEFINED
        if not self._new and bits >> self._end_bit & 1:
            kind = _Kind.END
        sp_reg, bp_reg = bits & 15, bits >> 4 & 15
        if self._renumbered:
            sp_reg, bp_reg = (_RENUMBERED.get(reg, _Reg.UNDEFINED) for reg in (sp_reg, bp_reg))
        return OrcEntry(sp_offset, bp_offset, sp_reg, bp_reg, kind)

    def knows(self, frame: CodePlace) -> bool:
        """Whether it tells of the caller of ``frame``, or that there is none."""
        entry = self.find(frame.address - (not frame.exact))
        if entry is None or entry.kind is _Kind.UNDEFINED:
            return False
        return entry.kind is _Kind.END or entry.sp_reg != _Reg.UNDEFINED


class LoadedOrcTable(OrcTable):
    """The tables of the kernel and of its modules."""

    def __init__(self, image: LoadedImage) -> None:
        super().__init__(image.kernel)
        self._image = image
        self._modules: dict[str, tuple[ModuleImage, OrcTable]] = {}

    def find(self, address: int) -> OrcEntry | None:
        """The entry for the instruction at ``address``, in the table of what that lies in."""
        module = self._image.module_at(address)
        if module is None:
            return super().find(address)
        known = self._modules.get(module.name)
        if known is None or known[0] is not module:
            known = self._modules[module.name] = module, OrcTable(module)
        return known[1].find(address)


def walk_orc(
    table: OrcTable,
    memory: HostAccess,
    regs: PtRegs,
    ip: int,
    recover: Callable[[int, int], int],
) -> Iterator[CodePlace]:
    """The callers of the instruction at ``ip``, through exceptions, innermost first.

    ``regs`` are the registers there. ``recover(address, place)`` gives the real return address for
    the one found at ``place``. Ends where the table does, in user mode or in unmapped memory.
    """
    sp, bp, exact = regs.sp, regs.gpr(5), True
    first = True
    for _ in range(_MOST_FRAMES):
        entry = table.find(ip if exact else ip - 1)
        if entry is None or entry.kind in (_Kind.UNDEFINED, _Kind.END):
            return
        try:
            frame = _frame(entry, memory, sp, bp, regs if first else None)
            if frame is None:
                return
            if entry.kind is _Kind.CALL:
                ip = recover(memory.read_u64(frame - 8), frame - 8)
                sp, exact = frame, False
                bp = _saved_bp(entry, memory, frame, bp)
            else:
                at = frame + _PT_IP if entry.kind is _Kind.REGS else frame
                if memory.read_u64(at + _IRET_CS) & 3:
                    return  # came from user mode
                if entry.kind is _Kind.REGS:
                    bp = memory.read_u64(frame + _BP)
                else:
                    bp = _saved_bp(entry, memory, frame, bp)
                ip, sp, exact = memory.read_u64(at), memory.read_u64(at + _IRET_SP), True
        except GuestMemoryError:
            return
        first = False
        yield CodePlace(ip, exact, sp)


def _frame(
    entry: OrcEntry, memory: HostAccess, sp: int, bp: int, regs: PtRegs | None
) -> int | None:
    """What the entry calls the previous stack pointer."""
    base = entry.sp_reg
    if base == _Reg.SP:
        return sp + entry.sp_offset & MASK64
    if base == _Reg.BP:
        return bp + entry.sp_offset & MASK64
    if base == _Reg.SP_INDIRECT:
        return memory.read_u64(sp) + entry.sp_offset & MASK64
    if base == _Reg.BP_INDIRECT:
        return memory.read_u64(bp + entry.sp_offset & MASK64)
    if regs is not None and base in _SCRATCH:
        return regs.gpr(_SCRATCH[_Reg(base)])
    return None


def _saved_bp(entry: OrcEntry, memory: HostAccess, frame: int, bp: int) -> int:
    if entry.bp_reg == _Reg.PREV_SP:
        return memory.read_u64(frame + entry.bp_offset & MASK64)
    if entry.bp_reg == _Reg.BP:
        return memory.read_u64(bp + entry.bp_offset & MASK64)
    return bp
