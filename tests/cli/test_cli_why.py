"""``kprobesim why``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Cli = Callable[..., Any]
CALL = 'do_sys_open(0, "/nowhere", 0, 0)'


def test_the_branch_is_told(cli: Cli, sample: Path) -> None:
    outcome = cli("why", sample, CALL, "--failures")
    assert outcome.code == 0
    assert "do_sys_open returned -2 (-ENOENT)" in outcome.out
    assert "decided in lookup_file" in outcome.out
    assert "first failure: lookup_file returned -ENOENT" in outcome.out
    assert "failed: do_sys_openat2 returned -ENOENT" in outcome.out
    data = cli("why", sample, CALL, "--json").data
    assert data["branch"]["function"] == "lookup_file"


def test_another_error_is_refused(cli: Cli, sample: Path) -> None:
    outcome = cli("why", sample, CALL, "--errno", "EINVAL")
    assert outcome.code == 2
    assert "it returned -2 (-ENOENT), not -EINVAL" in outcome.err


def test_a_graph_by_the_command_trace(cli: Cli, sample: Path) -> None:
    outcome = cli("trace", sample, "--graph", "do_sys_openat2", "--", CALL)
    assert outcome.code == 0
    assert "|  do_sys_openat2() {" in outcome.out
    assert "|    lookup_file() {" in outcome.out
    data = cli("trace", sample, "--graph", "do_sys_openat2", "--json", "--", CALL).data
    assert [call["function"] for call in data["graph"][0]["calls"]][-1] == "lookup_file"
    outcome = cli("trace", sample, "--graph", "gcd", "-e", "p gcd", "--", "gcd(1, 2)")
    assert (outcome.code, "leave -e out" in outcome.err) == (2, True)
