"""The table for people: narrow, the worst first, and told once what many kernels say."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from kprobesim.compat.finding import Answer, AskedKernel, Compatibility, Finding, Unread
from kprobesim.compat.kinds import Kind, Level
from kprobesim.compat.table import table
from kprobesim.sources.wanted import Interface, Wanted

_RELEASES = [f"{series}.{minor}-cloud" for series in ("5.10", "6.1", "6.12") for minor in range(9)]
KERNELS = tuple(
    AskedKernel(f"{release}.deb", release, release, "x86_64" if n % 2 else "arm64")
    for n, release in enumerate(_RELEASES)
)
FINE = Finding(Kind.FTRACE, "through ftrace")
GONE = Finding(Kind.ABSENT, "there is no gone", errno.ENOENT, instead=("there",))
PART = Finding(Kind.PARTLY_INLINED, "some calls are not seen", certainty="likely", found_by="code")


def _compatibility(rows: Mapping[str, Sequence[Finding]], **more: object) -> Compatibility:
    answers = [
        Answer(Wanted(name, "a.bt", line, Interface.KPROBE_PERF, name), kernel, (finding,))
        for line, (name, findings) in enumerate(rows.items(), 1)
        for kernel, finding in zip(KERNELS, findings, strict=True)
    ]
    return Compatibility((), KERNELS, tuple(answers), **{"problems": (), **more})  # type: ignore[arg-type]


def _text(found: Compatibility, allowed: Sequence[Kind] = ()) -> list[str]:
    return ["".join(part for part, _ in line) for line in table(found, allowed)]


COUNT = len(KERNELS)
MIXED = {
    "fine": [FINE] * COUNT,
    "silent": [PART] * COUNT,
    "gone_late": [FINE] * 18 + [GONE] * 9,
    "gone": [GONE] * COUNT,
}


def test_the_worst_come_first_in_columns_by_release() -> None:
    lines = _text(_compatibility(MIXED))
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["5.10", "6.1", "6.12"]
    rows = [line.split() for line in lines[2:6]]
    assert [row[0] for row in rows] == ["gone", "gone_late", "silent", "fine"]
    assert rows[1][1:] == ["f" * 9, "f" * 9, "-" * 9]


def test_what_all_kernels_say_is_told_once() -> None:
    text = "\n".join(_text(_compatibility(MIXED)))
    assert text.count("-ENOENT: there is no gone") == 2
    assert f"on all {COUNT} kernels" in text
    assert "on 6.12.0-cloud to 6.12.8-cloud, 9 kernels" in text
    assert "instead: there" in text
    assert "(likely, by code)" in text
    assert text.count("not there (absent)") == 1 and "(jump)" not in text
    assert text.endswith(f"3 of 4 probes not well on {COUNT} kernels")


def test_a_probe_that_is_listed_more_than_once_has_one_row() -> None:
    found = _compatibility(MIXED)
    again = [
        replace(answer, wanted=replace(answer.wanted, line=line))
        for line in (7, 8)
        for answer in found.answers[-COUNT:]
    ]
    lines = _text(replace(found, answers=(*found.answers, *again)))
    assert [line.split()[0] for line in lines[2:6]] == ["gone", "gone_late", "silent", "fine"]
    assert "gone  a.bt:4 and 2 more lines" in lines
    assert lines[-1] == f"5 of 6 probes not well on {COUNT} kernels"


def test_many_that_are_well_are_named_in_one_place() -> None:
    many = {f"fine_{number}": [FINE] * COUNT for number in range(20)}
    lines = _text(_compatibility({**many, "gone": [GONE] * COUNT}))
    assert [line for line in lines if line.startswith("fine_")] == []
    assert any(line.startswith(f"20 more are well on all {COUNT} kernels") for line in lines)
    assert _text(_compatibility(many))[-1] == f"20 probes well on {COUNT} kernels"


def test_a_table_that_is_too_wide_goes_on_below() -> None:
    name = "a_function_with_a_name_that_is_longer_than_its_column"
    lines = _text(_compatibility({name: [GONE] * COUNT}))
    assert max(map(len, lines)) <= 80
    assert any(line.startswith(name[:37] + "…") for line in lines)


def test_what_is_allowed_is_no_failure() -> None:
    found = _compatibility(MIXED)
    assert found.exit_status() == 1
    assert found.exit_status([Kind.ABSENT]) == 1
    assert found.exit_status([Kind.ABSENT, Kind.PARTLY_INLINED]) == 0
    assert _text(found, [Kind.ABSENT, Kind.PARTLY_INLINED])[-1].startswith("4 probes well")


def test_what_could_not_be_read_is_told_and_fails() -> None:
    problem = Unread("b.txt", 3, "is no probe")
    found = _compatibility({"fine": [FINE] * COUNT}, problems=(problem,))
    assert "b.txt:3: is no probe" in "\n".join(_text(found))
    assert found.exit_status() == 1 and found.exit_status([Kind.PROBLEM]) == 0
    assert Compatibility((), (), (), (problem,)).exit_status() == 2


@pytest.mark.parametrize("kind", Kind)
def test_every_class_looks_like_something(kind: Kind) -> None:
    assert len(kind.glyph) == 1 and kind.legend and kind.style
    worse = [other for other in Kind if other.level > kind.level]
    assert all(other.severity > kind.severity for other in worse)
    assert (kind.level >= Level.SILENT) == (kind not in _WELL)


_WELL = {
    *(Kind.FTRACE, Kind.JUMP, Kind.BREAKPOINT, Kind.ATTACHED),
    *(Kind.OPTIONAL, Kind.WAITS, Kind.TAIL_CALLED, Kind.SIGNATURE),
}


def test_glyphs_are_different() -> None:
    assert len({kind.glyph for kind in Kind}) == len(Kind)
