"""The files of reports: written whole, checked before the work, or printed."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from kprobesim.cli.main import main
from kprobesim.cli.reports import add_report_options, check_reports, write_reports
from kprobesim.compat.finding import Compatibility
from kprobesim.errors import UsageError

NOTHING = Compatibility((), (), (), ())
STARTS = {"junit": "<?xml", "sarif": "{", "markdown": "## "}


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_report_options(parser)
    return parser.parse_args(words)


def test_each_report_goes_into_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [word for name in STARTS for word in (f"--{name}", str(tmp_path / name))]
    args = parsed(*words)
    check_reports(args)
    assert not write_reports(args, NOTHING, [])
    assert capsys.readouterr().out == ""
    for name, start in STARTS.items():
        assert (tmp_path / name).read_text().startswith(start)


@pytest.mark.parametrize(
    ("words", "start"),
    [(["--json"], "{"), *((["--" + name, "-"], start) for name, start in STARTS.items())],
)
def test_one_report_is_printed(
    words: list[str], start: str, capsys: pytest.CaptureFixture[str]
) -> None:
    args = parsed(*words)
    check_reports(args)
    assert write_reports(args, NOTHING, [])
    assert capsys.readouterr().out.startswith(start)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--json", "--sarif", "-"], "only one report"),
        (["--junit", "-", "--markdown", "-"], "only one report"),
        (["--junit", "/nowhere/report.xml"], "a folder that exists"),
        (["--sarif", "/"], "a folder that exists"),
    ],
)
def test_what_cannot_be_written_is_told_first(words: list[str], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        check_reports(parsed(*words))


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    args = parsed("--junit", "/dev/full" if Path("/dev/full").exists() else str(tmp_path))
    with pytest.raises(UsageError, match="cannot be written"):
        write_reports(args, NOTHING, [])


def test_the_command_looks_at_the_files_before_the_kernels(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = main(["compat", "absent.bt", "-k", "absent.deb", "--junit", "/nowhere/x.xml"])
    assert status == 2
    assert "a folder that exists" in capsys.readouterr().err


def test_something_must_be_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compat", "-k", "absent.deb"]) == 2
    assert "at least one SOURCE" in capsys.readouterr().err
