"""``kprobesim check``: what the kernel would answer to a probe, without running anything."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console

from kprobesim.cli.commands import COMMANDS
from kprobesim.cli.console import error_console, make_console, styled
from kprobesim.cli.judging import Judge, Judged, modules_of
from kprobesim.cli.loading import add_image_options, add_model_options, open_rules, progress
from kprobesim.cli.options import add_cpus_option
from kprobesim.disasm import Instruction, disassemble
from kprobesim.errors import UsageError
from kprobesim.kernel.offline import KernelRules
from kprobesim.kprobes.rules.names import is_many
from kprobesim.kprobes.rules.place import Place, parse_place
from kprobesim.kprobes.rules.verdict import Verdict

__all__ = ["add_parser", "run"]

_EPILOG = """\
The answers are those of this very kernel when it has booted: its errno, and the rule behind it.

With --ask the kernel boots (its snapshot is kept) and judges the same points itself.

exit status: 0 if every probe would be accepted, 1 if one was refused or not found, or if the kernel
itself says otherwise, 2 for wrong use.

examples:
  kprobesim check vmlinux kernel_clone vfs_read+0x10
  kprobesim check vmlinux vfs_read+0x10 --slot-at 0xffffffffc0000000 --json
  kprobesim check vmlinux --from points.csv --events
  kprobesim check vmlinux --all vfs_read
  kprobesim check vmlinux 'vfs_*' --kretprobe
  kprobesim check amd64.deb vfs_read+1 do_int3 --ask
  kprobesim check linux-image-6.1.0-56-cloud-amd64-unsigned.deb virtio_blk:virtblk_probe+5
  kprobesim check vmlinux --module drivers/block/virtio_blk.ko virtio_blk:virtblk_probe
"""
_ACCEPTED, _REFUSED, _WRONG_LINES = 0, 1, 2
_SUGGESTED = 20  # unknown names in a file for which others are looked up: each takes a while
_FOR_PEOPLE, _TEXT_AT, _ANSWERS_AT = 80, 10, 43  # columns of a terminal


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "check",
        help=COMMANDS["check"],
        description="Tell for each point whether a probe may be there, and how it would run.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_image_options(parser)
    add_model_options(parser)
    parser.add_argument(
        "points",
        metavar="PLACE",
        nargs="*",
        help="[MODULE:]SYMBOL[+OFFSET], 0xADDRESS, or a pattern of functions ('vfs_*', 'ext4:*')",
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
    parser.add_argument(
        "--ask",
        action="store_true",
        help="boot the kernel, and let its own kprobes judge the same points",
    )
    add_cpus_option(parser, only="with --ask: ")
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
    """Do it; raises our errors. The exit code tells whether all would be accepted."""
    asked = [args.points, args.all, args.file]
    if sum(map(bool, asked)) != 1:
        raise UsageError("give places such as vfs_read+0x10, or --from FILE, or --all SYMBOL")
    places = [parse_place(text) for text in args.points or args.all]
    options = {"kretprobe": args.kretprobe, "events": args.events, "slot_at": args.slot_at}
    if args.file:
        with nullcontext(sys.stdin) if args.file == "-" else Path(args.file).open() as lines:
            name = "standard input" if args.file == "-" else args.file
            return _answer_file(args, options, lines, name)
    judge = _judge(args, options, [place.symbol for place in places])
    console = make_console()
    places = [one for place in places for one in _expanded(judge.kernel, place)]
    if args.all:
        return max(_show_all(console, judge, place, args.json) for place in places)
    code = _ACCEPTED
    for place in places:
        judged = judge(place.symbol, addr=place.address, offset=place.offset)
        code = code if judged else _REFUSED
        if args.json:
            print(json.dumps(judged.as_dict()))
        else:
            _show(console, place.text, judged)
    return code


def _judge(
    args: argparse.Namespace, options: dict[str, Any], symbols: Iterable[str | None]
) -> Judge:
    """Who answers; the kernel itself loads the modules that ``symbols`` name."""
    if args.cpus != 1 and not args.ask:
        raise UsageError("--cpus is for kernels that boot: give --ask, too")
    kernel = open_rules(args)
    for file in args.module:
        kernel.offer(file)
    if not args.ask:
        return Judge(kernel, options)
    from kprobesim.asking.ask import Asked  # boots, so it brings the emulator

    asked = Asked(args.image, modules_of(symbols), progress(), finder=kernel.finder, cpus=args.cpus)
    return Judge(kernel, options, asked)


def _expanded(kernel: KernelRules, place: Place) -> Iterator[Place]:
    """``place``, or those of all functions that it matches."""
    if place.symbol is None or not is_many(place.symbol):
        yield place
        return
    for name in kernel.functions(place.symbol, refused=True):
        text = f"{name}+{place.offset:#x}" if place.offset else name
        yield Place(text, name, place.offset, None)


# -- a file of points ------------------------------------------------------------------------------


def _answer_file(
    args: argparse.Namespace, options: dict[str, Any], lines: Iterable[str], name: str
) -> int:
    """Print an answer to each line; a line that is none is told, and the others are answered."""
    code, unknown = _ACCEPTED, 0
    if args.ask:  # which modules to load must be known before
        lines = list(lines)
    judge = _judge(args, options, (line.split(",")[0].strip() for line in lines if args.ask))
    for number, line in enumerate(lines, 1):
        try:
            point = _point(line)
        except UsageError as error:
            error_console().print(styled((f"{name}:{number}: ", "bold red"), str(error)))
            code = _WRONG_LINES
            continue
        if point is None:
            continue
        for place in _expanded(judge.kernel, point):
            judged = judge(place.symbol, offset=place.offset, suggest=unknown < _SUGGESTED)
            unknown += judged.verdict.address is None and not judged.verdict
            code = code if judged else max(code, _REFUSED)
            print(json.dumps(judged.as_dict()))
    return code


def _point(line: str) -> Place | None:
    """The symbol and offset in one line; ``None`` in a comment, an empty line, and the heading."""
    symbol, _, rest = (part.strip() for part in line.partition(","))
    text = rest.split(",")[0].strip() or "0"
    if not symbol or symbol.startswith("#") or (symbol, text) == ("symbol", "offset"):
        return None
    try:
        offset = int(text, 16 if text[:2] in ("0x", "0X") else 10)
    except ValueError:
        raise UsageError(
            f"{line.strip()!r} is no SYMBOL,OFFSET: the offset is decimal or begins with 0x"
        ) from None
    if not -(1 << 31) <= offset < 1 << 32:
        raise UsageError(f"{line.strip()!r}: the offset has more than 32 bits")
    return Place(symbol, symbol, offset, None)


# -- for people ------------------------------------------------------------------------------------


def _show(console: Console, text: str, judged: Judged) -> None:
    verdict = judged.verdict
    if not verdict:
        console.print(styled((f"{text}: ", "bold"), (f"{verdict.summary()}", "red")))
        _show_asked(console, judged)
        return
    console.print(styled((f"{text}: ", "bold"), ("yes", "green"), f", {verdict.summary()}"))
    if verdict.original is not None:
        console.print(styled(("    instruction  ", "dim"), verdict.original.hex(" ")))
    if verdict.slot is not None:
        console.print(styled(("    slot         ", "dim"), verdict.slot.hex(" ")))
    _show_asked(console, judged)


def _show_asked(console: Console, judged: Judged) -> None:
    if judged.answer is not None:
        style = "bold red" if judged.differs else "green"
        console.print(styled(("    the kernel   ", "dim"), (judged.said(), style)))


def _show_all(console: Console, judge: Judge, place: Place, as_json: bool) -> int:
    """A whole function, instruction by instruction."""
    code, kernel = _ACCEPTED, judge.kernel
    if place.symbol is not None and ":" in place.symbol:
        kernel.bring(place.symbol.partition(":")[0])
    address = place.address if place.symbol is None else kernel.symbols[place.symbol].address
    found = kernel.symbols.at(address or 0)
    if found is None or not kernel.image.is_code(address or 0):
        raise UsageError(f"{place.text} is no function: name one")
    start = found.symbol.address
    if not as_json:
        console.print(styled((found.symbol.name, "bold"), f" at {start:#x}"))
    for instruction in disassemble(kernel.arch, kernel.read(start, found.size), start):
        offset = instruction.address - start
        judged = judge(addr=instruction.address)
        code = code if judged else _REFUSED
        if as_json:
            answer = judged.as_dict() | {"symbol": found.symbol.name, "offset": offset}
            print(json.dumps(answer))
        else:
            _show_instruction(console, instruction, offset, judged.verdict)
            if judged.differs:
                _show_asked(console, judged)
    return code


def _show_instruction(
    console: Console, instruction: Instruction, offset: int, verdict: Verdict
) -> None:
    """One line, or two if the answer has no room on it: none is wider than a terminal."""
    style = "green" if verdict else "red"
    text, answer = instruction.text(), verdict.short()
    head: list[str | tuple[str, str]] = [
        ("+ " if verdict else "- ", style),
        (f"{offset:+#6x}  ", "dim"),
    ]
    column = max(0, min(_ANSWERS_AT, _FOR_PEOPLE - len(answer)))
    if _TEXT_AT + len(text) + 2 <= column:
        console.print(styled(*head, text.ljust(column - _TEXT_AT), (answer, style)))
    else:
        console.print(styled(*head, text))
        console.print(styled(" " * column, (answer, style)))
