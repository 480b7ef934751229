"""``kprobesim info``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile

from kprobesim import Kernel

Cli = Callable[..., Any]


def test_json_says_what_the_file_holds(cli: Cli, sample: Path, guest: Kernel) -> None:
    data = cli("info", sample, "--json").data
    with sample.open("rb") as file:
        elf = ELFFile(file)
        loads = sorted(
            (s["p_vaddr"], s["p_memsz"]) for s in elf.iter_segments("PT_LOAD") if s["p_vaddr"]
        )
        names = {s.name: s["st_value"] for s in elf.get_section_by_name(".symtab").iter_symbols()}
    assert data["arch"] == guest.arch
    assert data["release"] == "6.1.0-kprobesim-sample"
    assert data["banner"].startswith("Linux version 6.1.0-kprobesim-sample ")
    assert data["preemptible"] is False
    assert data["model"]["name"] == guest.model.name
    assert data["model"]["int3_ends_walk"] is False
    other = cli("info", sample, "--json", "--model", "5.4").data["model"]
    assert (other["name"], other["int3_ends_walk"]) == ("5.4", True)
    shown = [(int(s["start"], 16), s["size"]) for s in data["segments"]]
    assert set(loads) <= set(shown)
    (text,) = data["text"]
    assert (int(text["start"], 16), int(text["end"], 16)) == (names["_stext"], names["_etext"])
    assert text["size"] == names["_etext"] - names["_stext"]
    assert int(data["init_text"]["start"], 16) == names["_sinittext"]
    symbols = data["symbols"]
    assert symbols["count"] == sum(symbols["kinds"].values()) == len(guest.symbols)
    assert symbols["kinds"]["text"] == sum(s.type in "tT" for s in guest.symbols)
    tables = data["tables"]
    assert tables["kprobe_blacklist"] == 1
    assert tables["exception_table"] == 3
    assert tables["bug_table"] == 4
    mcount = (names["__stop_mcount_loc"] - names["__start_mcount_loc"]) // 8
    assert tables["mcount_sites"] == mcount > 0
    kinds = {region["kind"] for region in data["regions"]}
    assert {"text", "rodata", "data"} <= kinds


def test_text_names_the_same(cli: Cli, sample: Path, arch: str) -> None:
    outcome = cli("info", sample)
    assert outcome.code == 0
    assert f"vmlinux ELF, {arch}" in outcome.out
    assert "6.1.0-kprobesim-sample" in outcome.out
    assert "NOKPROBE_SYMBOL 1" in outcome.out
    assert "\x1b" not in outcome.out


def test_symbols_from_a_map(cli: Cli, sample: Path, guest: Kernel, tmp_path: Path) -> None:
    system_map = tmp_path / "System.map"
    chosen = [s for s in guest.symbols if s.name in ("_stext", "_etext", "strlen")]
    system_map.write_text("".join(f"{s.address:016x} {s.type} {s.name}\n" for s in chosen))
    data = cli("info", sample, "--symbols", system_map, "--json").data
    assert data["symbols"]["count"] == 3


def test_control_characters_in_names_cannot_reach_the_terminal(
    cli: Cli, sample: Path, tmp_path: Path
) -> None:
    hostile = tmp_path / "image"
    data = sample.read_bytes()
    assert b"(kprobesim@sample)" in data
    hostile.write_bytes(data.replace(b"(kprobesim@sample)", b"(\x1b[2Jbesim@sample)"))
    outcome = cli("info", hostile)
    assert outcome.code == 0
    assert "\x1b" not in outcome.out
    assert "(\\x1b[2Jbesim@sample)" in outcome.out


def test_image_without_symbols(cli: Cli, sample: Path, tmp_path: Path) -> None:
    with sample.open("rb") as file:
        elf = ELFFile(file)
        index = next(i for i, s in enumerate(elf.iter_sections()) if s.name == ".symtab")
        type_field = elf["e_shoff"] + index * elf["e_shentsize"] + 4
    data = bytearray(sample.read_bytes())
    data[type_field : type_field + 4] = bytes(4)  # SHT_NULL
    stripped = tmp_path / "vmlinux"
    stripped.write_bytes(data)
    facts = cli("info", stripped, "--json").data
    assert facts["release"] == "6.1.0-kprobesim-sample"
    assert facts["symbols"]["count"] == 0
    assert "symbols" in facts["symbols"]["problem"]
    assert "none: " in cli("info", stripped).out
    cli("call", stripped, "gcd(12, 18)").refused(1, "symbols")
    cli("disasm", stripped, "gcd").refused(1, "symbols")
    # Another file may have them.
    call = cli("call", stripped, "gcd(12, 18)", "--symbols", sample, "--json")
    assert call.data["result"]["value"] == 6
