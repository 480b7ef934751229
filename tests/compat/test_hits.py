"""``compat --run``: what was counted is in the answers and in a table of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kprobesim.asking.counts import CountedPlace, Counts, Tally
from kprobesim.asking.run import LineOutcome, RunOutcome
from kprobesim.compat.finding import Hits
from kprobesim.compat.hits import Run
from kprobesim.compat.hits_table import hits_table
from kprobesim.compat.run import compatibility
from kprobesim.functions.facts import FunctionFacts, InlinedAt
from kprobesim.sources.wanted import Interface


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[CountedPlace]:
    """The places that were counted: nothing boots."""
    seen: list[CountedPlace] = []

    def run_counted(
        path: Path, places: list[CountedPlace], lines: tuple[str, ...], **options: Any
    ) -> RunOutcome:
        seen.extend(places)
        counts = [
            Counts(
                place,
                Tally(number, 0, 2 if place.copies else None),
                Tally(1234 * number, number // 2, 7 if place.copies else None),
            )
            for number, place in enumerate(places)
        ]
        counts[-1].problem = "the guest has none"
        outcomes = [LineOutcome(line, int(line == "false"), "said\n") for line in lines]
        return RunOutcome("1.0", counts, outcomes, "it died" if "die" in lines else "")

    monkeypatch.setattr("kprobesim.asking.run.run_counted", run_counted)
    return seen


def test_hits_are_told(sample: Path, counted: list[CountedPlace], tmp_path: Path) -> None:
    script = tmp_path / "a.bt"
    script.write_text("kprobe:gcd { } kretprobe:mix { } kprobe:gc* { } kprobe:strnlen+4 { }")
    names = tmp_path / "names.txt"
    names.write_text("read_word\n")
    run = Run(("ls", "false"))
    found = compatibility([script, names], [sample], by=Interface.REGISTER_KPROBE, run=run)
    assert [(place.symbol, place.offset, place.returns) for place in counted] == [
        ("gcd", 0, False),
        ("mix", 0, True),
        ("strnlen", 4, False),
        ("read_word", 0, False),
    ]
    hits = [answer.hits for answer in found.answers]
    assert hits[:3] == [Hits(), Hits(Tally(1), Tally(1234)), None]
    assert hits[3] == Hits(Tally(2), Tally(2468, 1)) and hits[4] is not None and hits[4].problem
    assert ["'false' ended with 1: said" in str(one) for one in found.problems] == [True]
    text = "\n".join("".join(part for part, _ in line) for line in hits_table(found))
    assert "never" in text and "1 + 1,234" in text and "0 + 1 more were missed" in text
    assert "not counted: the guest has none" in text
    assert max(len(line) for line in text.splitlines() if " on " not in line) <= 80


def test_where_tracepoints_are_counted(
    arch: str, sample: Path, counted: list[CountedPlace], tmp_path: Path
) -> None:
    script = tmp_path / "a.bt"
    calls = "tracepoint:syscalls:sys_enter_openat { } tracepoint:syscalls:sys_exit_openat { }"
    script.write_text(f"tracepoint:sched:sched_switch {{ }} rawtracepoint:kfree {{ }} {calls}")
    compatibility([script], [sample], run=Run(("ls",)))
    call = {"x86_64": "__x64_sys_openat", "arm64": "__arm64_sys_openat"}[arch]
    assert [(place.symbol, place.tracepoint, place.returns) for place in counted] == [
        ("sched_switch", True, False),
        ("kfree", True, False),
        (call, False, False),
        (call, False, True),
    ]


def test_calls_lost_to_inlining(
    sample: Path, counted: list[CountedPlace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = (InlinedAt("mix", address=0x1000), InlinedAt("mix"), InlinedAt("a", address=0x2000))
    monkeypatch.setattr(
        "kprobesim.compat.kernel_facts.KernelFacts.facts",
        lambda self, name: FunctionFacts(name, inlined_into=copies),
    )
    probes = tmp_path / "probes.txt"
    probes.write_text("gcd\nmix\n")
    found = compatibility([probes], [sample], run=Run(("die",)))
    assert counted[0].copies == (0x1000, 0x2000)
    assert found.answers[0].hits == Hits(Tally(lost=2), Tally(lost=7))
    text = "\n".join("".join(part for part, _ in line) for line in hits_table(found))
    assert "2 + 7 calls ran an inlined copy" in text
    assert any("it died" in problem.message for problem in found.problems)


def test_nothing_counted_is_no_table(sample: Path, tmp_path: Path) -> None:
    probes = tmp_path / "probes.txt"
    probes.write_text("gcd\n")
    assert list(hits_table(compatibility([probes], [sample]))) == []
