"""``compat --ask``: what the kernel itself says is shown, and a difference as such."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any, ClassVar

import pytest

from kprobesim.asking.ask import Answer as Said
from kprobesim.compat.kinds import Kind
from kprobesim.compat.run import compatibility
from kprobesim.errors import AskingError
from kprobesim.sources.wanted import Interface


class Saying:
    """A kernel that says what it is told to: nothing boots."""

    says: ClassVar[dict[str | None, Said]] = {}
    asked: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, path: Path, modules: list[str], progress: object, **more: object) -> None:
        if not path.name.endswith(".elf"):
            raise AskingError(f"{path} has no type information")

    def point(self, symbol: str | None, offset: int = 0, **how: Any) -> Said:
        self.asked.append({"symbol": symbol, "offset": offset, **how})
        return self.says.get(symbol, Said(0))


@pytest.fixture
def saying(monkeypatch: pytest.MonkeyPatch) -> type[Saying]:
    monkeypatch.setattr("kprobesim.asking.ask.Asked", Saying)
    monkeypatch.setattr(Saying, "says", {})
    monkeypatch.setattr(Saying, "asked", [])
    return Saying


def test_what_it_says_is_kept(sample: Path, saying: type[Saying], tmp_path: Path) -> None:
    probes = tmp_path / "probes.txt"
    probes.write_text("gcd\nno_such\nmix\n")
    saying.says = {"no_such": Said(errno.ENOENT), "mix": Said(errno.EBUSY)}
    found = compatibility([probes], [sample], by=Interface.REGISTER_KPROBE, ask=True)
    assert [answer.asked for answer in found.answers] == [0, errno.ENOENT, errno.EBUSY]
    assert [answer.worst.kind is Kind.DIFFERS for answer in found.answers] == [False, False, True]
    assert found.answers[2].worst.errno_name == "EBUSY" and found.exit_status() == 1
    assert "says -EBUSY" in found.answers[2].worst.message
    assert [one["events"] for one in saying.asked] == [False] * 3


def test_each_interface_is_asked_as_itself(
    sample: Path, saying: type[Saying], tmp_path: Path
) -> None:
    events = tmp_path / "kprobe_events"
    events.write_text("p:a/b gcd\nr:a/c mix\n")
    script = tmp_path / "a.bt"
    script.write_text("kprobe:gcd { } tracepoint:sched:sched_switch { }")
    compatibility([events, script], [sample], ask=True)
    assert [(one["symbol"], one["kretprobe"], one["events"]) for one in saying.asked] == [
        ("gcd", False, True),
        ("mix", True, True),
        ("gcd", False, True),
    ]


def test_a_kernel_that_cannot_be_asked_keeps_its_answers(
    sample: Path, saying: type[Saying], tmp_path: Path
) -> None:
    probes = tmp_path / "probes.txt"
    probes.write_text("gcd\n")
    copy = tmp_path / "vmlinux"
    copy.write_bytes(sample.read_bytes())
    found = compatibility([probes], [copy], ask=True)
    assert [answer.asked for answer in found.answers] == [None]
    assert ["no type information" in problem.message for problem in found.problems] == [True]
    assert found.exit_status() == 1
