"""``kprobesim check --ask``: the kernel's own answers beside the rules'."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kprobesim import open_rules
from kprobesim.asking.ask import Answer

Cli = Callable[..., Any]


@pytest.fixture
def saying(monkeypatch: pytest.MonkeyPatch) -> dict[str | None, Answer]:
    """What a kernel is to say, by symbol: nothing boots."""
    answers: dict[str | None, Answer] = {}

    class Saying:
        def __init__(self, path: str, modules: list[str], progress: object, **more: object) -> None:
            answers["modules"] = Answer(None, ",".join(modules))

        def point(self, symbol: str | None, offset: int = 0, **how: Any) -> Answer:
            return answers.get(symbol, Answer(0))

    monkeypatch.setattr("kprobesim.asking.ask.Asked", Saying)
    return answers


def test_the_kernel_agrees(cli: Cli, sample: Path, saying: dict[str | None, Answer]) -> None:
    saying["no_such"] = Answer(errno.ENOENT)
    out = cli("check", sample, "gcd", "no_such", "--ask")
    assert out.code == 1 and "accepts it, too" in out.out and "-ENOENT, too" in out.out
    data = cli("check", sample, "gcd", "--ask", "--json").data
    assert data["asked"] == {"errno": 0, "problem": "", "differs": False}
    assert data["errno"] == open_rules(sample).check("gcd").errno


def test_a_difference_is_shown(cli: Cli, sample: Path, saying: dict[str | None, Answer]) -> None:
    saying["gcd"] = Answer(errno.EBUSY)
    out = cli("check", sample, "gcd", "--ask")
    assert out.code == 1 and "-EBUSY, which differs from the rules" in out.out
    saying[None] = Answer(errno.EBUSY)
    assert "differs" in cli("check", sample, "--all", "gcd", "--ask").out


def test_points_of_a_file(
    cli: Cli, sample: Path, saying: dict[str | None, Answer], tmp_path: Path
) -> None:
    lines = tmp_path / "points.csv"
    lines.write_text("symbol,offset\ngcd,0\nnfs:a,0\nmix,0\n")
    saying["mix"] = Answer(None, "the guest died")
    out = cli("check", sample, "--from", lines, "--ask")
    assert out.out.count('"differs": false') == 2  # one has no answer, one is unknown to the rules
    assert '"problem": "the guest died"' in out.out
    assert saying["modules"].problem == "nfs"
