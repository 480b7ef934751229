"""Optional probes: forgiven alone, and in a list only if another of it attaches."""

from __future__ import annotations

import pytest

from kprobesim.compat.alternatives import forgiven, forgiven_by_alternatives
from kprobesim.compat.finding import Answer, AskedKernel, Finding
from kprobesim.compat.kinds import Kind
from kprobesim.sources.wanted import Interface, Wanted

KERNEL = AskedKernel("vmlinux", "6.1", "6.1.0", "x86_64")
ABSENT, GOOD = Finding(Kind.ABSENT, "not there"), Finding(Kind.FTRACE, "accepted")


def answer(target: str, finding: Finding, others: str = "", optional: bool = True) -> Answer:
    alternatives = tuple(name for name in others if name != target)
    wanted = Wanted(
        target, "tool", 1, Interface.KPROBE_PERF, target,
        optional=optional, alternatives=alternatives,
    )  # fmt: skip
    return Answer(wanted, KERNEL, (finding,))


def test_an_error_becomes_a_note() -> None:
    assert forgiven(ABSENT).kind is Kind.OPTIONAL
    assert "absent: not there" in forgiven(ABSENT).message
    assert forgiven(GOOD) is GOOD


@pytest.mark.parametrize(
    ("found", "kinds"),
    [
        ((ABSENT, GOOD), (Kind.OPTIONAL, Kind.FTRACE)),
        ((ABSENT, ABSENT), (Kind.ABSENT, Kind.ABSENT)),
        ((GOOD, GOOD), (Kind.FTRACE, Kind.FTRACE)),
    ],
)
def test_one_of_a_list_must_attach(found: tuple[Finding, ...], kinds: tuple[Kind, ...]) -> None:
    answers = [answer(name, one, "ab") for name, one in zip("ab", found, strict=True)]
    assert tuple(one.worst.kind for one in forgiven_by_alternatives(answers)) == kinds


def test_a_list_that_is_not_optional_is_not_forgiven() -> None:
    answers = [answer("a", ABSENT, "ab", optional=False), answer("b", GOOD, "ab", optional=False)]
    assert forgiven_by_alternatives(answers) == answers


def test_what_one_misses_another_of_the_list_may_see() -> None:
    split = Finding(Kind.SPLIT, "b took its place", instead=("b",))
    answers = [answer("a", split, "ab"), answer("b", GOOD, "ab")]
    assert [one.worst.kind for one in forgiven_by_alternatives(answers)] == [
        Kind.OPTIONAL,
        Kind.FTRACE,
    ]
    alone = [answer("a", split, "ab"), answer("b", ABSENT, "ab")]
    assert forgiven_by_alternatives(alone)[0].worst.kind is Kind.SPLIT
