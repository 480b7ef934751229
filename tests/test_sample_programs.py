"""The programs in samples/ print what they promise, on both architectures."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kprobesim import Kernel

ROOT = Path(__file__).parent.parent
STEP = {"x86_64": 1, "arm64": 0}  # how far ip is behind addr in a pre_handler


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "samples" / program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def output(program: str, *arguments: object) -> list[str]:
    done = run(program, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("symbol", ["kernel_clone", "_do_fork", "do_fork"])
def test_fork_is_probed_under_all_its_names(
    arch: str, sample: Path, guest: Kernel, symbol: str
) -> None:
    address = guest.symbols[symbol].address
    planted, pre, post, result, gone = output("kprobe_example.py", sample, symbol)
    assert planted == f"planted kprobe at {address:#x}"
    assert gone == f"kprobe at {address:#x} unregistered"
    assert result == "the new process has pid 1"
    pattern = rf"<{symbol}> addr = {address:#x}, ip = (0x[0-9a-f]+), flags = 0x[0-9a-f]+"
    before = re.fullmatch("pre_handler:  " + pattern, pre)
    after = re.fullmatch("post_handler: " + pattern, post)
    assert before and after
    assert int(before[1], 16) == address + STEP[arch]
    assert int(after[1], 16) == address + (5 if arch == "x86_64" else 4)  # behind the instruction


def test_default_image_is_the_sample_beside_the_program() -> None:
    assert "the new process has pid 1" in output("kprobe_example.py")


@pytest.mark.parametrize("symbol", ["kernel_clone", "_do_fork", "do_fork"])
def test_what_fork_returned(sample: Path, guest: Kernel, symbol: str) -> None:
    address = guest.symbols[symbol].address
    assert output("kretprobe_example.py", sample, symbol) == [
        f"planted return probe at {symbol}: {address:#x}",
        f"{symbol} returned 1 after 1 calls of alloc_pid",
        f"missed probing 0 instances of {symbol}",
    ]


def test_fault_handler_declines_then_mends(arch: str, sample: Path, guest: Kernel) -> None:
    address = guest.symbols["read_word"].address
    trap = {"x86_64": 14, "arm64": 37}[arch]
    declined, fault, mended, result = output("fault_example.py", sample)
    where = f"fault_handler: trap {trap} at {address:#x}, pointer 0x10"
    assert declined == f"{where}: not handled"
    assert fault.startswith("guest fault: read of a NULL pointer at 0x10, at read_word+0x0/")
    assert mended == f"{where}: mended"
    assert result == f"the call returns 42, probed at {address:#x}"


def test_handlers_change_what_a_function_computes(sample: Path) -> None:
    lines = output("modify_example.py", sample)
    assert lines == [
        "int_sqrt(144) = 12 without a probe",
        "pre_handler: argument 144 becomes 10000",
        "int_sqrt(144) = 100 with another argument",
        "pre_handler: int_sqrt(144) is not executed",
        "int_sqrt(144) = 7 skipped",
        "int_sqrt(144) = 12 without a probe",
    ]


@pytest.mark.parametrize("program", ["kprobe_example.py", "fault_example.py", "modify_example.py"])
def test_what_is_no_image_is_one_line(program: str, tmp_path: Path) -> None:
    done = run(program, tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "is a directory" in done.stderr
