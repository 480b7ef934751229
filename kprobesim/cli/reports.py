"""The options that write reports into files: ``--junit``, ``--sarif``, ``--markdown``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection
from importlib import import_module
from pathlib import Path

from kprobesim.compat.finding import Compatibility
from kprobesim.compat.kinds import Kind
from kprobesim.compat.reports.json_report import json_report
from kprobesim.errors import UsageError

__all__ = ["add_report_options", "check_reports", "write_reports"]

#: Each is written by a file of its name in compat/reports, imported when it is asked for.
_REPORTS = {
    "junit": "JUnit's XML, for CI systems",
    "sarif": "SARIF 2.1.0, for code hosts",
    "markdown": "Markdown, for the summary of a job or a comment",
}
_STANDARD_OUTPUT = "-"


def add_report_options(parser: argparse.ArgumentParser) -> None:
    """Declare ``--json`` and the files."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    for name, what in _REPORTS.items():
        parser.add_argument(f"--{name}", metavar="FILE", help=f"write {what} (- prints it)")


def check_reports(args: argparse.Namespace) -> None:
    """See that the reports can be written before anything takes time.

    Raises:
        UsageError: A file's folder is not there, or two reports would be printed.
    """
    if args.json + sum(file == _STANDARD_OUTPUT for _, file in _files(args)) > 1:
        raise UsageError("only one report can be printed: name files for the others")
    for name, file in _files(args):
        if file != _STANDARD_OUTPUT and (Path(file).is_dir() or not Path(file).parent.is_dir()):
            raise UsageError(f"--{name} {file}: name a file in a folder that exists")


def write_reports(
    args: argparse.Namespace, found: Compatibility, allowed: Collection[Kind]
) -> bool:
    """Write what was asked for; whether one was printed, in the place of the table.

    Raises:
        UsageError: A file cannot be written.
    """
    printed = args.json
    if args.json:
        sys.stdout.write(json_report(found, allowed))
    for name, file in _files(args):
        text = _report(name, found, allowed)
        if file == _STANDARD_OUTPUT:
            sys.stdout.write(text)
            printed = True
            continue
        try:
            Path(file).write_text(text, encoding="utf-8", newline="\n")
        except OSError as error:
            raise UsageError(f"{file} cannot be written: {error.strerror}") from error
    return bool(printed)


def _report(name: str, found: Compatibility, allowed: Collection[Kind]) -> str:
    home = import_module(f"kprobesim.compat.reports.{name}")
    text: str = getattr(home, f"{name}_report")(found, allowed)
    return text


def _files(args: argparse.Namespace) -> list[tuple[str, str]]:
    return [(name, file) for name in _REPORTS if (file := getattr(args, name)) is not None]
