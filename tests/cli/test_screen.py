"""One column of times for the console's lines and the hits between them."""

from __future__ import annotations

import re
from typing import Any, cast

import pytest

from kprobesim.boot.console import Console
from kprobesim.cli.screen import Screen
from kprobesim.kernel.booted import BootedKernel


class Registers:
    def arg(self, number: int) -> int:
        return number


class Booted:
    """As much of a kernel as a screen looks at; its time goes on with each look."""

    def __init__(self) -> None:
        self.console = Console()
        self.machine: Any = type("M", (), {"regs": Registers()})
        self.ticks = 0

    @property
    def time(self) -> float:
        self.ticks += 1
        return self.ticks / 1000


def test_lines_and_hits_have_one_monotone_column(capsys: pytest.CaptureFixture[str]) -> None:
    kernel = Booted()
    screen = Screen(cast(BootedKernel, kernel), stamps=True)
    for piece in (b"[    9.000000] one\r\ntw", b"o", b"\n\n", b"hal"):
        kernel.console.put(piece)
    screen.hit({"hit": 1, "time": kernel.time, "place": "f+0x0/0x10", "comm": "sh", "pid": 7})
    kernel.console.put(b"f\n")
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("] ")[2] for line in lines] == [
        "[    9.000000] one",
        "two",
        "",
        "hal",
        "hit 1 f+0x0/0x10  sh-7  0x0 0x1 0x2 0x3",
        "f",
    ]
    times = [float(re.match(r"\[ *([\d.]+)\]", line)[1]) for line in lines]  # type: ignore[index]
    assert times == sorted(times)


def test_without_probes_the_console_is_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    kernel = Booted()
    Screen(cast(BootedKernel, kernel))
    kernel.console.put(b"one\r\ntwo\n")
    assert capsys.readouterr().out == "one\ntwo\n"
