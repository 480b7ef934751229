"""Simulations: fixed vectors and what a real kernel's simulations did."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from arch.arm64.arm64_fakes import FakeMemory, FakeRegs

from kprobesim.arch.arm64.conditions import TAKEN, holds
from kprobesim.arch.arm64.decode import emulate_kind
from kprobesim.arch.arm64.options import Options
from kprobesim.arch.arm64.simulate import build

A = 0xFFFF_8000_0800_0FFC
DATA = Path(__file__).parent / "data"
NEWEST = Options(simulate_nop=True)
CONDITIONS = (
    *("eq", "ne", "cs", "cc", "mi", "pl", "vs", "vc"),
    *("hi", "ls", "ge", "lt", "gt", "le", "al", "nv"),
)


def run(word: int, regs: FakeRegs, memory: FakeMemory | None = None, address: int = A) -> FakeRegs:
    kind = emulate_kind(word, NEWEST)
    assert kind is not None
    build(kind, word, address)(regs, memory or FakeMemory())
    return regs


def test_adrp_and_adr() -> None:
    assert run(0xB0000000, FakeRegs()).x[0] == 0xFFFF_8000_0800_1000
    assert run(0x30000000, FakeRegs()).x[0] == 0xFFFF_8000_0800_0FFD
    assert run(0x70FFFFE0, FakeRegs()).x[0] == A - 1


def test_writes_to_register_31_vanish() -> None:
    memory = FakeMemory(A + 8, bytes(16))
    for word in (0x3000001F, 0xB000001F, 0x5800005F, 0x9800005F):
        regs = run(word, FakeRegs(), memory)
        assert regs.x == FakeRegs().x
        assert regs.new_pc == A + 4


def test_blr_x30_takes_the_old_target() -> None:
    regs = run(0xD63F03C0, FakeRegs({30: 0x1234}))
    assert (regs.new_pc, regs.x[30]) == (0x1234, A + 4)


def test_register_31_reads_as_zero() -> None:
    assert run(0xD61F03E0, FakeRegs()).new_pc == 0
    assert run(0xB500005F, FakeRegs()).new_pc == A + 4
    assert run(0xB400005F, FakeRegs()).new_pc == A + 8
    assert run(0x3707FFDF, FakeRegs()).new_pc == A + 4


def test_only_the_low_half_of_a_w_register_counts() -> None:
    assert run(0x34000040, FakeRegs({0: 1 << 32})).new_pc == A + 8
    assert run(0xB4000040, FakeRegs({0: 1 << 32})).new_pc == A + 4


def test_literal_loads_extend() -> None:
    memory = FakeMemory(A + 8, bytes.fromhex("f0debc9a 78563412"))
    ones = {0: (1 << 64) - 1}
    assert run(0x18000040, FakeRegs(ones), memory).x[0] == 0x9ABCDEF0
    assert run(0x58000040, FakeRegs(ones), memory).x[0] == 0x123456789ABCDEF0
    assert run(0x98000040, FakeRegs(), memory).x[0] == 0xFFFFFFFF9ABCDEF0


@pytest.mark.parametrize(("word", "size"), [(0x1C000043, 4), (0x5C000043, 8), (0x9C000043, 16)])
def test_simd_literal_loads(word: int, size: int) -> None:
    content = bytes(range(0xF0, 0x100))
    regs = run(word, FakeRegs(), FakeMemory(A + 8, content))
    assert regs.v == {3: (int.from_bytes(content[:size], "little"), size)}
    assert regs.new_pc == A + 4


def test_addresses_wrap() -> None:
    top = 0xFFFF_FFFF_FFFF_FFFC
    assert run(0x14000002, FakeRegs(), address=top).new_pc == 4
    assert run(0x54000040, FakeRegs(pstate=5), address=top).new_pc == 0


def test_nop_ends_a_branch() -> None:
    regs = run(0xD503201F, FakeRegs(pstate=0xC05))
    assert (regs.new_pc, regs.pstate) == (A + 4, 0x005)


def test_conditions() -> None:
    n, z, c, v = 8, 4, 2, 1
    holding = {name: {f for f in range(16) if TAKEN[i][f]} for i, name in enumerate(CONDITIONS)}
    flags = set(range(16))
    assert holding["eq"] == {f for f in flags if f & z}
    assert holding["cs"] == {f for f in flags if f & c}
    assert holding["mi"] == {f for f in flags if f & n}
    assert holding["vs"] == {f for f in flags if f & v}
    assert holding["hi"] == {f for f in flags if f & c and not f & z}
    assert holding["ge"] == {f for f in flags if bool(f & n) == bool(f & v)}
    assert holding["gt"] == holding["ge"] - holding["eq"]
    for pair in ("eq ne", "cs cc", "mi pl", "vs vc", "hi ls", "ge lt", "gt le"):
        yes, no = pair.split()
        assert holding[yes] == flags - holding[no]
    assert holding["al"] == holding["nv"] == flags
    assert holds(0, 0x4000_0005)
    assert not holds(1, 0x4000_0005)


def recorded() -> list[dict[str, str]]:
    with (DATA / "linux_6_1_simulations.csv").open() as rows:
        return list(csv.DictReader(rows))


def assignments(text: str) -> dict[str, int]:
    return {name: int(value, 16) for name, value in (pair.split("=") for pair in text.split())}


@pytest.mark.parametrize("row", recorded(), ids=lambda row: f"{row['word']}-{row['before'][3:5]}")
def test_as_recorded_from_linux_6_1(row: dict[str, str]) -> None:
    """Registers before and after hand-written instructions that a real kernel simulated."""
    word, address = int(row["word"], 16), int(row["address"], 16)
    before = assignments(row["before"])
    regs = FakeRegs(pstate=before.pop("ps"))
    regs.x |= {int(name[1:]): value for name, value in before.items()}
    expected = regs.x | {int(n[1:]): value for n, value in assignments(row["changed"]).items()}
    pool = FakeMemory(0xFFFF_8000_00C1_56A0, bytes.fromhex("1122334455667788"))
    run(word, regs, pool, address)
    assert regs.x == expected
    assert regs.new_pc == address + int(row["pc"])
