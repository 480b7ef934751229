"""``scripts/agreement.py``: its points, its table, and how it compares, without an archive."""

from __future__ import annotations

import json
from pathlib import Path

import agreement
import pytest

from kprobesim import open_rules


def test_points_are_many_kinds_and_always_the_same(sample: Path) -> None:
    rules = open_rules(sample)
    points = agreement.choose(rules, 200, 1)
    assert points == agreement.choose(rules, 200, 1) != agreement.choose(rules, 200, 2)
    verdicts = [rules.check(point.symbol, offset=point.offset) for point in points]
    assert len({verdict.reason for verdict in verdicts}) > 4


def test_what_differs_is_named(sample: Path, tmp_path: Path) -> None:
    """Against answers that are there already, of which one is wrong."""
    interfaces = ["register_kprobe", "kretprobe_events"]
    rules = open_rules(sample)
    points = agreement.choose(rules, 20, 1)
    kept = {
        "register_kprobe": {str(p): rules.check(p.symbol, offset=p.offset).errno for p in points},
        "kretprobe_events": {
            str(p): rules.check(p.symbol, offset=p.offset, kretprobe=True, events=True).errno
            for p in points
        },
    }
    kept["register_kprobe"][str(points[3])] ^= 1
    (tmp_path / f"{sample.stem}.json").write_text(json.dumps(kept))
    found = agreement.compare(sample, 20, 1, interfaces, tmp_path, lambda text: None)
    assert [one["point"] for one in found.differing] == [str(points[3])]
    assert found.percent("kretprobe_events") == 100
    assert found.percent("register_kprobe") == pytest.approx(95)
    assert found.percent("kprobe_events") is None
    text = agreement.table([found], interfaces)
    assert "| 95.00 % | 100.00 % |" in text


def test_a_kernel_that_cannot_be_asked_stops_nobody(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = tmp_path / "nothing.deb"
    nothing.write_bytes(b"no kernel")
    assert agreement.main([str(nothing), str(tmp_path / "absent.deb"), "--cache", str(tmp_path)])
    shown = capsys.readouterr()
    assert "nothing" in shown.out and "absent" in shown.out
