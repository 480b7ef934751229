"""The sweep finds nothing on the sample guests, and finds a probe that is not transparent."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "sweep.py"
FUNCTIONS = ("gcd", "strlen", "kprobe_target")


@pytest.fixture
def sweep(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("sweep", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "sweep", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_difference(
    sweep: ModuleType,
    sample: Path,
    function: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["sweep.py", str(sample), "--function", function, "--json"])
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
    monkeypatch.setattr(sweep, "TIMEOUT", 1.0)
    one = sweep.Sweep(str(sample), 1)
    one.run(one.plain.symbols["gcd"])
    assert one.differences
    assert "--function gcd@0x" in one.differences[0].command
