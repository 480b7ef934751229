"""What needs a library that is not installed says how to install it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from kprobesim import CalledKernel, Kernel, UsageError
from kprobesim.programs import arg
from kprobesim.trace.session import Trace

_ASKED: dict[str, tuple[str, Callable[[Trace, Any], object]]] = {
    "pyarrow": ("frames", lambda trace, counts: trace.to_arrow()),
    "polars": ("frames", lambda trace, counts: trace.to_polars()),
    "pandas": ("frames", lambda trace, counts: trace.to_pandas()),
    "numpy": ("jit", lambda trace, counts: trace.to_numpy()),
    "numpy of counts": ("jit", lambda trace, counts: counts.to_numpy()),
}


@pytest.fixture(scope="module")
def traced() -> tuple[Trace, Any, Any]:
    k: CalledKernel = Kernel.sample("x86_64")
    counts, ring = k.count(["gcd", "strlen"]), k.record("gcd", n=arg(0))
    with k.trace("p gcd n=$arg1:u64") as trace:
        k.call("gcd", 12, 18)
    return trace, counts, ring


@pytest.mark.parametrize("asked", _ASKED)
def test_what_is_not_installed_is_named_with_its_extra(
    traced: tuple[Trace, Any, Any], asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace, counts, ring = traced
    module, (extra, ask) = asked.partition(" ")[0], _ASKED[asked]
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=rf"needs {module}.*pip install 'kprobesim\[{extra}\]'"):
        ask(trace, counts)
    if module == "numpy":
        with pytest.raises(UsageError, match="needs numpy"):
            ring.to_numpy()
