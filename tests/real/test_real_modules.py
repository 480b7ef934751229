"""Modules of Debian's kernels, from the package: linked, called, probed on every instruction."""

from __future__ import annotations

import lzma
import os
import re
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lz4.block
import pytest
from makers.boots import Boots
from makers.module_archive import FOLDER, in_order
from real.probes import probes_everywhere
from real.test_recorded_answers import RELEASE
from shell_example import PROMPT

from kprobesim import CalledKernel, Kernel, Kprobe, Symbol
from kprobesim.image.modules.file import ModuleFile
from kprobesim.image.modules.module_image import ModuleImage

TEXT = b"".join(b"%d bottles of beer on the wall, " % count for count in range(60, 0, -1))


@pytest.fixture
def kernel(real_kernel: CalledKernel) -> Iterator[CalledKernel]:
    """Without the modules that a test has loaded, afterwards."""
    if not real_kernel.image.container.startswith("Debian package"):
        pytest.skip("this kernel is not in a package with modules")
    yield real_kernel
    unload_all(real_kernel)


def unload_all(kernel: CalledKernel) -> None:
    for module in reversed(list(kernel.modules)):
        kernel.unload_module(module.name)


def load(kernel: CalledKernel, name: str) -> None:
    if kernel.modules.find(name) is None:
        pytest.skip(f"{kernel.version} has no module {name}")
    kernel.load_module(name)


def crc_itu_t(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ (0x1021 if crc & 0x8000 else 0)) & 0xFFFF
    return crc


def run_crc(kernel: CalledKernel) -> bool:
    return kernel.call("crc_itu_t", 0, TEXT, len(TEXT)) & 0xFFFF == crc_itu_t(TEXT)


def run_lz4(kernel: CalledKernel) -> bool:
    buffer, work = bytearray(4096), bytes(16416)
    size = kernel.call("LZ4_compress_default", TEXT, buffer, len(TEXT), len(buffer), work)
    assert 0 < size < len(TEXT)
    unpacked = lz4.block.decompress(bytes(buffer[:size]), uncompressed_size=len(TEXT))
    return bool(unpacked == TEXT)


def run_crc7(kernel: CalledKernel) -> bool:
    return kernel.call("crc7_be", 0, bytes.fromhex("4000000000"), 5) & 0xFF == 0x94  # of CMD0


CASES = {
    "crc_itu_t": (run_crc, ["crc_itu_t"]),
    "crc7": (run_crc7, ["crc7_be"]),
    "lz4_compress": (run_lz4, ["LZ4_compress_default", "LZ4_compress_fast_extState"]),
}


@pytest.mark.parametrize("with_post", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_functions_of_modules_with_probes_everywhere(
    kernel: CalledKernel, name: str, with_post: bool
) -> None:
    run, functions = CASES[name]
    load(kernel, name)
    assert run(kernel)
    symbols = [kernel.modules[name][function] for function in functions]
    before = [kernel.read(symbol.address, symbol.size) for symbol in symbols]
    with probes_everywhere(kernel, symbols, with_post=with_post) as watch:
        assert len(watch.probes) > 10
        assert run(kernel)
    assert watch.pre > 10 and not watch.strange
    assert not any(p.nmissed for p in watch.probes)
    assert [kernel.read(symbol.address, symbol.size) for symbol in symbols] == before
    assert run(kernel)


def test_a_call_trace_leads_through_a_module(kernel: CalledKernel) -> None:
    load(kernel, "lz4_compress")
    traces: list[str] = []
    inner = Kprobe("lz4_compress:LZ4_compress_fast_extState", offset=0)
    called = kernel.modules["lz4_compress"]["LZ4_compress_fast_extState"]
    # Somewhere inside, with the frame set up.
    offsets = (o for o in range(32, called.size) if kernel.check(addr=called.address + o))
    inner.offset = next(offsets)
    inner.pre_handler = lambda p, regs: traces.append(kernel.dump_stack())
    kernel.register_kprobe(inner)
    assert run_lz4(kernel)
    kernel.unregister_kprobe(inner)
    assert "LZ4_compress_fast_extState+0x" in traces[0] and "[lz4_compress]" in traces[0]


def test_every_module_can_be_linked(kernel: CalledKernel) -> None:
    """A twentieth of them, with all that they depend on: every relocation, every symbol."""
    names = [name for name in kernel.modules.available() if zlib.crc32(name.encode()) % 20 == 0]
    assert len(names) > 10
    for name in names:
        assert kernel.modules.bring(name), name
        image = kernel.modules[name].image
        assert all(image.is_code(entry.insn) for entry in image.exception_table)
        assert all(entry.file for entry in image.bug_table)
        if kernel.arch == "x86_64":
            code = (image.read(site, 5) for site in image.ftrace_sites)
            assert {c[:1] for c in code} <= {b"\xe8"}


def test_sections_lie_where_the_kernel_puts_them(kernel: CalledKernel) -> None:
    """Against the symbols in the /proc/kallsyms of that very kernel, module by module."""
    folder = Path(os.environ.get("KPROBESIM_TABLES", ""))
    file = folder / {"x86_64": "amd64", "arm64": "arm64"}[kernel.arch] / "kallsyms.txt.xz"
    if not file.is_file() or kernel.image.release != RELEASE[kernel.arch]:
        pytest.skip("set KPROBESIM_TABLES to a folder with a kernel's recorded symbols")
    recorded: dict[str, set[tuple[str, int, str]]] = defaultdict(set)
    with lzma.open(file, "rt") as lines:
        for fields in map(str.split, lines):
            if len(fields) == 4:
                recorded[fields[3].strip("[]")].add((fields[2], int(fields[0], 16), fields[1]))
    assert len(recorded) == 6
    for name, theirs in recorded.items():
        kernel.modules.bring(name)
        image = kernel.modules[name].image
        ours = {
            (symbol.name, symbol.address, symbol.type)
            for wanted in {row[0] for row in theirs}
            for symbol in image.named(wanted)
        }
        assert from_the_start(ours) == from_the_start(theirs), name


def from_the_start(rows: set[tuple[str, int, str]]) -> set[tuple[str, int, str]]:
    start = min(address for _, address, _ in rows)
    return {(name, address - start, kind) for name, address, kind in rows}


def test_text_is_what_the_kernels_own_loader_makes(
    kernel: CalledKernel, real_image: Path, shell_initrd: bytes, boots: Boots, monkeypatch: Any
) -> None:
    """The booted kernel loads the same modules; ours are put where it has put them."""
    order = in_order(kernel.modules.find)
    booted = Kernel.resume(boots.at_prompt(real_image, shell_initrd))
    for command in [*(f"insmod /{FOLDER}/{each.name}.ko" for each in order), "cat /proc/modules"]:
        start = len(booted.console.text)
        booted.console.send(command + "\n")
        booted.run(until=PROMPT)
    said = booted.console.text[start:]
    bases = dict(re.findall(r"^(\w+) \d+ .* (0x[0-9a-f]{16})", said, re.M))
    for file in order:
        base = int(bases[file.name], 16)
        # The parts that follow the core may be anywhere.
        monkeypatch.setattr(
            kernel.modules, "_place", lambda size, start=base - (8 << 20): start + (8 << 20) & -4096
        )
        image = kernel.load_module(file.name).image
        ((start, end),) = image.text_ranges
        own, theirs = kernel.read(start, end - start), booted.read(start, end - start)
        if kernel.image.version >= (6, 4):
            places = distances_in(file, image)
            own, theirs = (without(code, start, places) for code in (own, theirs))
        assert own == theirs, file.name
        kernel.module_live(file.name)


def distances_in(file: ModuleFile, image: ModuleImage) -> list[int]:
    """Where code names the module's own data, which 6.4 and later put somewhere else."""
    sections = {section.name: section for section in image.section_headers if section.is_code}
    return [
        sections[section.name].addr + entry.offset
        for section, entries in file.relocations()
        if section.name in sections
        for entry in entries
        if not file.symbols[entry.symbol].is_undefined
    ]


def without(code: bytes, start: int, places: list[int]) -> bytes:
    changed = bytearray(code)
    for place in places:
        if 0 <= place - start < len(code):
            changed[place - start : place - start + 4] = bytes(4)
    return bytes(changed[: len(code)])


def test_a_module_that_comes_again(
    stepped_kernels: Callable[[str], CalledKernel], stepping: str
) -> None:
    kernel = stepped_kernels(stepping)
    load(kernel, "crc_itu_t")
    hits: list[Symbol | str] = []
    p = Kprobe("crc_itu_t:crc_itu_t", pre_handler=lambda p, regs: hits.append("hit"))
    kernel.register_kprobe(p)
    assert run_crc(kernel) and hits == ["hit"]
    kernel.unload_module("crc_itu_t")
    assert "[GONE]" in kernel.kprobes.list()
    load(kernel, "crc_itu_t")
    assert run_crc(kernel) and hits == ["hit"]
    kernel.unregister_kprobe(p)
    unload_all(kernel)
