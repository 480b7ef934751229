"""Guests whose page tables are nonsense: one clear error, soon, and the host reads in bounds."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from makers.arm64_code import LOOP, bare_guest, mov

from kprobesim.boot.boards import board_class
from kprobesim.boot.faults import GuestHang, GuestReset
from kprobesim.errors import GuestMemoryError
from kprobesim.image import KernelImage
from kprobesim.image.segment import Segment

_TABLE, _MEMORY, _DEVICE = 0x8000, 64 << 20, 0x0900_0000
_VALID = 0x403  # on both: present, a table; on ARM64 accessed
_NOWHERE = 0x000F_FFFF_F000
_BASE, _MAP = 0x100_0000, 0xFFFF_FFFF_8000_0000
_TTBR0, _TTBR1, _TCR, _SCTLR, _VBAR = (
    *(0xD518_2000, 0xD518_2020, 0xD518_2040),  # msr ttbr0_el1, x0 ...
    *(0xD518_1000, 0xD518_C000),
)
_ISB = 0xD503_3FDF


def _arm64(root: int, vectors: int | None) -> KernelImage:
    code = [] if vectors is None else [*mov(0, vectors), _VBAR]
    code += [*mov(0, root), _TTBR0, _TTBR1, *mov(0, 16 | 16 << 16 | 2 << 30), _TCR]
    return bare_guest([*code, *mov(0, 0x30D0_1805), _SCTLR, _ISB, LOOP])


def _x86(root: int, vectors: int | None) -> KernelImage:
    # mov rax, root; mov cr3, rax; jmp $
    code = b"\x48\xb8" + struct.pack("<Q", root) + b"\x0f\x22\xd8\xeb\xfe"
    segment = Segment(_BASE + _MAP, _BASE, memoryview(code), 0x1000, True, True, True, "LOAD#0")
    return KernelImage(
        Path("tiny"), "x86_64", "test", _BASE, [segment], read_columns=lambda image: None
    )


_GUESTS = {"x86_64": _x86, "arm64": _arm64}


@pytest.mark.parametrize("vectors", [None, 0xFFFF_8000_0000_0800], ids=["bare", "vectors"])
@pytest.mark.parametrize("kind", ["of itself", "of noise", "of devices", "beyond", "nowhere"])
def test_wild_page_tables_end_the_guest(
    arch: str, kind: str, vectors: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if vectors is not None and arch == "x86_64":
        pytest.skip("its vectors are in a table of their own")
    kernel = board_class(arch)
    start = kernel.isa.ram_base
    root = _NOWHERE if kind == "nowhere" else start + _TABLE
    board = kernel(_GUESTS[arch](root, vectors), initrd=None, append="", memory=_MEMORY)
    entry = {
        "of itself": start + _TABLE | _VALID,
        "of devices": _DEVICE | _VALID,
        "beyond": start + _MEMORY | _VALID,
    }.get(kind)
    noise = random.Random(arch).randbytes(4096)
    table = noise if entry is None else struct.pack("<Q", entry) * 512
    board.ram[_TABLE : _TABLE + 4096] = table
    monkeypatch.setattr("kprobesim.boot.board._SLICE", 1 << 12)
    board.progress.storm = 10_000
    for _ in range(2):  # and stays it
        with pytest.raises((GuestReset, GuestHang), match=r"triple fault|vectors|interrupts off"):
            board.run()
    for address in (0, 123_456_789, 0xFFFF_8000_0000_0000, (1 << 64) - 4096):
        try:
            found = board.machine.memory.read(address, 5000)
        except GuestMemoryError:
            continue
        assert len(found) == 5000
        assert kind == "of itself"
