"""``kprobesim fetch``: real kernels to try all of this on, from Debian's archive."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kprobesim.arch.architecture import ARCHITECTURES, architecture
from kprobesim.cli.commands import COMMANDS
from kprobesim.cli.console import error_console, make_console, print_json, styled
from kprobesim.fetch.cache import cached, cached_busybox, link, link_name
from kprobesim.fetch.kernels import Fetcher

__all__ = ["add_parser", "run"]

_EPILOG = """\
The packages are kept in a cache ($KPROBESIM_KERNELS, or a folder in yours), and the folder you are
in gets links to them: amd64.deb and arm64.deb, with --series 6.12 amd64-6.12.deb and so on, and
busybox-amd64, busybox-arm64 to run on them. It takes APT, as any user; about 50 MB.

examples:
  kprobesim fetch
  kprobesim fetch --arch arm64 --series 6.12
  kprobesim fetch --list
"""


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "fetch",
        help=COMMANDS["fetch"],
        description="Fetch Debian's newest cloud kernels, and a BusyBox to run on them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--arch", choices=tuple(ARCHITECTURES), help="only this architecture (default: both)"
    )
    parser.add_argument(
        "--series",
        metavar="N.N",
        type=_series,
        help="this line of kernels, such as 6.12 (default: the one that Debian installs)",
    )
    parser.add_argument("--list", action="store_true", help="only tell which lines there are")
    parser.add_argument(
        "--debug", action="store_true", help="also the full vmlinux (280 MB each, 1 GB to load)"
    )
    parser.add_argument(
        "--missing",
        action="store_true",
        help="ask the archive only where no kernel or no BusyBox is in the cache",
    )
    parser.add_argument(
        "--to", metavar="DIR", type=Path, default=Path(), help="where to put the links (default: .)"
    )
    parser.add_argument("--cache", metavar="DIR", type=Path, help="where to keep the packages")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; raises our errors."""
    rows = [
        row
        for arch in ([args.arch] if args.arch else ARCHITECTURES)
        for row in (_list(arch, args) if args.list else [_fetch(arch, args)])
    ]
    if args.json:
        print_json(rows)
        return 0
    console = make_console()
    for row in rows:
        if args.list:
            rest = f"{row['arch']:8}{row['release']}"
            console.print(styled((f"{row['series']:6}", "bold"), rest))
        else:
            for place in row["links"]:
                console.print(styled((place, "bold"), f"  {Path(place).resolve()}"))
    return 0


def _list(arch: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    return [asdict(one) for one in Fetcher(arch, args.cache, _say, _percent()).available()]


def _fetch(arch: str, args: argparse.Namespace) -> dict[str, Any]:
    """Bring what is to be brought, and make its links."""
    image, busybox = cached(arch, args.cache, args.series), cached_busybox(arch, args.cache)
    row: dict[str, Any] = {"arch": arch}
    if not args.missing or image is None or busybox is None:
        fetcher = Fetcher(arch, args.cache, _say, _percent())
        fetched = fetcher.fetch(args.series, debug=args.debug)
        image, busybox = fetched.image, fetched.busybox
        row = asdict(fetched)
    row |= {"image": image, "busybox": busybox}
    links = {
        link_name(arch, args.series): image,
        f"busybox-{architecture(arch).debian}": busybox,
    }
    if row.get("vmlinux"):
        links[f"vmlinux-{link_name(arch, args.series).removesuffix('.deb')}"] = row["vmlinux"]
    row["links"] = [str(link(args.to, name, target)) for name, target in links.items()]
    return {name: str(value) if isinstance(value, Path) else value for name, value in row.items()}


def _series(text: str) -> str:
    if not re.fullmatch(r"\d+\.\d+", text):
        raise argparse.ArgumentTypeError(f"{text!r} are no two numbers, such as 6.12")
    return text


def _say(text: str) -> None:
    error_console().print(styled((f"kprobesim: {text}", "dim")))


def _percent() -> Callable[[float], None] | None:
    """On a terminal, how far a download is."""
    if not sys.stderr.isatty():
        return None

    def show(percent: float) -> None:
        sys.stderr.write(f"\r{percent:5.1f} %\r")
        sys.stderr.flush()

    return show
