"""``kprobesim call``."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kprobesim import Kernel

Cli = Callable[..., Any]
CRC = zlib.crc32(b"123456789") ^ 0xFFFFFFFF
CALL = 'crc32_le(0xffffffff, "123456789", 9)'


def test_result_in_three_forms(cli: Cli, sample: Path) -> None:
    outcome = cli("call", sample, CALL)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == f"{CALL} = {CRC:#x}  unsigned {CRC}, signed {CRC}\n"


def test_negative_result(cli: Cli, sample: Path) -> None:
    value = 2**64 - 5
    assert f"= {value:#x}  unsigned {value}, signed -5" in cli("call", sample, "negate(5)").out
    assert f"  signed -5, unsigned {value}" in cli("call", sample, "negate(5)", "--signed").out
    data = cli("call", sample, "negate(5)", "--json").data
    assert data["result"] == {"value": value, "hex": f"{value:#x}", "unsigned": value, "signed": -5}
    assert cli("call", sample, "negate(5)", "--json", "--signed").data["result"]["value"] == -5


def test_an_int_result_is_shown_as_one(cli: Cli, sample: Path) -> None:
    """The upper half of the register says nothing when a function returns a 32-bit int."""
    assert "as a 32-bit int -2" in cli("call", sample, 'lookup_file("/nowhere")').out


@pytest.mark.parametrize(
    ("call", "result"),
    [
        ("gcd(0x54, 0o44)", 12),
        ("sum10(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)", 385),
        ('strcmp("same", b"same\\0")', 0),
        ('strlen("tab\\t")', 4),
        ("kprobe_target(21)", 7),
    ],
)
def test_arguments_arrive(cli: Cli, sample: Path, call: str, result: int) -> None:
    assert cli("call", sample, call, "--json").data["result"]["value"] == result


def test_function_by_address(cli: Cli, sample: Path, guest: Kernel) -> None:
    address = guest.symbols["gcd"].address
    data = cli("call", sample, f"{address:#x}(12, 18)", "--json").data
    assert data["result"]["value"] == 6


def test_symbols_as_arguments(cli: Cli, sample: Path, guest: Kernel) -> None:
    banner = guest.read_cstr(guest.symbols["linux_banner"].address)
    for argument, length in (("linux_banner", 0), ("&linux_banner", 0), ("linux_banner+6", 6)):
        data = cli("call", sample, f"strlen({argument})", "--json").data
        assert data["result"]["value"] == len(banner) - length


def test_buffers_are_shown_after_the_call(cli: Cli, sample: Path) -> None:
    call = 'strcpy(buf(40), "say \\"hi\\"")'
    data = cli("call", sample, call, "--json").data
    (buffer,) = data["buffers"]
    assert buffer["size"] == 40
    assert buffer["address"] == data["result"]["hex"]
    assert bytes.fromhex(buffer["hex"]) == b'say "hi"'.ljust(40, b"\0")
    out = cli("call", sample, call).out
    assert '"say \\"hi\\""' in out
    assert "73 61 79 20 22 68 69 22 00" in out
    assert '|say "hi"........|' in out


def test_probe_shows_place_instruction_and_registers(
    cli: Cli, sample: Path, guest: Kernel, arch: str
) -> None:
    address = guest.symbols["crc32_le"].address
    data = cli("call", sample, CALL, "-p", "crc32_le", "--json").data
    assert data["result"]["value"] == CRC
    assert data["probes"] == [
        {"probe": "crc32_le", "address": f"{address:#x}", "hits": 1, "nmissed": 0}
    ]
    (hit,) = data["hits"]
    assert hit["hit"] == 1
    assert hit["probe"] == "crc32_le"
    assert hit["address"] == f"{address:#x}"
    assert hit["place"].startswith("crc32_le+0x0/")
    assert bytes.fromhex(hit["instruction"]["bytes"]) == guest.read(
        address, 5 if arch == "x86_64" else 4
    )
    registers = hit["registers"]
    first, third = ("di", "dx") if arch == "x86_64" else ("x0", "x2")
    assert (registers[first], registers[third]) == ("0xffffffff", "0x9")
    expected = {"x86_64": ["r15", "bp", "orig_ax", "ip", "flags", "ss"], "arm64": ["x30", "pstate"]}
    assert set(expected[arch]) <= set(registers)


def test_probe_in_text(cli: Cli, sample: Path, arch: str) -> None:
    lines = cli("call", sample, CALL, "-p", "crc32_le").lines
    assert lines[0].startswith("hit 1 crc32_le+0x0/")
    first = {"x86_64": "di 00000000ffffffff", "arm64": "x0 00000000ffffffff"}[arch]
    assert any(first in line for line in lines)
    assert "probe crc32_le: 1 hit" in lines
    assert lines[-1].startswith(CALL)


@pytest.mark.parametrize("stepping", ["breakpoint", "trap"])
def test_several_probes_fire_in_order(cli: Cli, sample: Path, stepping: str) -> None:
    places = ["do_fork", "_do_fork", "kernel_clone", "copy_process", "strlen"]
    options = [word for place in places for word in ("-p", place)]
    data = cli("call", sample, "do_fork(17, 0, 0)", *options, "--stepping", stepping, "--json").data
    assert data["result"]["value"] == 1
    assert [hit["probe"] for hit in data["hits"]] == places[:4]
    assert [hit["hit"] for hit in data["hits"]] == [1, 2, 3, 4]
    assert [probe["hits"] for probe in data["probes"]] == [1, 1, 1, 1, 0]


def test_probe_by_offset_and_address(cli: Cli, sample: Path, guest: Kernel, arch: str) -> None:
    offset = 5 if arch == "x86_64" else 8
    address = guest.symbols["kprobe_target"].address
    for place in (
        f"kprobe_target+{offset}",
        f"kprobe_target+{offset:#x}",
        f"kprobe_target+{offset:#x}/0x40",  # as an oops prints it
        f"{address + offset:#x}",
    ):
        data = cli("call", sample, "kprobe_target(21)", "-p", place, "--json").data
        assert [hit["address"] for hit in data["hits"]] == [f"{address + offset:#x}"]
        assert data["result"]["value"] == 7


def test_hits_beyond_the_limit_are_counted(cli: Cli, sample: Path) -> None:
    options = ["-p", "fib", "--max-hits", 3]
    data = cli("call", sample, "fib(10)", *options, "--json").data
    assert data["result"]["value"] == 55
    assert len(data["hits"]) == 3
    assert data["probes"][0]["hits"] == 177
    assert "... and 174 hits more" in cli("call", sample, "fib(10)", *options).out


def test_warnings_are_printed(cli: Cli, sample: Path) -> None:
    outcome = cli("call", sample, "warn_if(3)")
    assert outcome.code == 0
    assert "WARNING at samples/guest/" in outcome.out
    (warning,) = cli("call", sample, "warn_if(3)", "--json").data["warnings"]
    assert "warn_if" in warning


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        ("read_word(0)", "GuestFault", ["read of a NULL pointer at 0x0", "read_word+0x0/"]),
        ("trigger_bug(1)", "GuestBug", ["kernel BUG at samples/guest/", "trigger_bug+0x0/"]),
        ("spin_forever()", "GuestTimeout", ["still running after 0.3 s", "spin_forever+"]),
        ("recurse_forever(1)", "GuestFault", ["unable to write", "recurse_forever+"]),
    ],
)
def test_guest_that_fails_is_1(
    cli: Cli, sample: Path, call: str, kind: str, words: list[str]
) -> None:
    outcome = cli("call", sample, call, "--timeout", 0.3)
    assert (outcome.code, outcome.out) == (1, "")
    assert "Call trace:" in outcome.err
    assert "Traceback" not in outcome.err
    for word in words:
        assert word in outcome.err
    with_json = cli("call", sample, call, "--timeout", 0.3, "--json")
    assert with_json.code == 1
    data = json.loads(with_json.out)
    assert data["result"] is None
    assert data["fault"]["kind"] == kind
    assert words[-1].rstrip("/") in data["fault"]["place"]
    assert data["fault"]["registers"]


def test_instruction_limit(cli: Cli, sample: Path) -> None:
    outcome = cli("call", sample, "count_to(1000000)", "--max-instructions", 1000)
    assert outcome.code == 1
    assert "still running after 1000 instructions" in outcome.err
    assert cli("call", sample, "count_to(10)", "--max-instructions", 1000).code == 0


def test_buffer_and_probe_are_shown_although_the_guest_fails(cli: Cli, sample: Path) -> None:
    outcome = cli("call", sample, "memcpy(buf(16), 0, 1)", "-p", "memcpy")
    assert outcome.code == 1
    assert "hit 1 memcpy" in outcome.out
    assert "buf(16) at" in outcome.out


def test_unknown_and_ambiguous_symbols_are_1(cli: Cli, sample: Path) -> None:
    cli("call", sample, 'strlne("x")').refused(1, "no symbol is named strlne", "strlen")
    cli("call", sample, "strlen(linux_baner)").refused(1, "linux_banner")
    cli("call", sample, "mix(1, 2)").refused(1, "2 symbols are named mix", "mix@0x")
    cli("call", sample, "strlen(0)", "-p", "strlne").refused(1, "strlen", "ENOENT")


def test_what_is_no_function_is_2(cli: Cli, sample: Path) -> None:
    cli("call", sample, "init_task(1)").refused(2, "init_task is not code")
    cli("call", sample, "0x10(1)").refused(2, "not code")
    cli("call", sample, "strlen(buf(0x7fffffffffffffff))").refused(2, "heap is used up")
    cli("call", sample, "strlen(0)", "--memory", "lots").refused(2, "memory 'lots'")
    cli("call", sample, "strlen(0)", "--memory", "4096").refused(2, "at least")
    cli("call", sample, "strlen(0)", "--memory", "9" * 30 + "G").refused(2)
    cli("call", sample, "strlen(0)", "--memory", "9" * 10 + "G").refused(2, "RAM")


def test_bad_expression_is_2_with_a_caret(cli: Cli, sample: Path) -> None:
    outcome = cli("call", sample, "strlen(12ab)")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.splitlines()[1:] == ["  strlen(12ab)", "         ^"]


def test_refused_probes_are_1(cli: Cli, sample: Path, arch: str) -> None:
    def refused(place: str, *words: str) -> None:
        cli("call", sample, "kprobe_target(3)", "-p", place).refused(1, *words)

    refused("kprobe_target+1", "not-instruction-boundary" if arch == "x86_64" else "unaligned")
    refused("kprobe_target+2", "not-instruction-boundary" if arch == "x86_64" else "unaligned")
    refused("noprobe_listed", "blacklisted", "NOKPROBE_SYMBOL")
    refused("noprobe_section", "blacklisted")
    refused("init_task", "not-kernel-text")
    refused("0x10", "no-symbol-at-address")
    refused("trigger_bug", "bug-table")


def test_the_same_place_twice(cli: Cli, sample: Path, guest: Kernel) -> None:
    address = f"{guest.symbols['strlen'].address:#x}"
    for second in ("strlen", "strlen+0", address):
        probes = cli("call", sample, 'strlen("x")', "-p", "strlen", "-p", second, "--json")
        assert [p["hits"] for p in json.loads(probes.out)["probes"]] == [1, 1]


def test_a_pattern_probes_each_function(cli: Cli, sample: Path) -> None:
    outcome = cli("call", sample, 'strlen("abc")', "-p", "strl*,gcd", "--json").data
    assert {probe["probe"]: probe["hits"] for probe in outcome["probes"]} == {"strlen": 1, "gcd": 0}
