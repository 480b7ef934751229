"""Instructions of ARM64, for the origins of pointers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kprobesim.arch.abi import AAPCS64
from kprobesim.sizes import MASK64
from kprobesim.unbooted.origins import Effect, Origins, plus

__all__ = ["Arm64Reader"]


class Arm64Reader:
    """Implements :class:`~kprobesim.unbooted.origins.Reader`."""

    arguments = AAPCS64.arguments
    call_changes = AAPCS64.registers[:19]
    leaves = ("b", "br", "ret", "eret")

    def __init__(self) -> None:
        import capstone
        from capstone import arm64_const

        self._engine = capstone.Cs(capstone.CS_ARCH_ARM64, 0)
        self._engine.detail = True
        self._leads = (capstone.CS_GRP_JUMP, capstone.CS_GRP_RET)
        self._arm64 = arm64_const

    def instructions(self, code: bytes, start: int) -> Iterator[Any]:
        """See :class:`~kprobesim.unbooted.origins.Reader`, as for the others."""
        return iter(self._engine.disasm(code, start))

    def is_call(self, insn: Any) -> bool:
        """Whether it calls a function."""
        return insn.id in (self._arm64.ARM64_INS_BL, self._arm64.ARM64_INS_BLR)

    def leads(self, insn: Any) -> bool:
        """Whether it may go on elsewhere."""
        return any(map(insn.group, self._leads))

    def goes_to(self, insn: Any) -> int | None:
        """Where a direct jump goes to."""
        last = insn.operands[-1] if insn.operands else None
        if last is None or last.type != self._arm64.ARM64_OP_IMM:
            return None
        return int(last.imm) & MASK64

    def pointers(self, insn: Any, origins: Origins, *, call: bool) -> Iterator[tuple[int, bool]]:
        """Of a memory operand's base; of a call that of the register that it goes by."""
        for op in insn.operands:
            if op.type == self._arm64.ARM64_OP_MEM:
                yield from origins.of([self.register(insn, op.mem.base)])
            elif op.type == self._arm64.ARM64_OP_REG and call:
                yield from origins.of([self.register(insn, op.reg)])

    def effect(self, insn: Any, origins: Origins) -> Effect:
        """The register that is written to, and its new origin or constant."""
        operands = insn.operands
        if not operands or operands[0].type != self._arm64.ARM64_OP_REG:
            return Effect()
        held, constants, name = origins.held, origins.constants, insn.mnemonic
        target = self.register(insn, operands[0].reg)
        sources = [
            self.register(insn, op.reg)
            for op in operands[1:]
            if op.type == self._arm64.ARM64_OP_REG
        ]
        if name in ("adrp", "adr"):
            return Effect(target, None, operands[1].imm)
        if name == "mov" and sources:
            return Effect(target, held.get(sources[0]), constants.get(sources[0]))
        if name == "csel":
            return Effect(target, held.get(sources[0], held.get(sources[1])))
        if name == "add" and sources:
            # (Another register is an index, or CPU 0's offset of per-CPU variables, which is 0.)
            amount = operands[2].imm if operands[2].type == self._arm64.ARM64_OP_IMM else 0
            known = next((s for s in sources if s in constants), "")
            origin = next((held[s] for s in sources if s in held), None)
            return Effect(target, None if known else origin, plus(constants.get(known), amount))
        if name == "ldr" and operands[-1].type == self._arm64.ARM64_OP_MEM:
            mem = operands[-1].mem
            base = self.register(insn, mem.base)
            if base not in constants and mem.index:
                base = self.register(insn, mem.index)
            if base in constants:
                return Effect(target, origins.unset(constants[base] + int(mem.disp) & MASK64))
        return Effect(target)

    def register(self, insn: Any, number: int) -> str:
        """The 64-bit register that a register is a part of."""
        name = (number and insn.reg_name(number)) or ""
        return "x" + name[1:] if name[:1] == "w" and name[1:].isdigit() else name
