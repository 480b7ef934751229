"""Random programs, as strategies of hypothesis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from kprobesim.errors import UsageError
from kprobesim.programs import (
    Action,
    Count,
    Histogram,
    Linear,
    Log2,
    Maximum,
    Minimum,
    Program,
    Record,
    Sum,
    Value,
    arg,
    const,
)

__all__ = ["programs"]

_WIDTHS = "u8 u16 u32 u64 s8 s16 s32 s64".split()
_OPERATORS = "+ - * // % & | ^ << >> == != < <= > >=".split()
_EDGES = [0, 1, -1, 2, 7, 63, 64, 255, 4096, -4096, (1 << 31) - 1, 1 << 31, (1 << 63) - 1, -1 << 63]


def _apply(draw: st.DrawFn, operator: str, left: Value, right: Value | int) -> Value:
    """An operation; one that is refused is tried with numbers that have a sign."""
    scope = {"left": left, "right": right}
    try:
        value: Value = eval(f"left {operator} right", scope)
    except UsageError:
        scope = {"left": left.s64, "right": right.s64 if isinstance(right, Value) else 3}
        value = eval(f"left {operator} right", scope)
    return value


@st.composite
def numbers(draw: st.DrawFn, pointers: Sequence[Value], facts: Sequence[Value]) -> Value:
    """A tree of a few nodes that gives an integer, and now and then a fault."""
    pool: list[Any]
    leaves: list[Value] = [
        *(arg(n) for n in range(3)),
        *facts,
        const(draw(st.sampled_from(_EDGES))),
        *(pointer.deref(draw(st.integers(0, 56))) for pointer in pointers),
    ]
    value = draw(st.sampled_from(leaves))
    for _ in range(draw(st.integers(0, 4))):
        step = draw(st.integers(0, 3))
        if step == 0:
            value = getattr(value, draw(st.sampled_from(_WIDTHS)))
        elif step == 1:
            pool = [*leaves, *_EDGES]
            other = draw(st.sampled_from(pool))
            if draw(st.booleans()):
                value = value.s64
            value = _apply(draw, draw(st.sampled_from(_OPERATORS)), value, other)
        elif step == 2:
            masked = value.u64 & 0x3F
            value = (draw(st.sampled_from(pointers)) + masked).deref(0)
            value = getattr(value, draw(st.sampled_from(_WIDTHS)))
        else:
            value = -value if draw(st.booleans()) else ~value
    return value


@st.composite
def conditions(draw: st.DrawFn, pointers: Sequence[Value], facts: Sequence[Value]) -> Value:
    """A truth of one to three comparisons."""
    ints = numbers(pointers, facts)
    condition: Value = draw(ints).s64 > draw(st.sampled_from(_EDGES[:12]))
    for _ in range(draw(st.integers(0, 2))):
        other: Value = draw(ints).s64 != draw(ints).s64
        operator = draw(st.sampled_from("&|^"))
        condition = eval(f"one {operator} other", {"one": condition, "other": other})
    return ~condition if draw(st.booleans()) else condition


@st.composite
def programs(
    draw: st.DrawFn, pointers: Sequence[Value], facts: Sequence[Value], texts: Sequence[Value] = ()
) -> Program:
    """A program of one to three actions, with a condition or without.

    Args:
        draw: Hypothesis's.
        pointers: What may point to memory.
        facts: Other numbers that are known at a hit.
        texts: Strings that are.
    """
    ints = numbers(pointers, facts)
    strings = st.builds(
        lambda pointer, bound: pointer.string.upto(bound),
        st.sampled_from(pointers),
        st.integers(2, 40),
    ) | st.sampled_from([*texts, const(0).string])
    keys = st.lists(st.one_of(ints, strings), max_size=2).map(tuple)
    scales = st.sampled_from([Log2(), Linear(-10, 100, 10), Linear(0, 4096, 512)])
    actions: st.SearchStrategy[Action] = st.one_of(
        st.builds(Count, keys),
        st.builds(Sum, ints, keys),
        st.builds(Minimum, ints, keys),
        st.builds(Maximum, ints, keys),
        st.builds(Histogram, ints, keys, scale=scales),
        st.builds(
            Record,
            st.dictionaries(st.sampled_from("abcdefgh"), st.one_of(ints, strings), min_size=4),
            capacity=st.sampled_from([1, 3, 64]),
            full=st.sampled_from(["drain", "drop"]),
        ),
    )
    when = draw(st.none() | conditions(pointers, facts))
    return Program(draw(st.lists(actions, min_size=1, max_size=3)), when)
