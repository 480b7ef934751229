"""Runs the command line in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from kprobesim.cli.main import main


@dataclass(frozen=True)
class Outcome:
    """What a command printed and its exit code."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def data(self) -> Any:
        """The JSON document; the command must have succeeded without a word of complaint."""
        assert self.code == 0
        assert self.err == ""
        return json.loads(self.out)

    def refused(self, code: int, *words: str) -> str:
        """The error: one line of ours with all ``words``, nothing else printed."""
        assert self.code == code, self.err
        assert self.out == ""
        assert self.err.startswith("kprobesim: ")
        assert self.err.count("\n") == 1
        assert "Traceback" not in self.err
        for word in words:
            assert word in self.err
        return self.err


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """``cli("info", path)`` runs a command."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run
