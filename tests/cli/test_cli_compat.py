"""``kprobesim compat`` as a program: its exit status, and what it does not load."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]


@pytest.fixture
def names(tmp_path: Path) -> Path:
    """A list of two names, of which one is wrong."""
    path = tmp_path / "names.txt"
    path.write_text("gcd\nno_such_function\n")
    return path


def test_the_exit_status_tells_whether_all_is_well(cli: Cli, sample: Path, names: Path) -> None:
    by = ("--by", "register_kprobe")
    assert cli("compat", names, "-k", sample, *by).code == 1
    assert cli("compat", names, "-k", sample, *by, "--allow", "absent", "never-called").code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-k", "no_such_kernel"], "no such file"),
        (["-k", "{sample}", "--allow", "nonsense"], "partly-inlined"),
        (["-k", "{sample}", "--by", "nonsense"], "fentry"),
        ([], "-k"),
    ],
)
def test_wrong_use_is_told(
    cli: Cli, sample: Path, names: Path, words: list[str], said: str
) -> None:
    cli("compat", names, *(word.format(sample=sample) for word in words)).refused(2, said)


def test_one_bad_kernel_does_not_stop_the_others(cli: Cli, sample: Path, names: Path) -> None:
    done = cli("compat", names, "-k", sample, names)
    assert done.code == 1
    assert "no_such_function" in done.out and f"{names}:" in done.out


def test_no_emulator_is_loaded(sample: Path, names: Path) -> None:
    """In a process of its own, nor what only some sources and kernels need."""
    program = (
        "import sys; from kprobesim.cli.main import main\n"
        "assert main(sys.argv[1:]) == 1\n"
        "heavy = {'unicorn', 'capstone', 'duckdb', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    words = ["compat", str(names), "-k", str(sample)]
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
