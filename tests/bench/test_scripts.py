"""Every script of ``benchmarks/`` runs to its end, with tiny sizes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
TINY = {
    "boot": "--rounds 1 --until Booting",
    "catalogs": "--sample --probes 5 --kernels 3",
    "dispatch": "--many 50 --turns 2000 --places 20 --until Booting",
    "image_load": "",
    "reset": "--rounds 1 --until Booting",
    "resume": "--rounds 1 --until Booting",
    "sweep": "--function strlen",
}
"""The options with which each script is quick; it gets an image besides."""


def run(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{script}.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_script_is_run_here() -> None:
    assert {path.stem for path in BENCHMARKS.glob("*.py")} == set(TINY)


@pytest.mark.parametrize("script", TINY)
def test_its_text_shows_how_it_is_called(script: str) -> None:
    text = (BENCHMARKS / f"{script}.py").read_text()
    assert f"\n    python benchmarks/{script}.py" in text.split('"""')[1]


@pytest.mark.parametrize("script", TINY)
def test_it_measures_and_says_so(script: str, real_arm64_image: Path) -> None:
    lines = run(script, str(real_arm64_image), "--json", *TINY[script].split()).splitlines()
    figures = [json.loads(line) for line in lines if line.startswith("{")]
    assert figures
    assert all(figures)
