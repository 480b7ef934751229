"""Regular expressions of other people: those that end soon are taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from kprobesim.errors import UsageError
from kprobesim.sources.read import read_text
from kprobesim.sources.regexes import check_regex


@pytest.mark.parametrize(
    "text",
    [
        "^ksys_*",
        r"^(?:^finish_task_switch$|^finish_task_switch\.isra\.\d$)$",
        "vfs_(read|write)",
        "(abc)+",
        r"[(a+)*]",
        r"\(a+\)*",
    ],
)
def test_usual_ones_are_taken(text: str) -> None:
    check_regex(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("(a+)+$", "repeats what repeats"),
        ("((a*)b)*$", "repeats what repeats"),
        ("(a|a)*$", "repeats what repeats"),
        (".*" * 20, "repeats what repeats"),
        ("(", "is no regular expression"),
        ("a" * 2000, "more than 1000"),
    ],
)
def test_others_are_told(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_regex(text)


def test_a_source_with_one_is_read_all_the_same() -> None:
    policy = (
        "kind: TracingPolicy\nspec:\n  lists: [{name: l, type: generated_ftrace, pattern: (a+)+}]\n"
        "  kprobes: [{call: 'list:l'}, {call: good}]\n"
    )
    tool = (
        "#!/usr/bin/python3\nfrom bcc import BPF\nb.attach_kprobe(event_re='(a+)+', fn_name='f')\n"
        "b.attach_kprobe(event='good', fn_name='f')\n"
    )
    for text in (policy, tool):
        source = read_text(text, Path("x"))
        assert [one.target for one in source.wanted] == ["good"]
        assert len(source.problems) == 1
