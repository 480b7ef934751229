"""Definitions of kprobe_events: each kernel's own grammar is asked, and told in its own words."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest
from dynevent.plain_kernel import PlainKernel

from kprobesim.compat.finding import Finding
from kprobesim.compat.judge import Judge
from kprobesim.compat.kinds import Kind
from kprobesim.sources.read import read_text


def _refusals(judge: Judge, definition: str) -> list[Finding]:
    (wanted,) = read_text(definition, Path("events")).wanted
    return [one for one in judge.answer(wanted).findings if one.kind is Kind.REFUSED]


def test_a_definition_is_read_by_the_kernels_own_grammar(
    judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = PlainKernel(judge.kernel.kernel.arch, symbols={"vfs_read": 0x1000})
    old = replace(plain.dialect, return_arguments=False, longest_body=63, group_hyphens=False)
    new = "r:e vfs_read $arg1"
    for dialect, number in ((plain.dialect, 0), (old, errno.EINVAL)):
        monkeypatch.setattr(judge.kernel, "grammar", replace(plain, dialect=dialect))
        assert [one.errno for one in _refusals(judge, new)] == [number] * bool(number)
    (refused,) = _refusals(judge, "p:e vfs_read good=@1 " + "+1234567890(" * 5 + "@1" + ")" * 5)
    assert refused.message.startswith("+1234567890(")
    assert "at most 63 characters" in refused.message
    assert "this kernel says 'Argument expression is too long'" in refused.message
    (refused,) = _refusals(judge, "p:a-b/e vfs_read")
    assert "'Group name must follow the same rules as C identifiers'" in refused.message


def test_the_first_fault_is_told_in_the_kernels_words_and_others_all_the_same(
    judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = PlainKernel(judge.kernel.kernel.arch, symbols={"vfs_read": 0x1000})
    monkeypatch.setattr(judge.kernel, "grammar", plain)
    first, second = _refusals(judge, "p:e vfs_read $comm %nobody a=%noone")
    assert "has no register nobody; this kernel says 'Invalid register name'" in first.message
    assert second.message.endswith("has no register noone")
