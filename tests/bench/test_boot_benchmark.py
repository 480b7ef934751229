"""The boot benchmark: what it reads of a process, its ratios, and boots in fresh processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def boot(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark("boot")


def test_a_process_is_timed_until_its_line_and_ended(boot: ModuleType) -> None:
    code = "import time; print('hello'); print('wanted: x', flush=True); time.sleep(60)"
    timing = boot.first_line([sys.executable, "-c", code], "wanted", dict(os.environ))
    assert timing.cpu > 0
    assert 0 < timing.wall < 30


def test_a_process_without_the_line_is_told(boot: ModuleType) -> None:
    with pytest.raises(SystemExit, match=r"ended or hung without 'wanted':\nno such thing"):
        boot.first_line(
            [sys.executable, "-c", "print('no such thing')"], "wanted", dict(os.environ)
        )


def test_ratios_are_medians_of_the_rounds_ratios(boot: ModuleType) -> None:
    def rounds(*walls: float) -> list[object]:
        return [boot.Timing(wall, wall / 2, wall - 0.5, wall - 1) for wall in walls]

    times = {
        "kprobesim": rounds(3, 4, 30),
        "with probes": rounds(3, 5, 30),
        "qemu": rounds(2, 2, 20),
    }
    first, second = boot.ratios(times)
    assert (first["of"], first["to"], first["wall"], first["cpu"]) == (
        "kprobesim",
        "qemu",
        1.5,
        1.5,
    )
    assert first["inside"] == 1.475
    assert (second["wall"], second["run"], second["at_most"]) == (1, 1, 1.05)
    del times["qemu"]
    assert [row["to"] for row in boot.ratios(times)] == ["kprobesim"]


@pytest.mark.real_kernel
def test_boots_agree(
    boot: ModuleType,
    real_arm64_image: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(boot, "REPEATS", 2)
    monkeypatch.setattr(sys, "argv", ["boot.py", str(real_arm64_image), "--determinism"])
    assert boot.main() == 0
    out = capsys.readouterr().out
    assert "all the same" in out
    assert " ns, 0 hits" not in out
