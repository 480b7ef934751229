"""Kernels as distributions ship them, and what two sources say of the same kernel.

Kernels are looked for where the tests' own two are, or in the directories that KPROBESIM_KERNELS
names (separated as in PATH), as `make test-images` does with ``.cache`` and all that was ever
fetched: packages, boot images, and the vmlinux and System.map of -dbg packages.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

from kprobesim.fetch.cache import cache_directory
from kprobesim.image import KernelImage, load_image

pytestmark = pytest.mark.real_kernel

PLACES = os.environ.get("KPROBESIM_KERNELS", str(cache_directory())).split(os.pathsep)
#: A -dbg package takes half a minute to stream; its vmlinux is tested when it lies there unpacked.
NAMES = re.compile(r"(vmlinu[xz](-.*)?|linux-(image|binary)-\d.*(?<!-dbg)_(amd64|arm64)\.deb)")


def files() -> Iterator[Path]:
    for place in PLACES:
        for path in sorted(Path(place).rglob("*")):
            if NAMES.fullmatch(path.name) and "-dbg_" not in path.name and path.is_file():
                if path.suffix == ".deb" and path.stat().st_size < 1 << 20:
                    continue  # a meta-package
                yield path


FILES = list({path.resolve(): path for path in files()}.values())
DEBUG = [path for path in FILES if path.name.startswith("vmlinux")]


@lru_cache(maxsize=2)
def loaded(path: Path) -> KernelImage:
    return load_image(path)


@pytest.fixture(
    scope="module",
    params=FILES or [None],  # type: ignore[list-item]
    ids=lambda path: path.name if path else "fetched",
)
def image(request: pytest.FixtureRequest) -> KernelImage:
    if request.param is None:  # a first run: both are fetched, the next run finds them
        return loaded(request.getfixturevalue("any_real_image"))
    return loaded(request.param)


@pytest.fixture(
    scope="module",
    params=DEBUG or [None],  # type: ignore[list-item]
    ids=lambda path: "/".join(path.parts[-2:]) if path else "none",  # type: ignore[list-item]
)
def debug(request: pytest.FixtureRequest) -> KernelImage:
    if request.param is None:
        pytest.skip("no vmlinux of a -dbg package fetched")
    return loaded(request.param)


def test_what_the_kernel_is(image: KernelImage) -> None:
    assert image.banner.startswith(f"Linux version {image.release} ")
    assert image.version >= (5, 10)
    assert image.release.split(".")[0] == str(image.version[0])
    assert (
        image.arch
        == {"amd64": "x86_64", "arm64": "arm64"}["arm64" if "arm64" in image.release else "amd64"]
    )
    assert image.preemptible == ("PREEMPT" in image.banner)


def test_symbols(image: KernelImage) -> None:
    symbols = image.symbols
    assert len(symbols) > 30_000
    for name in ("vfs_read", "do_exit", "schedule", "__x64_sys_read", "__arm64_sys_read"):
        symbol = symbols.get(name)
        if symbol is None:
            assert name[:4] in ("__x6", "__ar")
            continue
        assert symbol.is_function
        assert image.is_kernel_text(symbol.address)
        assert symbols[f"{name}@{symbol.address:#x}"] == symbol
        found = symbols.at(symbol.address + 4)
        assert found is not None
        assert (found.symbol.address, found.offset) == (symbol.address, 4)
    assert len(symbols.candidates("jhash")) > 1


def test_tables(image: KernelImage) -> None:
    assert len(image.exception_table) > 300
    assert image.exception_table.confidence == 1.0
    assert len(image.bug_table) > 5_000
    # x86 since 6.19: WARNs with a format call a function that traps, and name the call.
    assert image.bug_table.confidence > (0.8 if image.version >= (6, 19) else 0.99)
    files = [bug.file for bug in list(image.bug_table)[:200]]
    assert all(file and file.endswith((".c", ".h", ".S")) for file in files)
    assert len(image.mcount_sites) > 20_000
    assert all(map(image.is_code, image.mcount_sites[::97]))
    names = {str(image.symbols.at(address)).split("+")[0] for address in image.kprobe_blacklist}
    assert {"get_kprobe", "notify_die"} <= names
    # Code in ARM64's .rodata.text has no symbols without CONFIG_KALLSYMS_ALL.
    assert sum(map(image.is_code, image.kprobe_blacklist)) >= len(image.kprobe_blacklist) - 2


def test_regions(image: KernelImage) -> None:
    regions = image.regions
    assert all(low.end <= high.start for low, high in itertools.pairwise(regions))
    assert all(region.start % 4096 == region.end % 4096 == 0 for region in regions)
    for segment in image.segments:
        covered = sum(
            max(0, min(region.end, segment.end) - max(region.start, segment.vaddr))
            for region in regions
        )
        assert covered == segment.memsz
    kind = {page: region.kind for region in regions for page in (region.start, region.end - 4096)}
    assert "text" in kind.values()
    start, end = image.text_ranges[0]
    for region in regions:
        if region.start < end and region.end > start:
            assert region.kind in ("text", "rodata")
    mixed = sum(region.end - region.start for region in regions if region.kind == "mixed")
    assert mixed <= 4 * 4096


def test_percpu_data_is_in_the_image(image: KernelImage) -> None:
    if image.percpu_load is not None:
        assert image.contains(image.percpu_load)
    assert not image.contains(0)


def boot_image_of(debug: KernelImage) -> KernelImage:
    for path in FILES:
        if path not in DEBUG and debug.release in path.name and debug.arch == loaded(path).arch:
            other = loaded(path)
            if other.banner == debug.banner:
                return other
    pytest.skip(f"no boot image of {debug.release}")


def test_the_boot_image_agrees_with_the_vmlinux(debug: KernelImage) -> None:
    boot = boot_image_of(debug)
    assert boot.symbols.source == "kallsyms"
    assert list(boot.exception_table) == list(debug.exception_table)
    assert list(boot.bug_table) == list(debug.bug_table)
    assert list(boot.mcount_sites) == list(debug.mcount_sites)
    assert list(boot.kprobe_blacklist) == list(debug.kprobe_blacklist)
    for symbol in boot.symbols:
        if "$" in symbol.name:
            continue  # 6.1 let three mapping symbols slip into its kallsyms
        assert any(s.address == symbol.address for s in debug.symbols.candidates(symbol.name))
    theirs = {(symbol.name, symbol.address) for symbol in boot.symbols}
    missing = [s for s in debug.symbols.functions() if (s.name, s.address) not in theirs]
    # Without CONFIG_KALLSYMS_ALL, code in .exit.text and .rodata.text has no names.
    core = [s for s in missing if debug.is_kernel_text(s.address)]
    core = [s for s in core if not s.name.startswith("__efistub_")]  # kallsyms has none of them
    assert {s.name for s in core} <= {"_text", "idmap_pg_dir", "_GLOBAL_OFFSET_TABLE_"}
    start, end = debug.text_ranges[0]
    for address in range(start, end - 0x20000, 4099):
        assert str(boot.symbols.at(address)) == str(debug.symbols.at(address))
    for segment in boot.segments:
        # Relocations of boot images were found by their shape.
        # Not in the head: signing has changed the PE header there.
        for at in range(
            segment.vaddr + (1 << 16), segment.vaddr + len(segment.data) - 4096, 1 << 16
        ):
            if debug.contains(at) and debug.contains(at + 4095):
                assert boot.read(at, 4096) == debug.read(at, 4096)


def test_system_map_agrees_with_the_symbol_table(debug: KernelImage) -> None:
    maps = [debug.path.with_name(debug.path.name.replace("vmlinux", "System.map"))]
    if not maps[0].is_file():
        pytest.skip("no System.map beside the vmlinux")
    other = load_image(debug.path, symbols=maps[0]).symbols
    ours = {(s.name, s.address): s.type for s in debug.symbols}
    differing = [s for s in other if ours.get((s.name, s.address)) != s.type]
    assert differing == []
    functions = {(s.name, s.address) for s in other.functions()}
    missing = {s.name for s in debug.symbols.functions() if (s.name, s.address) not in functions}
    # mksysmap leaves out what kallsyms leaves out.
    assert all(name.startswith(("__efistub_", "__pi_", "__kvm_nvhe_", "L0")) for name in missing)
