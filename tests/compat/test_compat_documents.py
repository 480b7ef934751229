"""docs/compat.md and the workflow beside it: they know what the code knows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import yaml

from kprobesim.cli.main import _make_parser
from kprobesim.compat.kinds import Kind

DOCS = Path(__file__).parents[2] / "docs"


def test_every_class_is_explained_in_order() -> None:
    text = (DOCS / "compat.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \| \S.* \|$", text, re.MULTILINE)
    assert rows == [str(kind) for kind in Kind]


def test_the_workflow_calls_commands_as_they_are() -> None:
    workflow = yaml.safe_load((DOCS / "github-action.yml").read_text())
    assert {"push", "pull_request", "schedule"} <= set(workflow[True])  # YAML's `on`
    (job,) = workflow["jobs"].values()
    commands = [
        line
        for step in job["steps"]
        for line in step.get("run", "").splitlines()
        if line.startswith("kprobesim ")
    ]
    assert [line.split()[1] for line in commands] == ["fetch", "compat"]
    for line in commands:
        _make_parser().parse_args(shlex.split(line)[1:])
    written = set(re.findall(r"--(?:sarif|junit|markdown) (\S+)", " ".join(commands)))
    kept = set(
        next(s for s in job["steps"] if "artifact" in s.get("uses", ""))["with"]["path"].split()
    )
    assert written == kept
    assert all("uses" in step or "run" in step for step in job["steps"])
