"""Which variable a register's NULL was loaded from, by the instructions before.

Registers are followed from the start of a function on, forward: what is known at a branch may be so
where it goes to. What a register held close before a call, on some path, is a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kprobesim.sizes import MASK64

__all__ = ["Origins", "Place", "origins_arm64", "origins_x86"]

_X86_ARGUMENTS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
_X86_CALL_CHANGES = {*_X86_ARGUMENTS, "rax", "r10", "r11"}
_X86_LEAVES = {"jmp", "ret", "ud2"}
_ARM64_LEAVES = {"b", "br", "ret", "eret"}
_ARM64_ARGUMENTS = tuple(f"x{number}" for number in range(8))
_ARM64_CALL_CHANGES = {f"x{number}" for number in range(19)}
_CLOSE = 96  # bytes
_FAR = -(1 << 24)  # smaller displacements are addresses: x86's kernels lie in the last 2 GiB


class Place(NamedTuple):
    """An instruction's address, or behind a call; or all jumps to ``target``: calls at the end."""

    at: int
    target: int | None = None


@dataclass
class Origins:
    """What is known of registers at one place in a function.

    Attributes:
        unset: Answers the address that it is given if there is a variable that is 0, else ``None``.
        read: The word at an address.
        per_cpu: What is added to the address of a per-CPU variable.
        held: For registers with a NULL from a variable, that one's address; ``~n`` for argument n.
        constants: Registers with an address.
    """

    unset: Callable[[int], int | None]
    read: Callable[[int], int]
    per_cpu: int = 0
    held: dict[str, int] = field(default_factory=dict)
    constants: dict[str, int] = field(default_factory=dict)
    _loads: dict[str, tuple[int, int]] = field(default_factory=dict)
    _branches: dict[int, tuple[dict[str, int], dict[str, int]]] = field(default_factory=dict)
    _falls: bool = True
    _at: int = 0

    def enter(self, arguments: Sequence[str]) -> None:
        """A function begins: its arguments are known as ``~0``, ``~1`` ..."""
        self.held = {register: ~number for number, register in enumerate(arguments)}

    def arrive(self, at: int) -> None:
        """The next instruction is the one at ``at``."""
        self._at = at
        if not self._falls:
            self.held, self.constants = {}, {}
            self._falls = True
        held, constants = self._branches.get(at, ({}, {}))
        self.held = held | self.held
        self.constants = constants | self.constants

    def branch(self, to: int | None, *, always: bool) -> None:
        """It may go on elsewhere (``None``: who knows where), or must."""
        if to is not None:
            held, constants = self._branches.get(to, ({}, {}))
            self._branches[to] = self.held | held, self.constants | constants
        self._falls = not always

    def forget(self, registers: set[str]) -> None:
        """They have been written to."""
        for register in registers:
            self.held.pop(register, None)
            self.constants.pop(register, None)

    def learn(self, register: str, origin: int | None, constant: int | None) -> None:
        """What has been written to ``register``, as far as it is known."""
        if origin is not None:
            self.held[register] = origin
            if origin >= 0:
                self._loads[register] = origin, self._at
        elif constant is not None:
            self.constants[register] = constant & MASK64

    def of(self, registers: list[str]) -> Iterator[tuple[int, bool]]:
        """The variables that NULLs in ``registers`` come from, and whether that is sure."""
        yield from ((self.held[register], True) for register in registers if register in self.held)
        for register in registers:
            if register in self._loads and register not in self.held:
                origin, at = self._loads[register]
                if self._at - at < _CLOSE:
                    yield origin, False


def origins_x86(
    code: bytes, start: int, place: Place, wanted: Collection[int] | None, origins: Origins
) -> Iterator[tuple[int, bool]]:
    """The variables that pointers of the instruction at ``place`` were loaded from.

    Args:
        code: That of the function from ``start`` on, with the instruction at ``place``.
        start: Where the function begins.
        place: What faulted, or behind a call, or where a jump goes to.
        wanted: ``place`` is behind a call, of which these arguments count (from 0); none of them:
            the function that is called. ``None``: ``place`` faulted.
        origins: New ones.

    Yields:
        An address, or ``~n`` for an argument ``n`` of the function itself; and whether it is sure.
    """
    import capstone
    from capstone import x86_const as x86

    origins.enter(_X86_ARGUMENTS)
    for insn in _instructions(capstone.CS_ARCH_X86, capstone.CS_MODE_64, code, start):
        origins.arrive(insn.address)
        end = insn.address + insn.size
        if end == place.at and wanted:
            yield from origins.of([_X86_ARGUMENTS[number] for number in wanted])
            return
        if (end == place.at and wanted is not None) or insn.address == place.at:
            for op in insn.operands:
                if op.type == x86.X86_OP_MEM and wanted is not None:
                    address = _x86_address(insn, op.mem, origins, x86)
                    origin = None if address is None else origins.unset(address)
                    if origin is not None:
                        yield origin, True
                elif op.type == x86.X86_OP_MEM:
                    numbers = (op.mem.base, op.mem.index)
                    yield from origins.of([_whole(insn, number) for number in numbers])
                elif op.type == x86.X86_OP_REG and wanted is not None:
                    yield from origins.of([_whole(insn, op.reg)])
            return
        written = {_whole(insn, number) for number in insn.regs_access()[1]}
        if insn.group(capstone.CS_GRP_CALL):
            written |= _X86_CALL_CHANGES
        target, origin, constant = _x86_effect(insn, origins, x86)
        origins.forget(written)
        if target:
            origins.learn(target, origin, constant)
        if insn.group(capstone.CS_GRP_JUMP) or insn.group(capstone.CS_GRP_RET):
            last = insn.operands[-1] if insn.operands else None
            to = last.imm & MASK64 if last is not None and last.type == x86.X86_OP_IMM else None
            origins.branch(to, always=insn.mnemonic in _X86_LEAVES)
            if to is not None and to == place.target:
                yield from origins.of([_X86_ARGUMENTS[number] for number in wanted or ()])


def _x86_effect(insn: Any, origins: Origins, x86: Any) -> tuple[str, int | None, int | None]:
    """The register that is written to, and its new origin or constant."""
    if len(insn.operands) != 2 or insn.operands[0].type != x86.X86_OP_REG:
        return "", None, None
    source = insn.operands[1]
    target = _whole(insn, insn.operands[0].reg)
    held, constants = origins.held, origins.constants
    name = insn.mnemonic
    kept = held.get(target) if name.startswith("cmov") else None
    if name != "mov" and not name.startswith("cmov") and name not in ("lea", "add"):
        return target, None, None
    if source.type == x86.X86_OP_IMM:
        if name == "add":
            return target, held.get(target), _sum(constants.get(target), source.imm)
        return target, None, source.imm
    if source.type == x86.X86_OP_REG:
        register = _whole(insn, source.reg)
        if name == "add":
            return target, held.get(target, held.get(register)), None
        return target, held.get(register, kept), constants.get(register)
    address = _x86_address(insn, source.mem, origins, x86)
    if name == "lea":
        return target, held.get(_whole(insn, source.mem.base)), address
    if address is None:
        return target, kept, None
    origin = origins.unset(address)
    if name == "add":
        if target in constants:  # a per-CPU variable's address, and CPU 0's offset
            return target, None, constants[target] + origins.read(address)
        return target, held.get(target, origin), None
    return target, kept if origin is None else origin, None


def _x86_address(insn: Any, mem: Any, origins: Origins, x86: Any) -> int | None:
    """The address of a memory operand, if it is a variable's, whatever the index."""
    offset = origins.per_cpu if mem.segment == x86.X86_REG_GS else 0
    if mem.base == x86.X86_REG_RIP:
        return int(insn.address + insn.size + mem.disp + offset) & MASK64
    for number in (mem.base, mem.index):
        if _whole(insn, number) in origins.constants:
            return origins.constants[_whole(insn, number)] + int(mem.disp) + offset & MASK64
    if mem.disp < _FAR or offset:
        return int(mem.disp) + offset & MASK64
    return None


def _whole(insn: Any, number: int) -> str:
    """The 64-bit register that a register is a part of, if it is 32 or 64 bits wide."""
    name = (number and insn.reg_name(number)) or ""
    if name.startswith("e"):
        return "r" + name[1:]
    return name[:-1] if name[:1] == "r" and name.endswith("d") and name[1:-1].isdigit() else name


def origins_arm64(
    code: bytes, start: int, place: Place, wanted: Collection[int] | None, origins: Origins
) -> Iterator[tuple[int, bool]]:
    """As :func:`origins_x86`."""
    import capstone
    from capstone import arm64_const as arm64

    origins.enter(_ARM64_ARGUMENTS)
    for insn in _instructions(capstone.CS_ARCH_ARM64, 0, code, start):
        origins.arrive(insn.address)
        if insn.address + 4 == place.at and wanted:
            yield from origins.of([_ARM64_ARGUMENTS[number] for number in wanted])
            return
        if (insn.address + 4 == place.at and wanted is not None) or insn.address == place.at:
            for op in insn.operands:
                if op.type == arm64.ARM64_OP_MEM:
                    yield from origins.of([_x_register(insn, op.mem.base)])
                elif op.type == arm64.ARM64_OP_REG and wanted is not None:
                    yield from origins.of([_x_register(insn, op.reg)])
            return
        written = {_x_register(insn, number) for number in insn.regs_access()[1]}
        if insn.id in (arm64.ARM64_INS_BL, arm64.ARM64_INS_BLR):
            written |= _ARM64_CALL_CHANGES
        target, origin, constant = _arm64_effect(insn, origins, arm64)
        origins.forget(written)
        if target:
            origins.learn(target, origin, constant)
        if insn.group(capstone.CS_GRP_JUMP) or insn.group(capstone.CS_GRP_RET):
            last = insn.operands[-1] if insn.operands else None
            to = last.imm & MASK64 if last is not None and last.type == arm64.ARM64_OP_IMM else None
            origins.branch(to, always=insn.mnemonic in _ARM64_LEAVES)
            if to is not None and to == place.target:
                yield from origins.of([_ARM64_ARGUMENTS[number] for number in wanted or ()])


def _arm64_effect(insn: Any, origins: Origins, arm64: Any) -> tuple[str, int | None, int | None]:
    """The register that is written to, and its new origin or constant."""
    operands = insn.operands
    if not operands or operands[0].type != arm64.ARM64_OP_REG:
        return "", None, None
    held, constants, name = origins.held, origins.constants, insn.mnemonic
    target = _x_register(insn, operands[0].reg)
    sources = [_x_register(insn, op.reg) for op in operands[1:] if op.type == arm64.ARM64_OP_REG]
    if name in ("adrp", "adr"):
        return target, None, operands[1].imm
    if name == "mov" and sources:
        return target, held.get(sources[0]), constants.get(sources[0])
    if name == "csel":
        return target, held.get(sources[0], held.get(sources[1])), None
    if name == "add" and sources:
        # (Another register is an index, or CPU 0's offset of per-CPU variables, which is 0.)
        amount = operands[2].imm if operands[2].type == arm64.ARM64_OP_IMM else 0
        known = next((s for s in sources if s in constants), "")
        origin = next((held[s] for s in sources if s in held), None)
        return target, None if known else origin, _sum(constants.get(known), amount)
    if name == "ldr" and operands[-1].type == arm64.ARM64_OP_MEM:
        mem = operands[-1].mem
        base = _x_register(insn, mem.base)
        if base not in constants and mem.index:
            base = _x_register(insn, mem.index)
        if base in constants:
            return target, origins.unset(constants[base] + int(mem.disp) & MASK64), None
    return target, None, None


def _x_register(insn: Any, number: int) -> str:
    name = (number and insn.reg_name(number)) or ""
    return "x" + name[1:] if name[:1] == "w" and name[1:].isdigit() else name


def _sum(constant: int | None, amount: int) -> int | None:
    return None if constant is None else constant + amount


def _instructions(arch: int, mode: int, code: bytes, start: int) -> Iterator[Any]:
    import capstone

    engine = capstone.Cs(arch, mode)
    engine.detail = True
    return iter(engine.disasm(code, start))
