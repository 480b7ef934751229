"""Promises about the whole: every rule has a test, every command and error documents itself."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

import pytest

import kprobesim
from kprobesim.cli.main import _make_parser
from kprobesim.errors import Reason

TESTS = Path(__file__).parents[1]


def test_every_reason_has_a_test() -> None:
    texts = "\n".join(path.read_text() for path in TESTS.rglob("test_*.py") if path.parent != TESTS)
    named = set(re.findall(r"Reason\.([A-Z_]+)", texts))
    by_value = {reason.name for reason in Reason if f'"{reason.value}"' in texts}
    assert {reason.name for reason in Reason} - named - by_value == set()


def _commands() -> dict[str, argparse.ArgumentParser]:
    actions = _make_parser()._actions
    (subparsers,) = (one for one in actions if isinstance(one, argparse._SubParsersAction))
    return dict(subparsers.choices)


def _actions(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """The actions of a command that has some, each with options of its own."""
    several = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    return [action for one in several for action in one.choices.values()]


@pytest.mark.parametrize("name", _commands())
def test_every_command_documents_itself(name: str) -> None:
    parser = _commands()[name]
    assert parser.description, "what does the command do?"
    assert re.search(rf"kprobesim {name}\b", parser.epilog or ""), (
        "an example belongs in the epilog"
    )
    for each in [parser, *_actions(parser)]:
        for action in each._actions:
            assert action.help, f"{each.prog}: {action.option_strings or action.dest} has no help"
    options = {
        option
        for each in [parser, *_actions(parser)]
        for action in each._actions
        for option in action.option_strings
    }
    assert "--json" in options or name == "demo"  # a story for people


def test_every_public_name_documents_itself() -> None:
    undocumented = [
        name
        for name in kprobesim.__all__
        if not name.startswith("__") and callable(getattr(kprobesim, name))
        if not getattr(kprobesim, name).__doc__
    ]
    assert undocumented == []


def test_answers_from_files_need_no_emulator(sample: Path, tmp_path: Path) -> None:
    """Nobody who only asks what a kernel would do pays for a CPU."""
    names = tmp_path / "names.txt"
    names.write_text("gcd\n")
    program = f"""
import sys
from kprobesim.cli.main import main
kernel, names, kept = {str(sample)!r}, {str(names)!r}, {str(tmp_path / "kept")!r}
for words in (
    ["check", kernel, "gcd"],
    ["compat", names, "-k", kernel],
    ["diff", kernel, kernel],
    ["types", kernel, "gcd"],
    ["catalog", "build", kernel, "-o", kept],
    ["compat", names, "-k", kept],
):
    main(words)
    assert "unicorn" not in sys.modules, words
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
