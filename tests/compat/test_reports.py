"""The reports: each whole, each the same each time, and none that a hostile text breaks."""

from __future__ import annotations

import dataclasses
import errno
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from kprobesim.asking.counts import Tally
from kprobesim.compat.finding import Answer, AskedKernel, Compatibility, Finding, Hits, Unread
from kprobesim.compat.kinds import Kind, Level
from kprobesim.compat.reports.json_report import json_report
from kprobesim.compat.reports.junit import junit_report
from kprobesim.compat.reports.markdown import markdown_report
from kprobesim.compat.reports.sarif import sarif_report
from kprobesim.errors import Reason
from kprobesim.sources.wanted import (
    Interface,
    Problem,
    Source,
    SourceKind,
    Wanted,
    WantedArgument,
)

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/compat.schema.json").read_text())
REPORTS = [json_report, junit_report, sarif_report, markdown_report]
KERNELS = (
    AskedKernel("a/vmlinuz-5.10", "5.10", "5.10.0-43-amd64", "x86_64"),
    AskedKernel("b|c/6.12.deb", "6.12 arm64", "6.12.1-arm64", "arm64"),
)
HOSTILE = "k:\x1b[31m|<b>&amp;`*_\udc80\x00\u202e\ufffe]]>--> \N{SNOWMAN}\n## x"
READ = Wanted("kprobe:vfs_read", "tool.bt", 3, Interface.KPROBE_PERF, "vfs_read")
BLOCK = Wanted(
    "kprobe:blk_account_io_start",
    "tool.bt",
    7,
    Interface.KPROBE_PERF,
    "blk_account_io_start",
    offset=4,
    optional=True,
    arguments=(WantedArgument("args.x->y", name="x", members=("y",), type="struct request"),),
)
ODD = dataclasses.replace(
    READ, text=HOSTILE, source=HOSTILE, line=None, address=0xFFFFFFFF81000000, program=HOSTILE
)
GOOD = Finding(Kind.FTRACE, "accepted")
INLINED = Finding(
    Kind.INLINED,
    "it was inlined into 3 functions",
    errno.ENOENT,
    Reason.UNKNOWN_SYMBOL,
    instead=("blk_mq_start_request", "tracepoint:block:block_io_start"),
    found_by="btf",
    certainty="likely",
)
MOVED = Finding(Kind.ARGUMENT, "argument 0 is struct mnt_idmap *idmap here")


def together(*rows: tuple[Wanted, tuple[Finding, ...], tuple[Finding, ...]]) -> Compatibility:
    answers = [
        Answer(wanted, kernel, findings)
        for wanted, *each in rows
        for kernel, findings in zip(KERNELS, each, strict=True)
    ]
    source = Source(
        Path("tool.bt"),
        SourceKind.BPFTRACE,
        tuple(row[0] for row in rows),
        (Problem(9, "a } that closes nothing", 2),),
        (Problem(1, "begin is bpftrace's own"),),
    )
    return Compatibility((source,), KERNELS, tuple(answers), (Unread("tool.bt", 9, "a }"),))


@pytest.fixture
def found() -> Compatibility:
    return together(
        (READ, (GOOD,), (MOVED, GOOD)),
        (BLOCK, (INLINED,), (GOOD,)),
        (ODD, (dataclasses.replace(INLINED, message=HOSTILE, instead=(HOSTILE,)),), (GOOD,)),
    )


WELL = dataclasses.replace(together((READ, (GOOD,), (GOOD,))), problems=())


@pytest.mark.parametrize("report", REPORTS)
def test_a_report_is_the_same_each_time_and_printable(report: Any, found: Compatibility) -> None:
    text = report(found, [Kind.ARGUMENT])
    assert text == report(found, {Kind.ARGUMENT})
    assert text.endswith("\n")
    assert all(line.isprintable() for line in text.split("\n"))
    assert text.encode("utf-8").decode("utf-8") == text
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in text


@pytest.mark.parametrize("report", REPORTS)
def test_nothing_at_all_is_a_report_too(report: Any) -> None:
    assert report(Compatibility((), (), (), ()))
    assert report(WELL)


# -- JSON ----------------------------------------------------------------------------------------


def test_json_is_as_the_schema_says(found: Compatibility) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for one in (found, WELL, Compatibility((), (), (), ())):
        jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json_report(one)))


def test_the_schema_names_all_that_is_in_json(found: Compatibility) -> None:
    def check(value: Any, schema: dict[str, Any]) -> None:
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
        if isinstance(value, dict) and "properties" in schema:
            assert set(value) == set(schema["properties"]) == set(schema["required"])
            for name, one in value.items():
                check(one, schema["properties"][name])
        elif isinstance(value, list):
            for one in value:
                check(one, schema["items"])

    answers = (
        dataclasses.replace(found.answers[0], asked=0, hits=Hits(lines=Tally(1))),
        *found.answers[1:],
    )
    check(json.loads(json_report(dataclasses.replace(found, answers=answers))), SCHEMA)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("class", [str(one) for one in Kind]),
        ("level", [one.name.lower() for one in Level]),
    ],
)
def test_the_schema_knows_all_classes(name: str, values: list[str]) -> None:
    assert SCHEMA["$defs"][name]["enum"] == values


def test_the_schema_knows_all_interfaces_and_sources() -> None:
    probe = SCHEMA["$defs"]["probe"]["properties"]
    assert probe["interface"]["enum"] == [str(one) for one in Interface]
    kinds = SCHEMA["properties"]["sources"]["items"]["properties"]["kind"]
    assert kinds["enum"] == [str(one) for one in SourceKind]


def test_json_holds_the_answers(found: Compatibility) -> None:
    document = json.loads(json_report(found, [Kind.ARGUMENT]))
    assert (document["status"], document["allowed"]) == (1, ["argument-moved"])
    assert document["summary"] == {
        "probes": 3,
        "kernels": 2,
        "answers": 6,
        "wrong": 2,
        "classes": {"ftrace": 3, "argument-moved": 1, "inlined": 2},
    }
    read, block, odd = document["probes"]
    assert [one["wrong"] for one in read["answers"]] == [False, False]
    (finding,) = block["answers"][0]["findings"]
    assert (finding["errno"], finding["errno_name"], finding["rule"]) == (
        2,
        "ENOENT",
        "unknown-symbol",
    )
    assert finding["instead"][0] == "blk_mq_start_request"
    assert odd["address"] == "0xffffffff81000000"
    assert odd["text"].startswith("k:\\x1b[31m|<b>&amp;")


# -- JUnit ---------------------------------------------------------------------------------------


def test_junit_has_a_suite_a_kernel_and_a_case_a_probe(found: Compatibility) -> None:
    root = ET.fromstring(junit_report(found, [Kind.ARGUMENT]))
    assert [suite.get("name") for suite in root] == ["5.10", "6.12 arm64", "sources and kernels"]
    assert [root.get(name) for name in ("tests", "failures", "errors", "skipped")] == [
        "7", "2", "1", "0",
    ]  # fmt: skip
    first, second, third = root[0].iter("testcase")
    assert (first.get("name"), first.get("file"), first.get("line")) == (
        "kprobe:vfs_read",
        "tool.bt",
        "3",
    )
    failure = second.find("failure")
    assert failure is not None
    assert (failure.get("type"), failure.get("message")) == ("inlined", INLINED.message)
    assert "ENOENT" in (failure.text or "")
    assert third.find("failure") is not None
    assert root[1][1].find("failure") is None


def test_what_may_be_missing_is_skipped() -> None:
    missing = Finding(Kind.OPTIONAL, "not there, and optional", errno.ENOENT)
    root = ET.fromstring(junit_report(together((BLOCK, (missing,), (GOOD,)))))
    assert (root.get("failures"), root.get("skipped")) == ("0", "1")


def test_names_of_test_cases_are_told_apart() -> None:
    in_program = [dataclasses.replace(READ, program=name) for name in ("one", "two")]
    by_line = [dataclasses.replace(READ, text="x", line=line) for line in (1, 2)]
    same = [dataclasses.replace(READ, text="y", line=None, source=path) for path in "ab"]
    rows = [(one, (GOOD,), (GOOD,)) for one in (*in_program, *by_line, *same)]
    root = ET.fromstring(junit_report(together(*rows)))
    assert [case.get("name") for case in root[0].iter("testcase")] == [
        "kprobe:vfs_read in one",
        "kprobe:vfs_read in two",
        "x at line 1",
        "x at line 2",
        "y #1",
        "y #2",
    ]


# -- SARIF ---------------------------------------------------------------------------------------


def test_sarif_has_a_result_a_probe_and_class(found: Compatibility) -> None:
    document = json.loads(sarif_report(found, [Kind.ARGUMENT]))
    assert document["version"] == "2.1.0"
    (run,) = document["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert [one["ruleId"] for one in run["results"]] == [
        "argument-moved",
        "inlined",
        "inlined",
        "problem",
    ]
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in ("note", "warning", "error")
        (location,) = result["locations"]
        place = location["physicalLocation"]
        assert re.fullmatch(r"[A-Za-z0-9_.~/%:-]+", place["artifactLocation"]["uri"])
        assert place["region"]["startLine"] >= 1
    moved, inlined = run["results"][:2]
    assert moved["suppressions"][0]["kind"] == "external"
    assert "suppressions" not in inlined
    assert "on 1 of 2: 5.10" in inlined["message"]["text"]
    assert inlined["properties"]["kernels"] == ["5.10"]
    assert run["invocations"][0]["exitCode"] == 1


def test_a_fingerprint_stays_when_lines_and_kernels_change(found: Compatibility) -> None:
    def prints(one: Compatibility) -> list[Any]:
        results = json.loads(sarif_report(one))["runs"][0]["results"]
        return [result.get("partialFingerprints") for result in results]

    moved = dataclasses.replace(READ, line=99)
    assert prints(together((READ, (MOVED,), (GOOD,)))) == prints(
        together((moved, (MOVED,), (MOVED,)))
    )


def test_paths_are_relative_where_they_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for source, uri in {
        str(tmp_path / "a b.bt"): "a%20b.bt",
        "/elsewhere/x.bt": "file:///elsewhere/x.bt",
        "-": "stdin",
    }.items():
        one = together((dataclasses.replace(READ, source=source), (MOVED,), (MOVED,)))
        result = json.loads(sarif_report(one))["runs"][0]["results"][0]
        location = result["locations"][0]["physicalLocation"]
        assert location["artifactLocation"]["uri"] == uri


# -- Markdown ------------------------------------------------------------------------------------


def test_markdown_has_a_table_and_the_reasons(found: Compatibility) -> None:
    lines = markdown_report(found, [Kind.ARGUMENT]).split("\n")
    assert lines[2] == (
        "3 probes on 2 kernels. **2 answers of 6 are wrong.** Allowed: argument-moved."
    )
    table = [line for line in lines if line.startswith("|")]
    assert table[:2] == ["| probe | 5.10 | 6.12 arm64 |", "| --- | --- | --- |"]
    assert "| `kprobe:blk_account_io_start` | ❌ inlined | ✅ ftrace |" in table
    assert table[-1] == "| `kprobe:vfs_read` | ✅ ftrace | ⚠️ argument-moved |"
    assert "### `kprobe:vfs_read`" in lines
    assert any("tool.bt:9" in line for line in lines)
    for row in table:  # nothing ends a cell that is not meant to
        assert len(re.findall(r"(?<!\\)\|", row)) == 4
    assert not re.search(r"(?<!\\)<b>", "\n".join(line for line in lines if "`" not in line))


def test_markdown_of_what_is_well() -> None:
    assert "1 probe on 2 kernels. All is well." in markdown_report(WELL)


def test_markdown_has_hits_where_they_were_counted(found: Compatibility) -> None:
    hit = Hits(Tally(5), Tally(1234, 2, 3))
    counts = [hit, Hits(), Hits(problem="refused | why"), None, None, None]
    answers = tuple(
        dataclasses.replace(answer, hits=hits)
        for answer, hits in zip(found.answers, counts, strict=True)
    )
    lines = markdown_report(dataclasses.replace(found, answers=answers)).split("\n")
    below = lines[lines.index("### Hits") :]
    assert (
        "| `kprobe:vfs_read` | 5 + 1,234, 0 + 2 missed, 0 + 3 lost to inlining | never |" in below
    )
    assert "| `kprobe:blk_account_io_start` | refused \\| why |  |" in below
