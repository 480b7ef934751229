"""Filters: what they are true of, and how they are refused."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from kprobesim import CalledKernel
from kprobesim.dynevent import fetch as f
from kprobesim.dynevent.definition import ProbeArgument, ProbeDefinition
from kprobesim.dynevent.fetch_type import FETCH_TYPES, FetchType
from kprobesim.programs import arg
from kprobesim.programs.patterns import glob, literal
from kprobesim.trace.fetching import Fetching
from kprobesim.trace.field_values import ProbeFields
from kprobesim.trace.filters.condition import condition
from kprobesim.trace.filters.error import FilterError
from kprobesim.trace.filters.event_filter import apply_filter, fields_of
from kprobesim.trace.filters.field import Field, Fields
from kprobesim.trace.filters.numbers import cpu_list, kstrtoll, kstrtoull
from kprobesim.trace.filters.parse import parse_filter

LATEST = (7, 3, 4)
FIRST = {"x86_64": "%di", "arm64": "%x0"}


@dataclass
class Facts:
    """A kernel that knows one function."""

    version: tuple[int, ...] = LATEST
    cpu_bits: int = 8

    def function(self, place: str | int) -> tuple[int, int] | None:
        return (0x1000, 0x1100) if place in ("gcd", 0x1010) else None


OWN = (
    Field("__probe_ip", "unsigned long", 8),
    Field("n", "u8", 1),
    Field("s", "s16", 2, signed=True),
    Field("text", "__data_loc char[]", 4, signed=True),
)

# As guests of 5.10 to 7.3 answered: what, errno, the error's name, its column.
REFUSED = (
    ("zz == 1", errno.EINVAL, "FIELD_NOT_FOUND", 3),
    ("n", errno.EINVAL, "INVALID_OP", 2),
    ("n = 1", errno.EINVAL, "INVALID_OP", 3),
    ("n ==", errno.EINVAL, "INVALID_VALUE", 5),
    ("n == x", errno.EINVAL, "INVALID_VALUE", 6),
    ('n == "x"', errno.EINVAL, "EXPECT_DIGIT", 6),
    ("n ~ 3", errno.EINVAL, "ILLEGAL_FIELD_OP", 5),
    ("n == 08", errno.EINVAL, "ILLEGAL_INTVAL", 6),
    ("n == -1", errno.EINVAL, "ILLEGAL_INTVAL", 6),
    ("n == 000000000000000000000001", errno.EINVAL, "OPERAND_TOO_LONG", 30),
    ("text == 3", errno.EINVAL, "EXPECT_STRING", 9),
    ('text < "x"', errno.EINVAL, "ILLEGAL_FIELD_OP", 8),
    ('text == "x', errno.ESRCH, "MISSING_QUOTE", 8),
    ("(n == 1", errno.ENOENT, "TOO_MANY_OPEN", 0),
    ("n == 1 && (s == 1 || (s == 2)", errno.ENOENT, "TOO_MANY_OPEN", 10),
    ("n == 1)", errno.EPERM, "TOO_MANY_CLOSE", 6),
    ("n == 1 s == 2", errno.EPERM, "TOO_MANY_PREDS", 7),
    ("n == 1 & s == 2", errno.EPERM, "TOO_MANY_PREDS", 7),
    ("n == 1 &&", errno.EINVAL, "INVALID_FILTER", 9),
    ("!", errno.EINVAL, "NO_FILTER", 1),
    ("()", errno.EINVAL, "", 0),
    ("&& n == 1", errno.EPERM, "", 0),
    ("CPU == CPUS", errno.EINVAL, "MISSING_BRACE_OPEN", 13),
    ("CPU == CPUS{0", errno.EINVAL, "MISSING_BRACE_CLOSE", 14),
    ("CPU == CPUS{9}", errno.EINVAL, "INVALID_CPULIST", 14),
    ("text == CPUS{0}", errno.EINVAL, "ILLEGAL_FIELD_OP", 9),
    ("n.function == gcd", errno.EINVAL, "ILLEGAL_FIELD_OP", 15),
    ("__probe_ip.function == none", errno.EINVAL, "NO_FUNCTION", 28),
)


@pytest.mark.parametrize(("text", "number", "name", "column"), REFUSED, ids=[r[0] for r in REFUSED])
def test_refusals(text: str, number: int, name: str, column: int) -> None:
    with pytest.raises(FilterError) as caught:
        parse_filter(text, Fields(OWN, LATEST), Facts())
    error = caught.value
    assert (error.errno, error.id, error.column) == (number, name, column)
    shown, last = error.shown.splitlines()[1:3] if name else ("^", "parse_error")
    assert shown.index("^") == min(column, len(text))
    assert last.startswith("parse_error")


def test_a_refusal_reads_as_the_kernels_files_do() -> None:
    with pytest.raises(FilterError) as caught:
        parse_filter("zz == 3", Fields(OWN, LATEST), Facts())
    assert caught.value.shown == "zz == 3\n   ^\nparse_error: Field not found\n"
    assert caught.value.entry == (
        "event filter parse error: error: Field not found\n  Command: zz == 3\n              ^\n"
    )


def test_old_kernels_take_a_filter_that_ends_in_an_operator() -> None:
    old = Facts(version=(5, 10, 223))
    parse_filter("n == 1 &&", Fields(OWN, old.version), old)
    with pytest.raises(FilterError, match="Error"):
        parse_filter("n == 1 || s == 2 &&", Fields(OWN, old.version), old)
    with pytest.raises(FilterError, match="Field not found"):
        parse_filter("stacktrace == 1", Fields(OWN, old.version), old)


def test_numbers_are_read_as_the_kernel_reads_them() -> None:
    assert [kstrtoull(text) for text in ("0x1F", "017", "9", "0", "18446744073709551615")] == [
        31, 15, 9, 0, (1 << 64) - 1,
    ]  # fmt: skip
    assert {kstrtoull(text) for text in ("", "0x", "08", "-1", "1e", "18446744073709551616")} == {
        None
    }
    assert kstrtoll("-9223372036854775808") == -1 << 63
    assert kstrtoll("9223372036854775808") is None
    assert cpu_list("0-2,5", 8) == frozenset({0, 1, 2, 5})
    assert cpu_list("0-7:1/2", 8) == frozenset({0, 2, 4, 6})
    assert cpu_list("N,all", 2) == frozenset({0, 1})
    assert cpu_list("8", 8) is cpu_list("x", 8) is cpu_list("3-1", 8) is None


def test_globs() -> None:
    cases: Sequence[tuple[bytes, bytes, bool]] = (
        (b"a*c", b"abbc", True),
        (b"a*c", b"abbcd", False),
        (b"?b", b"ab", True),
        (b"[a-c]x", b"bx", True),
        (b"[!a-c]x", b"bx", False),
        (b"[]]x", b"]x", True),
        (b"[ab", b"[ab", True),
        (rb"\*", b"*", True),
        (rb"\*", b"a", False),
        (b"*a*a*", b"ba", False),
    )
    assert [glob(pattern).matches(text) for pattern, text, _ in cases] == [c[2] for c in cases]
    assert literal(b"a", behind=True).matches(b"ab")
    assert not literal(b"a", behind=True).matches(b"ba")


def define(guest: CalledKernel) -> None:
    at = f.Argument(1)
    array = FetchType("u8", 8, "u8", count=2)
    arguments = (
        ProbeArgument("n", "", at, FETCH_TYPES["u8"]),
        ProbeArgument("s", "", f.Argument(2), FETCH_TYPES["s16"]),
        ProbeArgument("text", "", f.Deref(at, 0), FETCH_TYPES["string"]),
        ProbeArgument("pair", "", f.Deref(at, 0), array),
    )
    guest.tracing.add(ProbeDefinition("p", "t", "e", "gcd", arguments, ()))
    guest.tracing.events["t/e"].enabled = True


def hit(guest: CalledKernel) -> None:
    """Call it three times; s is -1, 0 and 1, n 0x40, 0x60 and 0x10."""
    page = -(-guest.alloc(512) // 256) * 256
    for number, word in enumerate(("/etc/passwd", "/etc/group", None)):
        at = 0x10
        if word is not None:
            at = page + 0x40 + 0x20 * number
            guest.write(at, word.encode() + b"\0")
        guest.call("gcd", at, (number - 1) & 0xFFFF)


def recorded(guest: CalledKernel, text: str) -> list[int]:
    """Which of the three hits a filter lets pass."""
    apply_filter(guest.tracing.events["t/e"], text, Facts())
    guest.tracing.buffer.clear()
    hit(guest)
    return [entry.fields["s"] + 1 for entry in guest.tracing.buffer]


def test_what_filters_are_true_of(guest: CalledKernel) -> None:
    define(guest)
    event = guest.tracing.events["t/e"]
    cases = {
        "s < 0": [0],
        "s == -1 || s == 1": [0, 2],
        "!(s == -1 || s == 1)": [1],
        "s >= 0 && !s == 1": [1],
        "n == 0x10": [2],
        "n == 0x110": [2],
        "s & 1": [0, 2],
        'text ~ "*pass*"': [0],
        'text ~ "/etc/*"': [0, 1],
        'text ~ "*p"': [1],
        'text ~ "!*p"': [0, 2],
        'text ~ "/*/[!p]r*"': [1],
        'text != "/etc/group"': [0, 2],
        'text == "/etc/group"': [1],
        'text == ""': [2],
        f"pair == {int.from_bytes(b'/e', 'little'):#x}": [0, 1],
        "CPU == 0": [0, 1, 2],
        "CPU & CPUS{0-1}": [0, 1, 2],
        "CPU == CPUS{0-1}": [],
        f"__probe_ip == {guest.symbols['gcd'].address:#x}": [0, 1, 2],
        "__probe_ip.function == gcd": [],
    }
    own = fields_of(event, LATEST)
    values = Fetching(guest.arch, (6, 1), lambda symbol: 0)
    fields = ProbeFields(
        event.definition,
        values.values(event.definition),
        event.id,
        name=lambda address: f"{address:#x}",
        context=lambda word: (word & 1, 7),
    )
    rings = {}
    for text in cases:
        when = condition(parse_filter(text, own, Facts()), fields)
        rings[text] = guest.record("gcd", s=arg(1).s16, when=when, compiled=False)
    hit(guest)
    assert {text: [r.s + 1 for r in ring] for text, ring in rings.items()} == cases


def test_compiled_filters_let_the_same_pass(guest: CalledKernel) -> None:
    define(guest)
    assert recorded(guest, 'text ~ "/*/[!p]r*" && s > -2 || pair == 0') == [1, 2]
    assert recorded(guest, "!(n != 0x10 || CPU & CPUS{1-2})") == [2]
    (probe,) = guest.tracing.events["t/e"].probes
    assert probe.planted is not None
    assert probe.planted.compiled
    assert probe.hits == 6


def test_a_refused_filter_leaves_none(guest: CalledKernel) -> None:
    define(guest)
    event = guest.tracing.events["t/e"]
    assert recorded(guest, " s > -2  ") == [0, 1, 2]
    assert event.filter == " s > -2"
    with pytest.raises(FilterError):
        apply_filter(event, "zz > 0", Facts())
    assert event.filter == "zz > 0\n   ^\nparse_error: Field not found\n"
    assert event.predicate is None
    assert recorded(guest, " 0 \n") == [0, 1, 2]
    assert event.filter == "none"


def test_filters_that_python_looks_at(guest: CalledKernel) -> None:
    fetch = FIRST[guest.arch]
    guest.kprobe_events.command(rf'p:t/named gcd by={fetch}:symstr then=\"+" n=\3')
    guest.kprobe_events.command("r:t/back gcd value=$retval")
    named, back = guest.tracing.events["t/named"], guest.tracing.events["t/back"]
    named.enabled = back.enabled = True
    start = guest.symbols["gcd"].address
    passing = {
        'by ~ "gcd+0x4/*+"': 1,
        'by ~ "*+" && then == "+"': 2,
        'by != "0x0+"': 2,
        "common_flags == 0 && common_preempt_count < 1 && n == 3": 2,
        "common_flags & 0xff": 0,
    }
    for number, (text, count) in enumerate(passing.items(), 1):
        apply_filter(named, text, Facts())
        apply_filter(back, text.replace("n ==", "value !=") if "common" in text else "0", Facts())
        guest.tracing.buffer.clear()
        for offset in (4, 0):
            guest.call("gcd", start + offset, 0)
        names = [entry.name for entry in guest.tracing.buffer]
        assert names.count("named") == count, text
        assert names.count("back") == (count if "common" in text else 2), text
        assert named.hits == back.hits == 2 * number
