"""The options that write reports into files: ``--junit``, ``--sarif``, ``--markdown``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection
from pathlib import Path

from kprobesim.compat.finding import Compatibility
from kprobesim.compat.kinds import Kind
from kprobesim.compat.reports.json_report import json_report
from kprobesim.compat.reports.junit import junit_report
from kprobesim.compat.reports.markdown import markdown_report
from kprobesim.compat.reports.sarif import sarif_report
from kprobesim.errors import UsageError

__all__ = ["add_report_options", "check_reports", "write_reports"]

_WRITERS = {
    "junit": (junit_report, "JUnit's XML, for CI systems"),
    "sarif": (sarif_report, "SARIF 2.1.0, for code hosts"),
    "markdown": (markdown_report, "Markdown, for the summary of a job or a comment"),
}
_STANDARD_OUTPUT = "-"


def add_report_options(parser: argparse.ArgumentParser) -> None:
    """Declare ``--json`` and the files."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    for name, (_, what) in _WRITERS.items():
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
        text = _WRITERS[name][0](found, allowed)
        if file == _STANDARD_OUTPUT:
            sys.stdout.write(text)
            printed = True
            continue
        try:
            Path(file).write_text(text, encoding="utf-8", newline="\n")
        except OSError as error:
            raise UsageError(f"{file} cannot be written: {error.strerror}") from error
    return bool(printed)


def _files(args: argparse.Namespace) -> list[tuple[str, str]]:
    return [(name, file) for name in _WRITERS if (file := getattr(args, name)) is not None]
