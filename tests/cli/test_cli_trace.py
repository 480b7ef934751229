"""``kprobesim trace``."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli.pseudo_terminal import PseudoTerminal
from makers.arm64_code import LOOP, bare_guest
from makers.boots import Boots

from kprobesim import BootedKernel
from kprobesim.boot.boards import board_class
from kprobesim.user_cache import cache_directory

Cli = Callable[..., Any]
CRC = zlib.crc32(b"123456789") ^ 0xFFFFFFFF
CALL = 'crc32_le(0xffffffff, "123456789", 9)'
EVENTS = ("-e", "p crc32_le len=$arg3:u64", "-e", "r crc32_le ret=$retval:x32")


def _body(line: str) -> str:
    """A line of the trace behind its columns."""
    return line.partition(": ")[2]


def test_lines_as_the_kernel_prints_them_and_a_profile(cli: Cli, sample: Path) -> None:
    outcome = cli("trace", sample, *EVENTS, "--", CALL)
    assert outcome.code == 0
    assert outcome.lines[0] == "# tracer: nop"
    lines = [line for line in outcome.lines if line and not line.startswith("#")]
    assert re.fullmatch(
        r" +\S+-\d+ +\[000\] \S{4,5} +\d+\.\d{6}: p_crc32_le_0: "
        r"\(crc32_le\+0x0/0x[0-9a-f]+\) len=9",
        lines[0],
    )
    assert re.fullmatch(
        rf"r_crc32_le_0: \(\S+ <- crc32_le\) ret={CRC:#x}",
        _body(lines[1]),
    )
    assert lines[2:] == [f"  {name:<44} {1:15} {0:15}" for name in ("p_crc32_le_0", "r_crc32_le_0")]
    assert outcome.err == f"{CALL} = {CRC:#x}\n"


def test_one_json_document(cli: Cli, sample: Path) -> None:
    data = cli("trace", sample, *EVENTS, "--json", "--", CALL, CALL).data
    assert [entry["fields"] for entry in data["entries"]] == [{"len": 9}, {"ret": CRC}] * 2
    assert [row["hits"] for row in data["profile"]] == [2, 2]


def test_a_filter_is_that_of_the_event_before_it(cli: Cli, sample: Path) -> None:
    event = ("-e", "p gcd a=$arg1:u64", "--filter", "a > 20", "-e", "p strlen")
    data = cli("trace", sample, *event, "--json", "--", "gcd(12, 18)", "gcd(27, 18)").data
    assert [entry["fields"] for entry in data["entries"]] == [{"a": 27}]
    before = ("--filter", "a < 20", "-e", "p gcd a=$arg1:u64")
    data = cli("trace", sample, *before, "--json", "--", "gcd(12, 18)", "gcd(27, 18)").data
    assert [entry["fields"]["a"] for entry in data["entries"]] == [12]


def test_the_first_entries_are_enough(cli: Cli, sample: Path) -> None:
    outcome = cli("trace", sample, "-e", "p gcd", "--limit", 2, "--json", "--", *["gcd(1, 2)"] * 5)
    assert len(outcome.data["entries"]) == 2


def test_a_pattern_has_an_event_for_each_function(cli: Cli, sample: Path) -> None:
    outcome = cli("trace", sample, "-e", "p str*", "--profile", "--", 'strlen("four")')
    rows = dict(line.split()[:2] for line in outcome.lines[1:])
    assert rows["p_strlen_0"] == "1"
    assert len(rows) > 2
    named = cli("trace", sample, "-e", "p:text str*", "--profile", "--", 'strlen("four")')
    assert {line.split()[0] for line in named.lines[1:]} == {"text"}


def test_callers_are_shown(cli: Cli, sample: Path) -> None:
    outcome = cli("trace", sample, "-e", "p recurse", "--stack", "--", "recurse(2)")
    lines = outcome.lines
    last = max(n for n, line in enumerate(lines) if "p_recurse_0: (" in line)
    assert lines[last + 1 : last + 4] == [" => recurse"] * 3


def test_files_are_written_instead_of_lines(cli: Cli, sample: Path, tmp_path: Path) -> None:
    names = ("t.csv", "t.folded", "t.json", "t.svg")
    files = [word for name in names for word in ("-o", tmp_path / name)]
    outcome = cli("trace", sample, "-e", "p recurse left=$arg1:u64", *files, "--", "recurse(2)")
    assert outcome.code == 0
    assert outcome.lines[0].startswith("# EVENT")
    with (tmp_path / "t.csv").open(newline="") as file:
        assert [row["left"] for row in csv.DictReader(file)] == ["2", "1", "0"]
    stacks = (tmp_path / "t.folded").read_text().splitlines()
    assert sorted(line.count("recurse") for line in stacks) == [1, 2, 3]
    assert len(json.loads((tmp_path / "t.json").read_text())["entries"]) == 3
    assert "recurse" in (tmp_path / "t.svg").read_text()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["-e", "p gcd"], 2, ["say what the kernel is to do", "--boot"]),
        (["--", "gcd(1, 2)"], 2, ["give -e"]),
        (["-e", "p gcd", "--boot", "--", "gcd(1, 2)"], 2, ["choose one"]),
        (["-e", "gcd", "--", "gcd(1, 2)"], 2, ["begins with p", "'p gcd'"]),
        (["-e", "p", "--", "gcd(1, 2)"], 2, ["with a place"]),
        (["-e", "p gcd", "--", "gcd(1"], 2, []),
        (["-e", "p gcd", "-o", "t.txt", "--", "gcd(1, 2)"], 2, [".perfetto-trace"]),
        (["-e", "p gcd", "-o", "no/such/t.svg", "--", "gcd(1, 2)"], 2, ["a folder that exists"]),
        (["-e", "p gcd", "--until", "x", "--", "gcd(1, 2)"], 2, ["--until is for --boot"]),
        (["-e", "p gcd", "--initrd", "x", "--", "gcd(1, 2)"], 2, ["--initrd is for --boot"]),
        (["-e", "p gcd", "--debug", "none", "--", "gcd(1, 2)"], 2, ["there is no such file"]),
        (["-e", "p nothing*", "--", "gcd(1, 2)"], 1, ["nothing*"]),
        (["-e", "p a.c:1", "--", "gcd(1, 2)"], 2, ["debug information"]),
    ],
)
def test_wrong_use_is_told(
    cli: Cli, sample: Path, options: list[str], code: int, words: list[str]
) -> None:
    outcome = cli("trace", sample, *options)
    assert (outcome.code, outcome.out) == (code, "")
    assert outcome.err.startswith("kprobesim: ")
    for word in words:
        assert word in outcome.err


def test_a_refused_definition_is_told_as_error_log_does(cli: Cli, sample: Path) -> None:
    outcome = cli("trace", sample, "-e", "p gcd", "-e", "p gcd x=%nosuch", "--", "gcd(1, 2)")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.splitlines() == [
        "kprobesim: trace_kprobe: error: Invalid register name",
        "  Command: p gcd x=%nosuch",
        "                   ^",
    ]


def test_a_refused_filter_is_told_with_its_place(cli: Cli, sample: Path) -> None:
    outcome = cli("trace", sample, "-e", "p gcd", "--filter", "nosuch == 1", "--", "gcd(1, 2)")
    assert (outcome.code, outcome.out) == (2, "")
    first, *shown = outcome.err.splitlines()
    assert first == "kprobesim: a filter is refused, Field not found:"
    assert shown[0] == "  nosuch == 1"
    assert shown[1].index("^") in range(2, 10)


def test_what_ends_with_a_fault_is_written_first(cli: Cli, sample: Path, tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    outcome = cli("trace", sample, "-e", "p strlen", "-o", file, "--", "strlen(0x10)")
    assert outcome.code == 1
    assert "strlen+" in outcome.err
    assert len(json.loads(file.read_text())["entries"]) == 1


def test_calls_are_shown_up_to_the_fault_that_ends_them(cli: Cli, sample: Path) -> None:
    outcome = cli("trace", sample, "--graph", "strlen", "--", "strlen(0x10)")
    assert outcome.code == 1
    assert "strlen+" in outcome.err
    assert outcome.lines[-1] == " 0)               |  strlen() {"


def test_ctrl_c_ends_it_and_writes(sample: Path, tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    event = ("-e", "p count_to n=$arg1:u64", "-o", str(file))
    command = [sys.executable, "-m", "kprobesim", "trace", str(sample), *event]
    process = subprocess.Popen(
        [*command, "--timeout", "60", "--", f"count_to({1 << 50})"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(600):  # it is made when tracing begins
        if file.exists() or process.poll() is not None:
            break
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "p_count_to_0" in out
    assert "interrupted" in err
    entries = json.loads(file.read_text())["entries"]
    assert [entry["fields"]["n"] for entry in entries] == [1 << 50]


def test_somebody_at_a_terminal_sees_how_far_it_is(sample: Path, tmp_path: Path) -> None:
    options = ("-e", "p gcd", "-o", tmp_path / "t.csv", "--", "gcd(12, 18)")
    with PseudoTerminal("-m", "kprobesim", "trace", sample, *options) as terminal:
        terminal.expect("s of the guest's time, 1 entries; Ctrl-C ends it")
        terminal.expect("t.csv: 1 entries")


@pytest.mark.real_kernel
def test_a_boot_from_its_first_instruction(cli: Cli, any_real_image: Path) -> None:
    events = ("-e", "p start_kernel", "-e", "p:clone kernel_clone", "--limit", "3")
    outcome = cli("trace", any_real_image, "--boot", *events)
    assert outcome.code == 0, outcome.err
    lines = [_body(line) for line in outcome.lines if "] " in line]
    assert lines[0].startswith("p_start_kernel_0: (start_kernel+0x0/")
    assert [line.partition(":")[0] for line in lines[1:]] == ["clone", "clone"]
    assert "the limit of 3 entries is reached" in outcome.err


@pytest.mark.real_kernel
def test_lines_for_a_shell(cli: Cli, any_real_image: Path, boots: Boots) -> None:
    event = "p do_sys_openat2 name=+0($arg2):ustring"
    command = ("trace", any_real_image, "--run", "cat /etc/nothing", "-e", event)
    outcome = cli(*command, "-e", "r do_sys_openat2 ret=$retval:s32")
    assert outcome.code == 0, outcome.err
    lines = [line for line in outcome.lines if "] " in line]
    assert re.match(r" +cat-\d+ ", lines[-1])
    assert _body(lines[-2]).endswith(' name="/etc/nothing"')
    assert _body(lines[-1]).endswith(" <- do_sys_openat2) ret=-2")
    assert "can't open '/etc/nothing'" in outcome.err
    assert "ended with 1" in outcome.err
    folder = cache_directory()
    assert folder is not None
    kept = max((folder / "booted").glob("*.kps"), key=os.path.getmtime)
    again = cli("trace", kept, *command[2:])
    assert [line for line in again.lines if line.endswith(' name="/etc/nothing"')] != []


def test_a_snapshot_without_our_shell(cli: Cli, tmp_path: Path) -> None:
    image = bare_guest([LOOP])
    board = board_class("arm64")(image, initrd=None, append="", memory=16 << 20)
    file = tmp_path / "bare.kps"
    BootedKernel(image, board).snapshot(file)
    outcome = cli("trace", file, "--run", "ls", "-e", "p vfs_read")
    assert outcome.code == 2
    assert "was not booted to our shell" in outcome.err
    assert "leave --boot out" in cli("trace", file, "--boot", "-e", "p vfs_read").err
