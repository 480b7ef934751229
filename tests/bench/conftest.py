"""Loads the scripts of ``benchmarks/``, which are in no package."""

from __future__ import annotations

import gc
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def nothing_to_collect() -> Iterator[None]:
    """A contest collects garbage before each turn: let it not walk all that other tests keep."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "unfreeze", lambda: None)  # as each contest does at its end
        yield


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """``benchmark("sweep")`` is ``benchmarks/sweep.py`` as a module, fresh for each test."""

    def load(name: str) -> ModuleType:
        alias = f"benchmarks_{name}"
        spec = importlib.util.spec_from_file_location(alias, BENCHMARKS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, alias, module)  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module

    return load
