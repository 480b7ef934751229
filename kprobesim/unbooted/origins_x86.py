"""Instructions of x86-64, for the origins of pointers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kprobesim.sizes import MASK64
from kprobesim.unbooted.origins import Effect, Origins, plus

__all__ = ["X86Reader"]

_ARGUMENTS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")  # as capstone names them
_FAR = -(1 << 24)  # smaller displacements are addresses: x86's kernels lie in the last 2 GiB


class X86Reader:
    """Implements :class:`~kprobesim.unbooted.origins.Reader`."""

    arguments = _ARGUMENTS
    call_changes = (*_ARGUMENTS, "rax", "r10", "r11")
    leaves = ("jmp", "ret", "ud2")

    def __init__(self) -> None:
        import capstone
        from capstone import x86_const

        self._engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
        self._engine.detail = True
        self._call, self._leads = capstone.CS_GRP_CALL, (capstone.CS_GRP_JUMP, capstone.CS_GRP_RET)
        self._x86 = x86_const

    def instructions(self, code: bytes, start: int) -> Iterator[Any]:
        """See :class:`~kprobesim.unbooted.origins.Reader`, as for the others."""
        return iter(self._engine.disasm(code, start))

    def is_call(self, insn: Any) -> bool:
        """Whether it calls a function."""
        return bool(insn.group(self._call))

    def leads(self, insn: Any) -> bool:
        """Whether it may go on elsewhere."""
        return any(map(insn.group, self._leads))

    def goes_to(self, insn: Any) -> int | None:
        """Where a direct jump goes to."""
        last = insn.operands[-1] if insn.operands else None
        if last is None or last.type != self._x86.X86_OP_IMM:
            return None
        return int(last.imm) & MASK64

    def pointers(self, insn: Any, origins: Origins, *, call: bool) -> Iterator[tuple[int, bool]]:
        """Of a memory operand; of a call also of the register that it goes by."""
        for op in insn.operands:
            if op.type == self._x86.X86_OP_MEM and call:
                address = self._address(insn, op.mem, origins)
                origin = None if address is None else origins.unset(address)
                if origin is not None:
                    yield origin, True
            elif op.type == self._x86.X86_OP_MEM:
                numbers = (op.mem.base, op.mem.index)
                yield from origins.of([self.register(insn, number) for number in numbers])
            elif op.type == self._x86.X86_OP_REG and call:
                yield from origins.of([self.register(insn, op.reg)])

    def effect(self, insn: Any, origins: Origins) -> Effect:
        """The register that is written to, and its new origin or constant."""
        if len(insn.operands) != 2 or insn.operands[0].type != self._x86.X86_OP_REG:
            return Effect()
        source = insn.operands[1]
        target = self.register(insn, insn.operands[0].reg)
        held, constants = origins.held, origins.constants
        name = insn.mnemonic
        kept = held.get(target) if name.startswith("cmov") else None
        if name != "mov" and not name.startswith("cmov") and name not in ("lea", "add"):
            return Effect(target)
        if source.type == self._x86.X86_OP_IMM:
            if name == "add":
                return Effect(target, held.get(target), plus(constants.get(target), source.imm))
            return Effect(target, None, source.imm)
        if source.type == self._x86.X86_OP_REG:
            register = self.register(insn, source.reg)
            if name == "add":
                return Effect(target, held.get(target, held.get(register)))
            return Effect(target, held.get(register, kept), constants.get(register))
        address = self._address(insn, source.mem, origins)
        if name == "lea":
            return Effect(target, held.get(self.register(insn, source.mem.base)), address)
        if address is None:
            return Effect(target, kept)
        origin = origins.unset(address)
        if name == "add":
            if target in constants:  # a per-CPU variable's address, and CPU 0's offset
                return Effect(target, None, constants[target] + origins.read(address))
            return Effect(target, held.get(target, origin))
        return Effect(target, kept if origin is None else origin)

    def _address(self, insn: Any, mem: Any, origins: Origins) -> int | None:
        """The address of a memory operand, if it is a variable's, whatever the index."""
        offset = origins.per_cpu if mem.segment == self._x86.X86_REG_GS else 0
        if mem.base == self._x86.X86_REG_RIP:
            return int(insn.address + insn.size + mem.disp + offset) & MASK64
        for number in (mem.base, mem.index):
            if self.register(insn, number) in origins.constants:
                known = origins.constants[self.register(insn, number)]
                return known + int(mem.disp) + offset & MASK64
        if mem.disp < _FAR or offset:
            return int(mem.disp) + offset & MASK64
        return None

    def register(self, insn: Any, number: int) -> str:
        """The 64-bit register that a register is a part of, if it is 32 or 64 bits wide."""
        name = (number and insn.reg_name(number)) or ""
        if name.startswith("e"):
            return "r" + name[1:]
        is_half = name[:1] == "r" and name.endswith("d") and name[1:-1].isdigit()
        return name[:-1] if is_half else name
