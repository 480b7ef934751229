"""Disassembly for people: our boundaries, capstone's words, and the addresses referred to.

Where an instruction ends says the decoder that the probes' rules go by (``arch/x86_64/insn.py``;
every ARM64 one has four bytes). Capstone only puts it in words, and where it would end it elsewhere
its words are not taken: it is ``(bad)`` then. ``scripts/compare_decoders.py`` tells where the two
differ, and why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from kprobesim.arch.architecture import halves
from kprobesim.arch.x86_64 import Undecodable, length
from kprobesim.hexrepr import HexRepr
from kprobesim.sizes import MASK64

__all__ = ["Instruction", "disassemble"]


@dataclass(frozen=True, slots=True, repr=False)
class Instruction(HexRepr):
    """One instruction, or bytes that are none (``mnemonic`` is then ``.byte`` or ``.word``).

    ``(bad)`` is an instruction of x86-64 that the kernel counts as one and the processor refuses,
    or that capstone has no words for.
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
        if self.mnemonic == ".word":
            return f"{text}  # undefined"
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
    at, split = 0, _SPLIT[arch]
    while at < len(code):
        raw, words = split(code, at, address + at)
        yield words or _data(raw, address + at)
        at += len(raw)


_Split = tuple[bytes, "Instruction | None"]
"""The bytes of one instruction, and what it is in words, if there are any."""


def _split_arm64(code: bytes, at: int, address: int) -> _Split:
    raw = code[at : at + 4]
    return raw, _ask(_arm64(), raw, address, _arm64_target)


def _split_x86(code: bytes, at: int, address: int) -> _Split:
    size = _x86_length(code, at)
    raw = code[at : at + (size or 1)]
    return raw, _x86_words(raw, address) if size else None


_SPLIT = halves(x86_64=_split_x86, arm64=_split_arm64)


def _x86_length(code: bytes, at: int) -> int:
    """How long the instruction at ``at`` is; 0: there is none."""
    try:
        return length(code, at)
    except Undecodable:
        return 0


def _x86_words(raw: bytes, address: int) -> Instruction:
    """``raw``, which is one instruction, in words."""
    found = _ask(_x86(), raw, address, _x86_target)
    if found is not None:
        return found
    for prefix, wrong, right, mnemonic in _PARAPHRASES:
        at = raw.find(wrong)
        if at < 0 or not raw[:at].startswith(prefix):
            continue
        meant = raw[:at].replace(prefix, b"") + right + raw[at + len(wrong) :]
        found = _ask(_x86(), meant, address + len(raw) - len(meant), _x86_target)
        if found is not None:
            name = mnemonic or f"data16 {found.mnemonic}"
            return Instruction(address, raw, name, found.operands, found.target)
    return Instruction(address, raw, "(bad)", "")


# What capstone has no words for although every processor runs it: prefix, opcode, the opcode whose
# words are as good, its name. Capstone shortens near branches with 66 as AMD's processors do, and
# knows no operands of UD1, by which compilers tell a trap's handler what went wrong.
_PARAPHRASES = (
    *((b"\x66", bytes((opcode,)), bytes((opcode,)), "") for opcode in (0xE8, 0xE9)),
    *((b"\x66", bytes((15, opcode)), bytes((15, opcode)), "") for opcode in range(0x80, 0x90)),
    (b"", b"\x0f\xb9", b"\x0f\xaf", "ud1"),
)


def _ask(
    engine: Any, raw: bytes, address: int, target: Callable[[Any], int | None]
) -> Instruction | None:
    """Capstone's words, if ``raw`` is one instruction to it, too."""
    insn = next(engine.disasm(raw, address, 1), None)
    if insn is None or insn.size != len(raw):
        return None
    return Instruction(address, raw, insn.mnemonic, insn.op_str, target(insn))


def _data(raw: bytes, address: int) -> Instruction:
    value = int.from_bytes(raw, "little")
    return Instruction(address, raw, ".word" if len(raw) == 4 else ".byte", f"{value:#x}")


# capstone takes as long to import as all that `check` needs to answer, so who prints imports it.


@cache
def _x86() -> Any:
    import capstone

    return _with_details(capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64))


@cache
def _arm64() -> Any:
    import capstone

    return _with_details(capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_LITTLE_ENDIAN))


def _with_details(engine: Any) -> Any:
    engine.detail = True
    return engine


def _x86_target(insn: Any) -> int | None:
    import capstone
    from capstone import x86_const

    for operand in insn.operands:
        if operand.type == x86_const.X86_OP_IMM and insn.group(capstone.CS_GRP_BRANCH_RELATIVE):
            return int(operand.imm) & MASK64
        if operand.type == x86_const.X86_OP_MEM and operand.mem.base == x86_const.X86_REG_RIP:
            return int(insn.address + insn.size + operand.mem.disp) & MASK64
    return None


_ARM64_PC_RELATIVE = frozenset({"adr", "adrp", "bl", "ldr", "ldrsw", "prfm"})


def _arm64_target(insn: Any) -> int | None:
    import capstone
    from capstone import arm64_const

    if insn.operands and (insn.mnemonic in _ARM64_PC_RELATIVE or insn.group(capstone.CS_GRP_JUMP)):
        last = insn.operands[-1]
        if last.type == arm64_const.ARM64_OP_IMM:
            return int(last.imm) & MASK64
    return None
