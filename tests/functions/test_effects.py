"""What instructions do to argument registers, beside what capstone knows of them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import capstone
import pytest

from kprobesim.arch.architecture import architecture
from kprobesim.arch.x86_64.insn import Undecodable
from kprobesim.functions.effects import ALL, Leads
from kprobesim.image import KernelImage, load_image

_MODES = {
    "x86_64": (capstone.CS_ARCH_X86, capstone.CS_MODE_64),
    "arm64": (capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM),
}
_X86 = {
    "di": ("rdi", "edi", "di", "dil"),
    "si": ("rsi", "esi", "si", "sil"),
    "dx": ("rdx", "edx", "dx", "dl", "dh"),
    "cx": ("rcx", "ecx", "cx", "cl", "ch"),
    "r8": ("r8", "r8d", "r8w", "r8b"),
    "r9": ("r9", "r9d", "r9w", "r9b"),
}
#: capstone 5 says of these that they read what they write: of shifts that are really UBFM or SBFM.
_WRITE_ONLY = ("lsl", "lsr", "asr", "ubfx", "ubfiz", "sbfx", "sbfiz")


def _names(arch: str) -> list[tuple[str, ...]]:
    arguments = architecture(arch).abi.arguments
    return [_X86.get(name, (name, name.replace("x", "w"))) for name in arguments]


def _instructions(image: KernelImage) -> Iterator[tuple[int, bytes]]:
    """All code of the image: addresses and bytes, function by function."""
    for symbol in image.symbols.functions():
        yield symbol.address, image.read(symbol.address, symbol.size)


def test_nothing_that_is_read_is_overlooked(sample: Path, arch: str) -> None:
    effect = importlib.import_module(f"kprobesim.functions.{arch}").effect
    disassembler = capstone.Cs(*_MODES[arch])
    disassembler.detail = True
    registers = _names(arch)
    understood = 0
    for start, code in _instructions(load_image(sample)):
        for insn in disassembler.disasm(code, start):
            offset = insn.address - start
            try:
                found = effect(code, offset, insn.address)
            except Undecodable:
                pytest.fail(f"{insn.address:#x} {insn.mnemonic} {insn.op_str}")
            assert found.length == insn.size
            if found.reads == ALL or found.leads is Leads.CALL:
                continue
            understood += 1
            if insn.mnemonic in ("nop", "endbr64"):
                continue
            read, written = ({insn.reg_name(r) for r in regs} for regs in insn.regs_access())
            if insn.mnemonic in _WRITE_ONLY:
                read -= {insn.op_str.split(",")[0]}
            zeroing = insn.mnemonic in ("xor", "sub") and len(set(insn.op_str.split(", "))) == 1
            for number, names in enumerate(registers):
                what = f"{insn.address:#x} {insn.mnemonic} {insn.op_str}: {names[0]}"
                if read.intersection(names) and not zeroing:
                    assert found.reads >> number & 1, f"{what} is read"
                if found.writes >> number & 1:
                    assert written.intersection(names[:2]), f"{what} is not written"
    assert understood > 1000


def test_branches_lead_where_capstone_says(sample: Path, arch: str) -> None:
    effect = importlib.import_module(f"kprobesim.functions.{arch}").effect
    disassembler = capstone.Cs(*_MODES[arch])
    branches = 0
    for start, code in _instructions(load_image(sample)):
        for insn in disassembler.disasm(code, start):
            found = effect(code, insn.address - start, insn.address)
            if found.leads in (Leads.JUMP, Leads.BRANCH, Leads.CALL):
                branches += 1
                assert int(insn.op_str.rpartition(" ")[2].strip("#"), 16) == found.target
    assert branches > 100
