"""The samples: built from their sources; guests laid out like the kernels they stand for."""

from __future__ import annotations

import hashlib
import io
import itertools
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

pytestmark = pytest.mark.compiler

SAMPLES = Path(__file__).resolve().parent.parent / "samples"
ARCHITECTURES = ("x86_64", "arm64")
R_AARCH64_RELATIVE = 0x403


class Guest:
    """One ELF file, its symbols, and its memory with relocations applied."""

    def __init__(self, architecture: str) -> None:
        self.architecture = architecture
        self.path = SAMPLES / f"guest-{architecture}.elf"
        self.elf = ELFFile(io.BytesIO(self.path.read_bytes()))
        self.loads = [s for s in self.elf.iter_segments() if s["p_type"] == "PT_LOAD"]

    @cached_property
    def symbols(self) -> dict[str, int]:
        table = self.elf.get_section_by_name(".symtab")
        return {symbol.name: symbol["st_value"] for symbol in table.iter_symbols()}

    @cached_property
    def functions(self) -> dict[int, tuple[str, int]]:
        table = self.elf.get_section_by_name(".symtab")
        kind = "STT_FUNC"
        found = [s for s in table.iter_symbols() if s["st_info"]["type"] == kind]
        return {s["st_value"]: (s.name, s["st_size"]) for s in found}

    def in_file(self, address: int, size: int) -> bytes:
        for load in self.loads:
            at = address - load["p_vaddr"]
            if load["p_vaddr"] and at >= 0 and at + size <= load["p_filesz"]:
                return load.data()[at : at + size]
        raise AssertionError(f"{address:#x} is in no segment")

    @cached_property
    def relocated(self) -> dict[int, int]:
        section = self.elf.get_section_by_name(".rela.dyn")
        if section is None:
            return {}
        entries = list(section.iter_relocations())
        assert {entry["r_info_type"] for entry in entries} == {R_AARCH64_RELATIVE}
        return {entry["r_offset"]: entry["r_addend"] % 2**64 for entry in entries}

    def between(self, start: str, stop: str, step: int) -> Iterator[int]:
        begin, end = self.symbols[start], self.symbols[stop]
        assert begin < end and (end - begin) % step == 0
        return iter(range(begin, end, step))

    def word(self, address: int) -> int:
        value: int = struct.unpack("<Q", self.in_file(address, 8))[0]
        return self.relocated.get(address, value)

    def relative(self, address: int) -> int:
        return address + int.from_bytes(self.in_file(address, 4), "little", signed=True)

    def text_at(self, address: int) -> str:
        characters = (self.in_file(at, 1) for at in itertools.count(address))
        return b"".join(itertools.takewhile(lambda c: c != b"\0", characters)).decode()


@pytest.fixture(params=ARCHITECTURES)
def guest(request: pytest.FixtureRequest) -> Guest:
    return Guest(request.param)


def check(samples: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(samples / "build.py"), "--check"]
    return subprocess.run(command, capture_output=True, text=True)


def test_committed_files_are_what_the_sources_build() -> None:
    done = check(SAMPLES)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_check_from_another_folder_sees_edited_sources(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(SAMPLES, tmp_path / "elsewhere"))
    builder = copy / "build.py"  # the modules of races take longest, and have been built once
    builder.write_text(builder.read_text().replace(', SAMPLES / "races")', ")"))
    for name, old, new in (
        ("guest/targets.c", "value / 3", "value / 5"),
        ("init/workload.c", '"uname"', '"names"'),
    ):
        source = copy / name
        source.write_text(source.read_text().replace(old, new))
    done = check(copy)
    assert done.returncode == 1
    for arch in ARCHITECTURES:
        for name in (f"guest-{arch}.elf", f"init-{arch}.cpio"):
            assert f"samples/{name} is not what its sources build" in done.stdout
    assert "samples/SHA256SUMS is not what its sources build" in done.stdout
    assert "module-" not in done.stdout and "client-" not in done.stdout


def test_check_says_what_the_compiler_says(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(SAMPLES, tmp_path / "elsewhere"))
    (copy / "guest" / "targets.c").write_text("this is not C\n")
    done = check(copy)
    assert done.returncode == 1
    assert "targets.c" in done.stderr and "error:" in done.stderr


def test_sums_name_every_file() -> None:
    lines = (SAMPLES / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    for arch in ARCHITECTURES:
        names = ("module", "client", "races", "mutex-races", "rcu-races")
        modules = (f"{name}-{arch}.ko" for name in names)
        for name in (f"guest-{arch}.elf", f"init-{arch}.cpio", *modules):
            data = (SAMPLES / name).read_bytes()
            assert sums.pop(name) == hashlib.sha256(data).hexdigest()
            assert len(data) < 100_000
    assert not sums


def test_x86_segments_are_those_of_a_vmlinux() -> None:
    guest = Guest("x86_64")
    text, rodata, data, percpu, init = guest.loads
    assert guest.elf["e_type"] == "ET_EXEC"
    assert guest.elf["e_entry"] == 0x1000000 == guest.symbols["phys_startup_64"]
    assert text["p_vaddr"] == guest.symbols["_text"] == 0xFFFFFFFF81000000
    assert [s["p_flags"] for s in (text, rodata, data, percpu, init)] == [5, 4, 6, 6, 7]
    for load in (text, rodata, data, init):
        assert load["p_paddr"] == load["p_vaddr"] - 0xFFFFFFFF80000000
    assert percpu["p_vaddr"] == guest.symbols["__per_cpu_start"] == 0
    assert percpu["p_filesz"] == guest.symbols["__per_cpu_end"]
    assert percpu["p_paddr"] == guest.symbols["__per_cpu_load"] - 0xFFFFFFFF80000000
    assert guest.symbols["fixed_percpu_data"] == 0
    for name in ("this_cpu_off", "current_task", "cpu_counter"):
        assert 48 <= guest.symbols[name] < guest.symbols["__per_cpu_end"]
    offset, task = guest.symbols["this_cpu_off"], guest.symbols["current_task"]
    template = percpu.data()
    assert struct.unpack_from("<Q", template, 40)[0] != 0
    assert struct.unpack_from("<Q", template, offset)[0] == guest.symbols["__per_cpu_load"]
    assert struct.unpack_from("<Q", template, task)[0] == guest.symbols["init_task"]


def test_arm64_is_relocatable_and_not_relocated() -> None:
    guest = Guest("arm64")
    (load,) = guest.loads
    assert guest.elf["e_type"] == "ET_DYN"
    assert load["p_vaddr"] == guest.symbols["_text"] == 0xFFFF800008000000
    assert load["p_memsz"] > load["p_filesz"]
    assert guest.in_file(guest.symbols["_text"] + 56, 4) == b"ARMd"
    assert guest.relocated
    for place, target in guest.relocated.items():
        assert guest.in_file(place, 8) == bytes(8)
        assert guest.symbols["_text"] <= target < guest.symbols["_end"]


def test_symbols_have_types_and_sizes(guest: Guest) -> None:
    assert all(size for _, size in guest.functions.values())
    spans = sorted((start, start + size) for start, (_, size) in guest.functions.items())
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
    names = [name for name, _ in guest.functions.values()]
    assert names.count("mix") == 2
    assert guest.symbols["memcpy"] == guest.symbols["__memcpy"]
    order = "_text _stext _etext __start_rodata __end_rodata _sdata _edata __bss_start __bss_stop"
    addresses = [guest.symbols[name] for name in order.split()]
    assert addresses == sorted(addresses)
    assert guest.symbols["_end"] >= addresses[-1]
    inside = ("_sinittext", "_einittext")
    bounds = (guest.symbols["__init_begin"], guest.symbols["__init_end"])
    assert all(bounds[0] <= guest.symbols[name] <= bounds[1] for name in inside)


def test_banner_is_that_of_a_kernel_that_does_not_preempt(guest: Guest) -> None:
    banner = guest.text_at(guest.symbols["linux_banner"])
    assert banner.startswith("Linux version 6.1.0-kprobesim-sample ")
    assert "#1 SMP" in banner and "PREEMPT" not in banner


def test_exception_table(guest: Guest) -> None:
    entries = list(guest.between("__start___ex_table", "__stop___ex_table", 12))
    places = [guest.relative(entry) for entry in entries]
    assert places == sorted(places)
    found: dict[str, tuple[int, int]] = {}
    for entry, place in zip(entries, places, strict=True):
        fixup = guest.relative(entry + 4)
        for start, (name, size) in guest.functions.items():
            if start <= place < start + size:
                assert start <= fixup < start + size
                kind, data = struct.unpack("<HH", guest.in_file(entry + 8, 4))
                found[name] = (kind, data)
    assert (
        found
        == {
            # x86-64: type | register << 8, then the number to load; ARM64: type, then registers.
            "x86_64": {
                "probe_read": (1, 0),
                "get_user_word": (17, -14 % 2**16),
                "copy_from_user": (3, 0),
            },
            "arm64": {
                "probe_read": (3, 5 | 31 << 5),
                "get_user_word": (2, 3 | 2 << 5),
                "copy_from_user": (2, 31 | 31 << 5),
            },
        }[guest.architecture]
    )


def test_bug_table(guest: Guest) -> None:
    trap = {"x86_64": b"\x0f\x0b", "arm64": struct.pack("<I", 0xD4210000)}[guest.architecture]
    warnings = 0
    for entry in guest.between("__start___bug_table", "__stop___bug_table", 12):
        place, file = guest.relative(entry), guest.relative(entry + 4)
        line, flags = struct.unpack("<HH", guest.in_file(entry + 8, 4))
        assert guest.in_file(place, len(trap)) == trap
        name = guest.text_at(file)
        source = (SAMPLES.parent / name).read_text().splitlines()[line - 1]
        assert "BUG_ENTRY" in source
        warnings += flags & 1
    assert warnings == 1


def test_traced_places(guest: Guest) -> None:
    sites = [
        guest.word(entry) for entry in guest.between("__start_mcount_loc", "__stop_mcount_loc", 8)
    ]
    assert len(set(sites)) == len(sites) > 50
    names = set()
    for site in sites:
        if guest.architecture == "arm64":
            assert guest.in_file(site, 8) == struct.pack("<II", 0xD503201F, 0xD503201F)
        else:
            code = guest.in_file(site, 5)
            assert code[0] == 0xE8
            assert guest.relative(site + 1) + 4 == guest.symbols["__fentry__"]
        at_entry = site if site in guest.functions else site - 4
        names.add(guest.functions[at_entry][0])
        marked = guest.in_file(at_entry, 4) == b"\xf3\x0f\x1e\xfa"
        assert (at_entry != site) == marked
    assert {"kernel_clone", "do_fork", "sift_down", "start_kernel"} <= names
    assert not names & {"strlen", "noprobe_section", "noinstr_section"}


def test_blacklist_and_sections_that_refuse_probes(guest: Guest) -> None:
    listed = guest.between("__start_kprobe_blacklist", "__stop_kprobe_blacklist", 8)
    assert [guest.functions[guest.word(entry)][0] for entry in listed] == ["noprobe_listed"]
    for section, name in {
        "kprobes": "noprobe_section",
        "noinstr": "noinstr_section",
        "irqentry": "irq_entry",
    }.items():
        start = guest.symbols[f"__{section}_text_start"]
        assert start <= guest.symbols[name] < guest.symbols[f"__{section}_text_end"]
    assert guest.symbols["__entry_text_start"] < guest.symbols["__entry_text_end"]


def test_jump_table(guest: Guest) -> None:
    nop = {"x86_64": bytes.fromhex("0f1f440000"), "arm64": struct.pack("<I", 0xD503201F)}
    (entry,) = guest.between("__start___jump_table", "__stop___jump_table", 16)
    code, target = guest.relative(entry), guest.relative(entry + 4)
    key = (entry + 8 + guest.word(entry + 8)) % 2**64
    start = guest.symbols["static_branch"]
    _, size = guest.functions[start]
    expected = nop[guest.architecture]
    assert guest.in_file(code, len(expected)) == expected
    assert start <= code < target < start + size
    assert key == guest.symbols["jump_key"]
