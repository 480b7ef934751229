"""``kprobesim disasm`` and the disassembler under it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kprobesim import Kernel
from kprobesim.disasm import disassemble

Cli = Callable[..., Any]


def test_covers_the_function_byte_for_byte(cli: Cli, sample: Path, guest: Kernel) -> None:
    symbol = guest.symbols["kernel_clone"]
    data = cli("disasm", sample, "kernel_clone", "--json").data
    assert (data["function"], data["size"]) == ("kernel_clone", symbol.size)
    code = b"".join(bytes.fromhex(i["bytes"]) for i in data["instructions"])
    assert code == guest.read(symbol.address, symbol.size)
    at = symbol.address
    for instruction in data["instructions"]:
        assert int(instruction["address"], 16) == at
        assert instruction["offset"] == at - symbol.address
        assert instruction["marked"] is False
        at += len(instruction["bytes"]) // 2


def test_shows_the_tracers_calls_as_nops(cli: Cli, sample: Path, arch: str) -> None:
    """The file has ``call __fentry__`` there; a running kernel does not."""
    data = cli("disasm", sample, "kernel_clone", "--json").data
    site = data["instructions"][0 if arch == "x86_64" else 1]
    assert site["mnemonic"] == "nop"


def test_branch_targets_have_names(cli: Cli, sample: Path) -> None:
    data = cli("disasm", sample, "kernel_clone", "--json").data
    called = {i["target_symbol"] for i in data["instructions"] if i["target"]}
    assert {"copy_process", "wake_up_new_task"} <= called
    text = cli("disasm", sample, "kernel_clone").out
    assert "<copy_process>" in text


def test_pc_relative_operands_have_names(cli: Cli, sample: Path, arch: str) -> None:
    function, name = {
        "x86_64": ("rip_relative", "rip_flag"),
        "arm64": ("addresses", "addresses+0x28"),
    }[arch]
    assert f"<{name}>" in cli("disasm", sample, function).out


def test_marks_the_place(cli: Cli, sample: Path, guest: Kernel) -> None:
    symbol = guest.symbols["crc32_le"]
    instructions = cli("disasm", sample, "crc32_le", "--json").data["instructions"]
    third = instructions[2]
    for place in (f"crc32_le+{third['offset']:#x}", third["address"]):
        data = cli("disasm", sample, place, "--json").data
        assert [i["offset"] for i in data["instructions"] if i["marked"]] == [third["offset"]]
        assert int(data["address"], 16) == symbol.address
        marked = [line for line in cli("disasm", sample, place).lines if line.startswith(">")]
        assert len(marked) == 1
        assert "is inside" not in marked[0]


def test_says_that_a_place_is_inside_an_instruction(cli: Cli, sample: Path) -> None:
    (line,) = (line for line in cli("disasm", sample, "crc32_le+1").lines if line.startswith(">"))
    assert "+0x1 is inside of it" in line


def test_ambiguous_name_takes_an_address(cli: Cli, sample: Path, guest: Kernel) -> None:
    first, second = guest.symbols.candidates("mix")
    error = cli("disasm", sample, "mix").refused(1, "2 symbols are named mix")
    assert f"mix@{first.address:#x}" in error
    data = cli("disasm", sample, f"mix@{second.address:#x}", "--json").data
    assert int(data["address"], 16) == second.address


def test_refuses_what_is_no_code(cli: Cli, sample: Path) -> None:
    cli("disasm", sample, "init_task").refused(2, "init_task is not code")
    cli("disasm", sample, "0x10").refused(2, "not code")
    cli("disasm", sample, "kernel_clon").refused(1, "did you mean kernel_clone")


@pytest.mark.parametrize(
    ("arch", "code", "texts"),
    [
        ("x86_64", "e8fb0f0000", ["call 0x2000 <0x2000!>"]),
        ("x86_64", "488b0510000000", ["mov rax, qword ptr [rip + 0x10]  # 0x1017 <0x1017!>"]),
        ("x86_64", "ebfe", ["jmp 0x1000 <0x1000!>"]),
        ("x86_64", "ffe0", ["jmp rax"]),
        ("x86_64", "0690", ["(bad)", "nop"]),  # PUSH ES does not exist in 64-bit mode
        # As the processor (Intel's) and the kernel count; capstone says 5 and 1 bytes.
        ("x86_64", "660f800010000090", ["data16 jo 0x2007 <0x2007!>", "nop"]),
        ("x86_64", "66c2100090", ["ret 0x10", "nop"]),
        ("x86_64", "670fb9400d90", ["ud1 eax, dword ptr [eax + 0xd]", "nop"]),  # UBSAN's trap
        ("x86_64", "4848c3", [".byte 0x48", "ret"]),
        ("x86_64", "0f", [".byte 0xf"]),
        ("arm64", "00040094", ["bl #0x2000 <0x2000!>"]),
        ("arm64", "40000054", ["b.eq #0x1008 <0x1008!>"]),
        ("arm64", "60000036", ["tbz w0, #0, #0x100c <0x100c!>"]),
        ("arm64", "81010058", ["ldr x1, #0x1030 <0x1030!>"]),
        ("arm64", "21000090", ["adrp x1, #0x5000 <0x5000!>"]),
        ("arm64", "00f0ffff1f2003d5", [".word 0xfffff000  # undefined", "nop"]),
        ("arm64", "1f2003d51f20", ["nop", ".byte 0x201f"]),
    ],
)
def test_disassembler(arch: str, code: str, texts: list[str]) -> None:
    raw = bytes.fromhex(code)
    instructions = list(disassemble(arch, raw, 0x1000))
    assert [i.text(lambda at: f"{at:#x}!") for i in instructions] == texts
    assert b"".join(i.raw for i in instructions) == raw
