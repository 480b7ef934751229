"""What has run, in called kernels: exactly that, and nothing else is different for it."""

from __future__ import annotations

import struct
from pathlib import Path

import capstone
import pytest

from kprobesim import CalledKernel, Kernel, Kprobe
from kprobesim.errors import DebugInfoError, UsageError
from kprobesim.machine.unicorn.covered_blocks import Block, CoveredBlocks

ENDLESS = 1 << 63
KINDS = {
    "x86_64": (capstone.CS_ARCH_X86, capstone.CS_MODE_64),
    "arm64": (capstone.CS_ARCH_ARM64, capstone.CS_MODE_LITTLE_ENDIAN),
}


def instructions(k: CalledKernel, block: Block) -> list[int]:
    disassembler = capstone.Cs(*KINDS[k.arch])
    code = k.read(block.address, block.size)
    return [insn.address for insn in disassembler.disasm(code, block.address)]


def test_each_instruction_that_runs_is_in_as_many_blocks(guest: CalledKernel) -> None:
    """Probes on all instructions count the same."""
    k = guest
    symbol = k.symbols["gcd"]
    with k.coverage() as covered:
        assert k.call("gcd", 1071, 462) == 21
    hits: dict[int, int] = {}
    for block in covered.blocks:
        for address in instructions(k, block):
            hits[address] = hits.get(address, 0) + block.hits
    counted: dict[int, int] = {}

    def count(address: int) -> None:
        counted[address] = counted.get(address, 0) + 1

    places = [at for at in hits if symbol.address <= at < symbol.address + symbol.size]
    for at in places:
        k.machine.code_watch.watch(at, count)
    assert k.call("gcd", 1071, 462) == 21
    assert counted == {at: hits[at] for at in places} and len(places) > 3
    assert covered.functions() == {"gcd": 1}


def test_time_and_results_are_the_same(guest: CalledKernel) -> None:
    k, seen = guest, []
    k.register_kprobe(Kprobe("gcd", pre_handler=lambda _p, regs: seen.append(regs.arg(0))))
    with k.coverage():
        results = [k.call("gcd", 12, 18, max_instructions=limit) for limit in (0, 10_000)]
    assert results == [6, 6] and seen == [12, 12]


def test_it_is_as_long_as_it_is_on(guest: CalledKernel) -> None:
    k = guest
    assert k.call("gcd", 12, 18) == 6
    covered = k.coverage()
    k.call("gcd", 12, 18)
    first, edges = covered.blocks, bytes(covered.edges)
    assert first and any(edges)
    covered.stop()
    covered.stop()
    k.call("gcd", 12, 18)
    assert covered.blocks == first and bytes(covered.edges) == edges
    covered.start()
    covered.start()
    k.call("gcd", 12, 18)
    assert [block.hits for block in covered.blocks] == [2 * block.hits for block in first]
    assert "stopped" not in repr(covered) and "1 functions" in repr(covered)
    covered.clear()
    assert covered.blocks == [] and not any(covered.edges) and covered.functions() == {}
    k.call("gcd", 12, 18)
    assert covered.blocks == first and bytes(covered.edges) == edges


def test_edges_tell_inputs_apart(guest: CalledKernel) -> None:
    k, maps = guest, []
    with k.coverage(blocks=False) as covered:
        for turns in (3, 3, 4, 9):
            covered.clear()
            k.call("count_to", turns)
            maps.append(bytes(covered.edges))
    assert maps[0] == maps[1] and len({*maps}) == 3
    assert covered.blocks == []


def test_neither_is_refused(guest: CalledKernel) -> None:
    with pytest.raises(UsageError, match="neither"):
        guest.coverage(edges=False, blocks=False)
    assert len(guest.coverage(edges=False).edges) == 0


@pytest.mark.parametrize("native", [True, False])
def test_machine_code_and_python_note_the_same(guest: CalledKernel, native: bool) -> None:
    """Also where the table has to grow, and a counter of the map runs over."""
    k, engine = guest, guest.machine.engine
    one = CoveredBlocks(engine, ENDLESS, (1 << 64) - 1, edges=True, blocks=True, native=native)
    truth = CoveredBlocks(engine, ENDLESS, (1 << 64) - 1, edges=True, blocks=True, native=False)
    one._make_table(4)
    for each in (one, truth):
        each.start()
    k.call("count_to", 700)
    k.call("gcd", 1071, 462)
    for each in (one, truth):
        each.stop()
    assert list(one) == list(truth) and len(list(one)) > 4
    assert bytes(one.edges) == bytes(truth.edges)
    assert max(block.hits for block in one) >= 600


def test_a_drcov_file(guest: CalledKernel, tmp_path: Path) -> None:
    k, file = guest, tmp_path / "gcd.drcov"
    with k.coverage() as covered:
        k.call("gcd", 12, 18)
    covered.save(file)
    text, _, binary = file.read_bytes().partition(b" bbs\n")
    lines = text.decode().split("\n")
    assert lines[:2] == ["DRCOV VERSION: 2", "DRCOV FLAVOR: drcov"]
    assert lines[2:4] == ["Module Table: version 2, count 1", "Columns: id, base, end, entry, path"]
    number, base, end, _, path = (part.strip() for part in lines[4].split(","))
    assert (int(number), path) == (0, str(k.image.path))
    entries = list(struct.iter_unpack("<IHH", binary))
    assert len(entries) == int(lines[5].removeprefix("BB Table: "))
    start, stop = int(base, 16), int(end, 16)
    inside = [block for block in covered.blocks if start <= block.address < stop]
    assert entries == [(block.address - start, block.size, 0) for block in inside] and inside


def test_files_are_told_by_their_names(guest: CalledKernel, tmp_path: Path) -> None:
    covered = guest.coverage()
    with pytest.raises(UsageError, match="neither"):
        covered.save(tmp_path / "covered.txt")
    with pytest.raises(DebugInfoError, match="-dbg"):
        covered.save(tmp_path / "covered.info")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.real_kernel
def test_a_booting_kernel_is_the_same_to_the_last_stamp(real_image: Path) -> None:
    plain, covered = Kernel.boot(real_image), Kernel.boot(real_image)
    noted = covered.coverage()
    for k in (plain, covered):
        k.run("Memory:", timeout=None)
    assert plain.console.text == covered.console.text
    assert plain.time == covered.time
    assert noted.functions()["start_kernel"] == 1
    assert len(noted.blocks) > 1000
