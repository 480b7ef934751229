"""``kprobesim catalog``: files that hold all that is known of kernels, made and queried."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from decimal import Decimal
from itertools import islice
from typing import Any

from kprobesim.catalog.file import Catalog, is_catalog, open_catalog
from kprobesim.catalog.query import Answer, catalog_files, query
from kprobesim.cli.commands import COMMANDS
from kprobesim.cli.console import error_console, make_console, print_json, styled
from kprobesim.cli.options import positive_int
from kprobesim.errors import CatalogError, UsageError

__all__ = ["add_parser", "run"]

_EPILOG = """\
A catalogue is a Parquet file for each kernel. check, info, types, diff and compat take it where
they take an image; DuckDB, pandas and polars read it as it is. The columns: docs/catalogues.md.

examples:
  kprobesim catalog build linux-image-6.1.0-56-cloud-amd64.deb vmlinux -o kernels --jobs 4
  kprobesim catalog list kernels
  kprobesim catalog query "SELECT kernel, kind FROM functions WHERE name = 'vfs_read'" kernels
  kprobesim catalog query "SELECT * FROM members WHERE owner = 'file'" kernels --csv
"""
_SHOWN = 1000  # rows for people; --csv and --json print all


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "catalog",
        help=COMMANDS["catalog"],
        description="Make files that hold all that is known of kernels, and query them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(
        dest="action", metavar="ACTION", required=True, help="build, query, list or info"
    )
    build = actions.add_parser("build", help="make a catalogue of each kernel")
    build.add_argument(
        "kernels", metavar="KERNEL", nargs="+", help="images, packages, snapshots, or folders"
    )
    build.add_argument("-o", dest="directory", metavar="DIR", required=True, help="where to")
    build.add_argument("--jobs", type=positive_int, metavar="N", help="processes (default: one)")
    build.add_argument(
        "--no-modules",
        dest="modules",
        action="store_false",
        help="leave out the modules' code, half of each file: places in modules are not judged",
    )
    build.set_defaults(do=_build)
    ask = actions.add_parser("query", help="answer SQL over catalogues")
    ask.add_argument("sql", metavar="SQL", help="over kernels, functions, symbols, members ...")
    form = ask.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print comma-separated values")
    form.add_argument("--json", action="store_true", help="print a list of objects")
    ask.set_defaults(do=_query)
    which = actions.add_parser("list", help="show which kernels there are catalogues of")
    which.set_defaults(do=_list)
    tell = actions.add_parser("info", help="show what is in catalogues")
    tell.add_argument(
        "--verify", action="store_true", help="read all of each, and compare every checksum"
    )
    tell.set_defaults(do=_info)
    for action in (ask, which, tell):
        action.add_argument(
            "places",
            metavar="DIR|FILE",
            nargs="*",
            default=["."],
            help="catalogues, or folders with some (default: the current folder)",
        )
    for action in (build, which, tell):
        action.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; raises our errors."""
    code: int = args.do(args)
    return code


def _build(args: argparse.Namespace) -> int:
    from kprobesim.survey.build import build_catalog
    from kprobesim.survey.kernel_files import kernel_files

    def say(text: str) -> None:
        error_console().print(styled((f"kprobesim: {text}", "dim")))

    kernels = [path for path in kernel_files(args.kernels) if not is_catalog(path)]
    if not kernels:
        raise UsageError("only catalogues are named: name images or packages")
    results = build_catalog(
        kernels, args.directory, jobs=args.jobs, progress=say, modules=args.modules
    )
    if args.json:
        print_json(
            [
                {
                    "kernel": str(one.kernel),
                    "file": None if one.file is None else str(one.file),
                    "kept": one.kept,
                    "error": one.error,
                    "problems": list(one.problems),
                    "seconds": round(one.seconds, 3),
                }
                for one in results
            ]
        )
    return 0 if all(results) else 1


def _query(args: argparse.Namespace) -> int:
    answer = query(args.sql, catalog_files(args.places))
    if args.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(answer.columns)
        writer.writerows(answer.rows)
    elif args.json:
        rows = (dict(zip(answer.columns, row, strict=True)) for row in answer.rows)
        print(json.dumps(list(rows), indent=2, default=_plain))
    else:
        _show(answer)
    return 0


def _plain(value: object) -> object:
    return int(value) if isinstance(value, Decimal) and value == int(value) else str(value)


def _show(answer: Answer) -> None:
    rows = iter(answer.rows)
    _print_table(answer.columns, [list(row) for row in islice(rows, _SHOWN)])
    if next(rows, None) is not None:
        error_console().print(styled((f"only the first {_SHOWN} rows: --csv prints all", "dim")))


def _print_table(columns: list[str], rows: list[list[Any]]) -> None:
    """Rows stay whole, however wide they are: somebody may read them with awk."""
    texts = [["" if value is None else str(value) for value in row] for row in rows]
    numbers = [
        all(isinstance(row[at], (int, float, Decimal, type(None))) for row in rows)
        for at in range(len(columns))
    ]
    widths = [max(map(len, column)) for column in zip(columns, *texts, strict=True)]

    def line(cells: list[str]) -> str:
        padded = (
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(cells, widths, numbers, strict=True)
        )
        return "  ".join(padded).rstrip()

    console = make_console()
    console.print(styled((line(columns), "bold")))
    for cells in texts:
        console.print(styled(line(cells)))


def _list(args: argparse.Namespace) -> int:
    rows, code = [], 0
    for file in catalog_files(args.places):
        try:
            rows.append(_facts(open_catalog(file)))
        except CatalogError as error:
            error_console().print(styled(("kprobesim: ", "bold red"), str(error)))
            code = 1
    if args.json:
        print_json(rows)
        return code
    columns = ["release", "arch", "functions", "members", "size", "file"]
    _print_table(columns, [[row[name] for name in columns] for row in rows])
    return code


def _facts(catalog: Catalog) -> dict[str, Any]:
    kernel, rows = catalog.facts["kernel"], catalog.facts["rows"]
    return {
        "file": str(catalog.path),
        **kernel,
        "size": catalog.path.stat().st_size,
        "functions": rows.get("function", 0),
        "members": rows.get("member", 0),
        "source": catalog.facts["source"],
        "rows": rows,
        "sections": catalog.sections,
        "format": catalog.facts["format"],
        "made_by": catalog.facts["version"],
        "problems": catalog.facts.get("problems", []),
    }


def _info(args: argparse.Namespace) -> int:
    catalogs = [open_catalog(file) for file in catalog_files(args.places)]
    found = [_facts(catalog) for catalog in catalogs]
    damaged = _verify(catalogs, found) if args.verify else False
    if args.json:
        print_json(found)
        return int(damaged)
    console = make_console()
    for facts in found:
        rows = ", ".join(f"{count} {name}" for name, count in facts["rows"].items())
        lines = {
            "file": f"{facts['file']}, {facts['size'] / (1 << 20):.1f} MiB",
            "release": f"{facts['release']}, {facts['arch']}",
            "banner": facts["banner"],
            "build id": facts["build_id"] or "none",
            "made of": f"{facts['source']['file']}, by kprobesim {facts['made_by']}",
            "rows": rows,
            "problems": "; ".join(facts["problems"]),
            "verified": facts.get("verified"),
        }
        for name, text in lines.items():
            if text:
                console.print(styled((f"{name:<12}", "cyan"), text))
    return int(damaged)


def _verify(catalogs: list[Catalog], found: list[dict[str, Any]]) -> bool:
    """Note in ``found`` what reading all of each tells; whether one is damaged."""
    damaged = False
    for catalog, facts in zip(catalogs, found, strict=True):
        try:
            catalog.verify()
            facts["verified"] = "every checksum is right"
        except CatalogError as error:
            facts["verified"] = str(error)
            damaged = True
    return damaged
