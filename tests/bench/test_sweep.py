"""The sweep finds nothing on the sample guests, and finds a probe that is not transparent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def sweep(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark("sweep")


def test_no_difference(
    sweep: ModuleType,
    sample: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["sweep.py", str(sample), "--function", "gcd", "--json"])
    assert sweep.main() == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["differences"] == []
    assert answer["probes"] > 10
    assert answer["hits"] > 10


def test_a_handler_that_meddles_is_found(
    sweep: ModuleType, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meddle(p: Any, regs: Any, flags: int) -> None:
        regs.set_gpr(0, regs.gpr(0) + 1)

    monkeypatch.setattr(sweep, "_nothing", meddle)
    monkeypatch.setattr(sweep, "TIMEOUT", 0.3)
    monkeypatch.setattr(sweep, "ARGUMENTS", ("plausible",))
    one = sweep.Sweep(str(sample), 1)
    one.run(one.plain.symbols["gcd"])
    assert one.differences
    assert "--function gcd@0x" in one.differences[0].command
