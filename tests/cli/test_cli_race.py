"""``kprobesim race``."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from kprobesim import BootedKernel
from kprobesim.cli import race

ROOT = Path(__file__).parent.parent.parent
Cli = Callable[..., Any]
FORKS = "a=do_fork(0, 0)", "b=do_fork(0, 0)"


def test_a_race_is_found_and_shown_again(cli: Cli, sample: Path) -> None:
    words = "race", sample, *FORKS, "--data-races", "no", "--invariant", "a != b"
    outcome = cli(*words)
    assert outcome.code == 1
    assert outcome.lines[0] == "invariant: a != b does not hold: a = 1, b = 1"
    (schedule,) = re.findall(r"schedule: (kps1:\S+) ", outcome.out)
    assert re.fullmatch(r"1 failure in \d+ schedules, [\d,]+ a second", outcome.lines[-1])
    again = cli(*words, "--schedule", schedule)
    assert again.code == 1
    assert again.lines[:2] == outcome.lines[:2]
    assert "1 failure in 1 schedule" in again.lines[-1]
    other = cli("race", sample, "do_fork(1, 0)", FORKS[1], "--schedule", schedule)
    other.refused(2, "of another race")


def test_blocks_are_named_in_calls_and_invariants(cli: Cli, sample: Path) -> None:
    blocks = "--block", "m=16", "--block", "n=8", "--first", 'memcpy(m+8, "x", 2); strlen(m+8)'
    copies = 'p=memcpy(m, "aaaaaaaa", 8); strlen(m+8)', 'q=memcpy(m, "bbbbbbbb", 8)'
    whole = "u8(m) == u8(m + 7) and p[1] == 1 and u64(n) == 0"
    data = cli(
        "race", sample, *blocks, *copies, "--data-races", "no", "--preemptions", 0, "--json"
    ).data
    assert data["schedules"] == 2
    assert data["failures"] == []
    assert data["interrupted"] is False
    torn = cli("race", sample, *blocks, *copies, "--data-races", "no", "--invariant", whole)
    assert torn.code == 1
    assert "p = [0xffff" in torn.out
    assert "u8(m) = 9" in torn.out


def test_files_and_late_stores(cli: Cli, sample: Path, tmp_path: Path) -> None:
    run, page = tmp_path / "run.perfetto-trace", tmp_path / "found.html"
    words = "race", sample, *FORKS, "--memory", "tso", "--preemptions", 0, "-o", run, "-o", page
    assert cli(*words).code == 1
    assert run.stat().st_size > 100
    text = page.read_text()
    assert text.startswith("<!DOCTYPE html>")
    assert "data race" in text and "kps1:" in text
    run.unlink()
    calm = cli("race", sample, "gcd(1, 2)", "--preemptions", 0, "-o", run)
    assert (calm.code, run.exists()) == (0, False)
    assert "nothing has failed, so there is no run to write" in calm.err


def test_in_a_module(cli: Cli, arch: str, sample: Path) -> None:
    module = ROOT / "samples" / f"races-{arch}.ko"
    calls = "spidev_write_racy()", "spidev_ioctl_racy()"
    words = "race", sample, "--module", module, "--first", "spidev_probe()", *calls
    outcome = cli(*words)
    assert outcome.code == 1
    assert outcome.out.startswith("deadlock: a on CPU 0 and b on CPU 1 wait for ever")
    assert "[kprobesim_races]" in outcome.out
    missing = cli("race", sample, "--module", "no_such", *calls)
    missing.refused(1, "no_such")


@pytest.mark.real_kernel
def test_in_a_kernel_that_has_booted(
    cli: Cli, real_image: Path, boots: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It boots on as many CPUs as there are calls, and its shell does a line before."""
    asked: list[object] = []

    def booted(path: Path, *_files: object, cpus: int = 1, **_more: object) -> BootedKernel:
        asked.append(cpus)
        kernel: BootedKernel = boots.shell(real_image, 2).kernel
        return kernel

    monkeypatch.setattr("kprobesim.asking.booted.booted_kernel", booted)
    calls = 'a=kstrtoint("12", 10, m)', 'kstrtoint("34", 10, m)'
    words = "race", real_image, "--block", "m=8", *calls, "--preemptions", 0, "--data-races", "no"
    data = cli(*words, "--run", "echo 7 > /tmp/x", "--json").data
    assert (data["schedules"], data["failures"], asked) == (2, [], [2])
    cli(*words, "--run", "false").refused(2, "--run 'false' ended with 1")
    file = tmp_path / "one.kps"
    booted(real_image).snapshot(file)
    again = cli("race", file, *words[2:], "--invariant", "u32(m) == 99")
    assert again.code == 1
    cli("race", file, "--boot", *calls).refused(2, "has booted: leave --boot out")
    cli("race", file, "msleep(1)", "msleep(1)", "msleep(1)").refused(2, "3 programs need as many")


@pytest.mark.parametrize("kind", ["pct", "random"])
def test_samples_by_options(cli: Cli, sample: Path, kind: str) -> None:
    words = "race", sample, "gcd(12, 18)", "gcd(18, 12)", "--explore", kind
    data = cli(*words, "--runs", 12, "--seed", 3, "--jobs", 2, "--json").data
    assert data["schedules"] == 12
    assert list(data["calls"]) == ["a", "b"]


def test_what_was_found_until_ctrl_c_is_told(
    cli: Cli, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def interrupt(text: str) -> None:
        told.append(text)
        if len(told) == 3:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(race, "telling", lambda: nullcontext(interrupt))
    outcome = cli("race", sample, *FORKS, "--invariant", "a != b", "--failures", 99)
    assert outcome.code == 130
    assert "a != b does not hold" in outcome.out
    assert "not all schedules were tried" in outcome.err
    assert "interrupted" in outcome.err


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["f(1)", "a=g(1)"], "two CPUs are called a"),
        (["gcd(1"], "expected , or )"),
        (["gcd(1, 2) gcd(3, 4)"], "expected ; and another call"),
        (["gcd(1, 2)"] * 9, "1 to 8"),
        (["gcd(1, 2)", "--block", "m"], "write a name and a number"),
        (["gcd(1, 2)", "--block", "m=0"], "write a name and a number"),
        (["a=gcd(1, 2)", "--block", "a=8"], "something else already"),
        (["gcd(1, 2)", "--depth", "3"], "no meaning with --explore exhaustive"),
        (["gcd(1, 2)", "--explore", "pct", "--preemptions", "3"], "no meaning with --explore pct"),
        (["gcd(1, 2)", "--explore", "pct", "--runs", "0"], "runs 0: give a positive number"),
        (["gcd(1, 2)", "--preemptions", "-1"], "preemptions -1"),
        (["gcd(1, 2)", "--failures", "0"], "no positive number"),
        (["gcd(1, 2)", "--invariant", "x > 1"], "there is no x"),
        (["explore=gcd(1, 2)"], "no CPU can be called explore"),
        (["gcd(1, 2)", "--delay", "gcd"], "give memory="),
        (["gcd(1, 2)", "-o", "x.svg"], "name it something.html or something.perfetto-trace"),
        (["gcd(1, 2)", "-o", "/no/such/x.html"], "a folder that exists"),
        (["gcd(1, 2)", "--cpus", "2"], "give --boot, too"),
        (["gcd(1, 2)", "--boot", "--module", "x/y.ko"], "--run 'modprobe y'"),
    ],
)
def test_wrong_use(cli: Cli, sample: Path, words: list[str], problem: str) -> None:
    outcome = cli("race", sample, *words)
    assert outcome.code == 2
    assert outcome.out == ""
    assert problem in outcome.err
