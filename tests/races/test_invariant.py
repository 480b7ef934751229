"""Invariants as texts: what they mean, what they say when they do not hold, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from kprobesim import CalledKernel, Invariant, UsageError, call

MEMORY = bytes(range(0xF0, 0x100))
RESULTS: dict[str, Any] = {"a": 3, "b": [1, (1 << 64) - 12], "c": 0}
COUNTS = {"a": 1, "b": 2, "c": 1}


def read(address: int, size: int) -> bytes:
    return MEMORY[address - 0x1000 :][:size]


def said(text: str) -> object:
    address_of = {"symbol": 0x1000}.get
    return Invariant(text, {"m": 0x1008}).of(read, address_of, COUNTS)(RESULTS)


@pytest.mark.parametrize(
    "text",
    [
        "a == 3",
        "a != b[0] and not c",
        "1 < a <= 3",
        "s64(b[1]) == -ENOMEM",
        "s32(b[1]) + 12 == 0",
        "u8(b[1]) == 0xf4",
        "u8(m) == 0xf8 and s8(m + 1) == -7",
        "u16(symbol) == 0xf1f0",
        "u32(symbol + 4 * 1) == 0xf7f6f5f4",
        "u64(m) >> 56 == 0xff",
        "(a ^ 1) & ~0 == 2 | 0",
        "7 // 2 % 2 - 1 == 0 << 3",
    ],
)
def test_what_holds(text: str) -> None:
    assert said(text) is True


def test_what_does_not_hold_is_told_with_what_was_there() -> None:
    told = said("a == 4 and u16(m) == 1")
    assert told == (
        "a == 4 and u16(m) == 1 does not hold: "
        "a = 3, b = [1, 0xfffffffffffffff4], c = 0, u16(m) = 63992"
    )


@pytest.mark.parametrize("text", ["a // c", "1 << a << 300", "b + 1", "a << -1 == 0"])
def test_what_has_no_value_does_not_hold(text: str) -> None:
    assert "has no value" in str(said(text))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is no expression"),
        ("a = 1", "is no expression"),
        ("a !=", "is no expression"),
        ("(" * 5000, "characters|is no expression"),
        ("d == 1", "there is no d: the results are a, b, c"),
        ("a.real", "is none of"),
        ("__import__('os')", "the functions are u8"),
        ("u8(m, m)", "the functions are u8"),
        ("a == 'x'", "is no whole number"),
        ("a == 1.5", "is no whole number"),
        ("a in b", "the comparisons are"),
        ("a ** 9", "the operators are"),
        ("b[2] == 0", r"the last result is b\[1\]"),
        ("a[0] == 0", r"write b\[1\]"),
        ("[x for x in b]", "is none of"),
    ],
)
def test_what_is_refused(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        said(text)


def test_a_race_takes_a_text(guest: CalledKernel) -> None:
    fork = call("do_fork", 0, 0)
    found = guest.race(a=fork, b=fork, invariant="a != b", data_races=False)
    assert found.failure is not None
    assert "a != b does not hold: a = " in found.failure.message
    with pytest.raises(UsageError, match="no c"):
        guest.race(a=fork, b=fork, invariant="a != c")
