"""What a call of a guest function from Python costs."""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.bench.contest import Contender, Contest, Target, check, seconds
from kprobesim.bench.sizes import Sizes
from kprobesim.kernel.called import CalledKernel

__all__ = ["call_contest"]

CALL_AT_MOST_US = 8
ROW_AT_MOST_US = 3
_FUNCTION, _X, _ROOT = "int_sqrt", 100, 10
_TEXT = "kprobesim"


def call_contest(kernel: CalledKernel, sizes: Sizes) -> Contest:
    """``k.call`` with a number and with a string, and ``k.call_many``."""
    turns = sizes.python_calls

    def contender(
        key: str, label: str, do: Callable[[], object], at_most: float | None = None
    ) -> Contender:
        def run() -> float:
            return seconds(do) / turns * 1e6

        return Contender(key, label, run, None if at_most is None else Target(None, at_most))

    def numbers() -> None:
        call = kernel.call
        for _ in range(turns):
            result = call(_FUNCTION, _X)
        check(f"{_FUNCTION}({_X})", result, _ROOT)

    def strings() -> None:
        call = kernel.call
        for _ in range(turns):
            result = call("strlen", _TEXT)
        check("strlen()", result, len(_TEXT))

    rows = [(number,) for number in range(turns)]

    def many() -> None:
        results = kernel.call_many(_FUNCTION, rows)
        check("the last result", int(results[-1]), int((turns - 1) ** 0.5))

    return Contest(
        kernel.arch,
        "call",
        "a call from Python",
        "us a call",
        f"{turns:,} calls of a short function a round",
        [
            contender("number", f"k.call({_FUNCTION!r}, {_X})", numbers, CALL_AT_MOST_US),
            contender("string", f"k.call('strlen', {_TEXT!r})", strings),
            contender("many", f"k.call_many({_FUNCTION!r}, rows), a row", many, ROW_AT_MOST_US),
        ],
    )
