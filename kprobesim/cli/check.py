"""``kprobesim check``: what the kernel would answer to a probe, without running anything."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console

from kprobesim.cli.console import make_console, styled
from kprobesim.cli.loading import add_image_options, load_kernel
from kprobesim.disasm import disassemble
from kprobesim.errors import UsageError
from kprobesim.kernel.base import Kernel
from kprobesim.kernel.called import CalledKernel
from kprobesim.kprobes.rules.place import Place, parse_place
from kprobesim.kprobes.rules.verdict import Verdict

__all__ = ["add_parser", "run"]

_EPILOG = """\
The answers are those of this very kernel when it has booted: its errno, and the rule behind it.

examples:
  kprobesim check vmlinux kernel_clone vfs_read+0x10
  kprobesim check vmlinux vfs_read+0x10 --slot-at 0xffffffffc0000000 --json
  kprobesim check vmlinux --from points.csv --events
  kprobesim check vmlinux --all vfs_read
  kprobesim check linux-image-6.1.0-56-cloud-amd64-unsigned.deb virtio_blk:virtblk_probe+5
  kprobesim check vmlinux --module drivers/block/virtio_blk.ko virtio_blk:virtblk_probe
"""


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "check",
        help="tell which probes the kernel would accept, and why not",
        description="Tell for each point whether a probe may be there, and how it would run.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_image_options(parser)
    parser.add_argument(
        "points", metavar="PLACE", nargs="*", help="[MODULE:]SYMBOL[+OFFSET] or 0xADDRESS"
    )
    parser.add_argument(
        "--module",
        metavar="FILE.ko",
        action="append",
        default=[],
        help="where a MODULE is, if not in the package, lib/modules or build tree of IMAGE",
    )
    parser.add_argument(
        "--from",
        dest="file",
        metavar="FILE",
        help="read SYMBOL,OFFSET lines (- is standard input); each answer is a line of JSON",
    )
    parser.add_argument(
        "--all",
        metavar="SYMBOL",
        action="append",
        default=[],
        help="show every instruction of a function (may be repeated)",
    )
    parser.add_argument("--kretprobe", action="store_true", help="ask for return probes")
    parser.add_argument(
        "--events",
        action="store_true",
        help="answer as kprobe_events does, which also refuses what ftrace cannot trace",
    )
    parser.add_argument(
        "--slot-at",
        metavar="ADDRESS",
        type=_address,
        help="show what a slot at this address would hold",
    )
    parser.set_defaults(run=run)


def _address(text: str) -> int:
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if not 0 <= value < 1 << 64:
        raise argparse.ArgumentTypeError(f"{text!r} is no address: write 0xffffffffc0000000")
    return value


def run(args: argparse.Namespace) -> int:
    """Do it; raises our errors. What is refused is an answer, too: the exit code is 0."""
    asked = [args.points, args.all, args.file]
    if sum(map(bool, asked)) != 1:
        raise UsageError("give places such as vfs_read+0x10, or --from FILE, or --all SYMBOL")
    places = [parse_place(text) for text in args.points or args.all]
    options = {"kretprobe": args.kretprobe, "events": args.events, "slot_at": args.slot_at}
    if args.file:
        with nullcontext(sys.stdin) if args.file == "-" else Path(args.file).open() as lines:
            kernel = _load(args)
            for line in lines:
                for answer in _answer(kernel, line, options):
                    print(json.dumps(answer))
        return 0
    kernel = _load(args)
    console = make_console()
    for place in places:
        _bring_module(kernel, place.symbol)
        if args.all:
            _show_all(console, kernel, place, args.json, options)
            continue
        verdict = kernel.check(place.symbol, addr=place.address, offset=place.offset, **options)
        if args.json:
            print(json.dumps(verdict.as_dict()))
        else:
            _show(console, place.text, verdict)
    return 0


def _load(args: argparse.Namespace) -> Kernel:
    kernel = load_kernel(args)
    for file in args.module:
        if not isinstance(kernel, CalledKernel):
            raise UsageError(f"--module is for images; {args.image} is a snapshot")
        kernel.modules.offer(file)
    return kernel


def _bring_module(kernel: Kernel, symbol: str | None) -> None:
    """Load the module in MODULE:SYMBOL, if it is to be had."""
    module, colon, _ = (symbol or "").partition(":")
    if colon and isinstance(kernel, CalledKernel):
        kernel.modules.bring(module)


def _answer(kernel: Kernel, line: str, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The answer to one line of a file; none to a comment, an empty line, and the heading."""
    symbol, _, rest = (part.strip() for part in line.partition(","))
    text = rest.split(",")[0].strip() or "0"
    if not symbol or symbol.startswith("#") or (symbol, text) == ("symbol", "offset"):
        return
    try:
        offset = int(text, 16 if text[:2] in ("0x", "0X") else 10)
    except ValueError:
        raise UsageError(
            f"{line.strip()!r} is no SYMBOL,OFFSET: the offset is decimal or begins with 0x"
        ) from None
    _bring_module(kernel, symbol)
    yield kernel.check(symbol, offset=offset, suggest=False, **options).as_dict()


def _show(console: Console, text: str, verdict: Verdict) -> None:
    if not verdict:
        console.print(styled((f"{text}: ", "bold"), (f"{verdict.summary()}", "red")))
        return
    console.print(styled((f"{text}: ", "bold"), ("yes", "green"), f", {verdict.summary()}"))
    if verdict.original is not None:
        console.print(styled(("    instruction  ", "dim"), verdict.original.hex(" ")))
    if verdict.slot is not None:
        console.print(styled(("    slot         ", "dim"), verdict.slot.hex(" ")))


def _show_all(
    console: Console, kernel: Kernel, place: Place, as_json: bool, options: dict[str, Any]
) -> None:
    """A whole function, instruction by instruction."""
    address = place.address if place.symbol is None else kernel.symbols[place.symbol].address
    found = kernel.symbols.at(address or 0)
    if found is None or not kernel.image.is_code(address or 0):
        raise UsageError(f"{place.text} is no function: name one")
    start = found.symbol.address
    code = kernel.read(start, found.size)
    if not as_json:
        console.print(styled((found.symbol.name, "bold"), f" at {start:#x}"))
    for instruction in disassemble(kernel.arch, code, start):
        offset = instruction.address - start
        verdict = kernel.check(addr=instruction.address, **options)
        if as_json:
            answer = verdict.as_dict() | {"symbol": found.symbol.name, "offset": offset}
            print(json.dumps(answer))
            continue
        style = "green" if verdict else "red"
        console.print(
            styled(
                (f"{'+' if verdict else '-'} ", style),
                (f"{offset:+#6x}  ", "dim"),
                f"{instruction.raw.hex(' '):<32}  {instruction.text():<40}  ",
                (verdict.summary(), style),
            )
        )
