"""CodePlace pointers: how callers are found in ARM64 kernels, and in x86-64 ones without ORC.

A function saves its caller's frame pointer beside its return address and lets the register point
there. Before it has done so, and after it has undone it, the return address is where the call put
it; which of these holds is read from the function's code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kprobesim.arch.architecture import halves
from kprobesim.errors import GuestMemoryError
from kprobesim.machine.memory import HostAccess
from kprobesim.machine.registers import PtRegs
from kprobesim.stack.orc import CodePlace

__all__ = ["WALK_FRAMES"]

_MOST_FRAMES = 256
_MOST_CODE = 4096

_Recover = Callable[[int, int], int]
_Read = Callable[[int, int], bytes]

# ARM64, as (mask, value) of the word.
_SAVES = (0xFE40_7FFF, 0xA800_7BFD)  # stp x29, x30, [...] in any addressing mode
_LOADS = (0xFE40_7FFF, 0xA840_7BFD)  # ldp x29, x30, [...]
_POINTS = (0xFFC0_03FF, 0x9100_03FD)  # add x29, sp, #n; mov x29, sp
_LEAVES = ((0xFFFF_FC1F, 0xD65F_0000), (0xFC00_0000, 0x1400_0000), (0xFFFF_FC1F, 0xD61F_0000))
"""ret, b, br: what follows them is not what has run before."""

_PUSH_BP, _MOV_BP_SP, _POP_BP, _LEAVE, _RET = 0x55, b"\x48\x89\xe5", 0x5D, 0xC9, 0xC3
_ENTRY_CODE = 32  # bytes of a function in which its frame is set up


def _walk_arm64(
    memory: HostAccess, read: _Read, regs: PtRegs, ip: int, start: int | None, recover: _Recover
) -> Iterator[CodePlace]:
    frame, link = regs.gpr(29), regs.gpr(30)
    if start is not None and not _arm64_has_frame(read, start, ip):
        yield CodePlace(recover(link, frame), False)
    seen: set[int] = set()
    while frame and frame % 8 == 0 and frame not in seen and len(seen) < _MOST_FRAMES:
        seen.add(frame)
        try:
            caller, link = memory.read_u64(frame), memory.read_u64(frame + 8)
        except GuestMemoryError:
            return
        link = recover(link, caller)
        if not link:
            return
        yield CodePlace(link, False)
        frame = caller  # on another stack, behind an interrupt


def _arm64_has_frame(read: _Read, start: int, ip: int) -> bool:
    """Whether x29 is this function's at ``ip``; it is, once set, until a path undoes it."""
    size = min(ip - start, _MOST_CODE)
    if size <= 0:
        return False
    code = read(start, size)
    has_frame = ever = False
    for at in range(0, size - 3, 4):
        word = int.from_bytes(code[at : at + 4], "little")
        if word & _POINTS[0] == _POINTS[1]:
            has_frame = ever = True
        elif word & _LOADS[0] == _LOADS[1]:
            has_frame = False
        elif any(word & mask == value for mask, value in _LEAVES):
            has_frame = ever
    return has_frame


def _walk_x86(
    memory: HostAccess, read: _Read, regs: PtRegs, ip: int, start: int | None, recover: _Recover
) -> Iterator[CodePlace]:
    frame = regs.gpr(5)
    try:
        place = _x86_return_address(read, ip if start is None else start, ip, regs.sp)
        if place is not None:
            yield CodePlace(recover(memory.read_u64(place), place), False)
        for _ in range(_MOST_FRAMES):
            if not frame or frame % 8:
                return
            caller = memory.read_u64(frame)
            yield CodePlace(recover(memory.read_u64(frame + 8), frame + 8), False)
            if caller <= frame:
                return
            frame = caller
    except GuestMemoryError:
        return


def _x86_return_address(read: _Read, start: int, ip: int, sp: int) -> int | None:
    """Where the return address is while rbp is still, or again, the caller's."""
    code = read(start, _ENTRY_CODE)
    moved = code.find(bytes([_PUSH_BP]) + _MOV_BP_SP)
    if moved < 0:
        return sp  # without a frame: only a guess, and right in a leaf that pushes nothing
    at = ip - start
    if at <= moved:
        return sp
    if at <= moved + 1:
        return sp + 8
    return sp if read(ip, 1)[0] == _RET else None


WALK_FRAMES = halves(x86_64=_walk_x86, arm64=_walk_arm64)
"""``walk(memory, read, regs, ip, start, recover)``: the callers of the instruction at ``ip``.

It is in the function that starts at ``start``, if that is known. ``read(address, size)`` gives code
without probes; ``recover(address, frame)`` the real return address for the one beside ``frame``.
"""
