"""Disassembly for people: capstone's text, with the addresses that an instruction refers to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import capstone
from capstone import arm64_const, x86_const

__all__ = ["Instruction", "disassemble"]

_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, or bytes that are none (``mnemonic`` is then ``.byte`` or ``.word``).

    ``target`` is the address that a direct branch goes to, or that a PC-relative operand means.
    """

    address: int
    raw: bytes
    mnemonic: str
    operands: str
    target: int | None = None

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.address + len(self.raw)

    def text(self, symbolize: Callable[[int], str] | None = None) -> str:
        """Mnemonic and operands; with ``symbolize`` the target's name behind."""
        text = f"{self.mnemonic} {self.operands}".rstrip()
        if self.target is None:
            return text
        name = symbolize(self.target) if symbolize else ""
        if f"{self.target:#x}" not in self.operands:
            text += f"  # {self.target:#x}"
        return f"{text} <{name}>" if name else text

    def as_dict(self) -> dict[str, object]:
        """As plain data, for JSON."""
        return {
            "address": f"{self.address:#x}",
            "bytes": self.raw.hex(),
            "mnemonic": self.mnemonic,
            "operands": self.operands,
            "target": None if self.target is None else f"{self.target:#x}",
        }


def disassemble(arch: str, code: bytes, address: int) -> Iterator[Instruction]:
    """The instructions of ``code``, which lies at ``address``; ``arch`` "x86_64" or "arm64".

    Every byte comes out: where nothing can be decoded, as data of one byte or word.
    """
    at = 0
    while at < len(code):
        for insn in _disassembler(arch).disasm(code[at:], address + at):
            target = _TARGET[arch](insn)
            yield Instruction(insn.address, bytes(insn.bytes), insn.mnemonic, insn.op_str, target)
            at += insn.size
        if at < len(code):
            size = 1 if arch == "x86_64" else min(4, len(code) - at)
            raw = code[at : at + size]
            value = int.from_bytes(raw, "little")
            yield Instruction(address + at, raw, ".word" if size == 4 else ".byte", f"{value:#x}")
            at += size


@cache
def _disassembler(arch: str) -> Any:
    if arch == "x86_64":
        engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    else:
        engine = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_LITTLE_ENDIAN)
    engine.detail = True
    return engine


def _x86_target(insn: Any) -> int | None:
    for operand in insn.operands:
        if operand.type == x86_const.X86_OP_IMM and insn.group(capstone.CS_GRP_BRANCH_RELATIVE):
            return int(operand.imm) & _MASK
        if operand.type == x86_const.X86_OP_MEM and operand.mem.base == x86_const.X86_REG_RIP:
            return int(insn.address + insn.size + operand.mem.disp) & _MASK
    return None


_ARM64_PC_RELATIVE = frozenset({"adr", "adrp", "bl", "ldr", "ldrsw", "prfm"})


def _arm64_target(insn: Any) -> int | None:
    if insn.operands and (insn.mnemonic in _ARM64_PC_RELATIVE or insn.group(capstone.CS_GRP_JUMP)):
        last = insn.operands[-1]
        if last.type == arm64_const.ARM64_OP_IMM:
            return int(last.imm) & _MASK
    return None


_TARGET: dict[str, Callable[[Any], int | None]] = {
    "x86_64": _x86_target,
    "arm64": _arm64_target,
}
