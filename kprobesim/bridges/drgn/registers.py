"""Registers as the bytes of the kernel's ``struct pt_regs``."""

from __future__ import annotations

from typing import Any

from kprobesim.machine.registers import PtRegs

__all__ = ["pt_regs_bytes"]

_WORD = 8
_ARRAY = 31


def pt_regs_bytes(regs: PtRegs, type: Any) -> bytes:
    """What ``regs`` are in memory.

    Args:
        regs: The registers.
        type: The ``drgn.Type`` of the struct, as this kernel has it.
    """
    data = bytearray(type.size)
    places = dict(_flat(type))
    for number, (name, value) in enumerate(regs.as_dict().items()):
        place = places.get(name)
        if place is None and "regs" in places and number < _ARRAY:  # ARM64's x0 to x30 are an array
            place = places["regs"] + _WORD * number
        if place is not None:
            data[place : place + _WORD] = value.to_bytes(_WORD, "little")
    return bytes(data)


def _flat(type: Any, start: int = 0) -> list[tuple[str, int]]:
    """Name and place of each member, those of anonymous ones instead of these."""
    found: list[tuple[str, int]] = []
    for member in type.members:
        offset = start + member.bit_offset // 8
        if member.name is None:
            found += _flat(member.type, offset)
        else:
            found.append((member.name, offset))
    return found
