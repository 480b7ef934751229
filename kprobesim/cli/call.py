"""``kprobesim call``: call a function of the kernel, with probes on the way."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from kprobesim.cli.commands import COMMANDS
from kprobesim.cli.console import make_console, print_json, styled
from kprobesim.cli.expression import Buffer, Data, Number, SymbolAddress, parse_call
from kprobesim.cli.hexdump import hexdump
from kprobesim.cli.loading import add_image_options, add_machine_options, load_kernel
from kprobesim.cli.options import add_timeout_option, positive_int
from kprobesim.cli.probes import Watch, add_probe_options, register_rows
from kprobesim.disasm import Instruction
from kprobesim.kernel.base import Kernel
from kprobesim.kernel.called import CalledKernel
from kprobesim.kprobes.rules.place import parse_place
from kprobesim.machine.faults import GuestStop
from kprobesim.sizes import signed64

__all__ = ["add_parser", "place_arguments", "run"]

_EPILOG = """\
arguments:
  10  -10  0x1f  0o17  017        integers, passed as they are
  "text"  b"bytes"                placed in guest memory, their address is passed; "text" gets a
                                  trailing NUL, and both know Python's escapes: "\\n" "\\x00"
  buf(64)                         64 zeroed bytes of guest memory, shown after the call
  init_task  &init_task+8  NULL   the address of a symbol; of a module's: ext4:ext4_fs_type

examples:
  kprobesim call vmlinux 'crc32_le(0, "123456789", 9)'
  kprobesim call vmlinux 'snprintf(buf(32), 32, "%d", 42)' -p vsnprintf -p number+0x10
"""


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "call",
        help=COMMANDS["call"],
        description="Call a function of a kernel image and print its result.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_image_options(parser)
    parser.add_argument("expression", metavar="CALL", help="such as 'strlen(\"hello\")'")
    add_probe_options(parser)
    parser.add_argument("--signed", action="store_true", help="put the signed result first")
    add_timeout_option(parser, "give up", default=10.0, more=" (default 10)")
    parser.add_argument(
        "--max-instructions",
        metavar="N",
        type=positive_int,
        default=0,
        help="give up after exactly N instructions; counting slows the guest down 3-5 times",
    )
    add_machine_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; raises our errors."""
    call = parse_call(args.expression)
    places = [parse_place(text) for text in args.probe]
    kernel = load_kernel(args)
    console = make_console()
    hits: list[dict[str, Any]] = []

    def report(hit: dict[str, Any], instruction: Instruction) -> None:
        if args.json:
            hits.append(hit)
        else:
            _print_hit(console, kernel, hit, instruction)

    watch = Watch(kernel, args.max_hits, report)
    for place in places:
        watch.plant(place)
    values, buffers = place_arguments(kernel, call.arguments)
    fault: GuestStop | None = None
    result: int | None = None
    try:
        result = kernel.call(
            call.function,
            *values,
            timeout=args.timeout,
            max_instructions=args.max_instructions,
        )
    except GuestStop as error:
        fault = error
    outcome = {
        "call": args.expression,
        "arch": kernel.arch,
        "version": kernel.version,
        "result": None if result is None else _numbers(result, args.signed),
        "fault": None if fault is None else fault.as_dict(),
        "buffers": [
            {"address": f"{address:#x}", "size": size, "hex": kernel.read(address, size).hex()}
            for address, size in buffers
        ],
        "probes": watch.summary(),
        "hits": hits,
        "warnings": [str(warning) for warning in kernel.warnings],
    }
    if args.json:
        print_json(outcome)
    else:
        _show(console, outcome, untold=watch.total - args.max_hits, signed_first=args.signed)
    if fault is not None:
        raise fault
    return 0


def _show(console: Console, outcome: dict[str, Any], *, untold: int, signed_first: bool) -> None:
    """Print what came out; the hits have been told as they came, but for ``untold`` of them."""
    if untold > 0:
        console.print(styled((f"... and {untold} hits more", "dim")))
    for probe in outcome["probes"]:
        hits = "1 hit" if probe["hits"] == 1 else f"{probe['hits']} hits"
        missed = f", {probe['nmissed']} missed" if probe["nmissed"] else ""
        console.print(styled("probe ", (str(probe["probe"]), "bold"), f": {hits}{missed}"))
    for warning in outcome["warnings"]:
        console.print(styled((warning, "yellow")))
    if outcome["result"] is not None:
        _show_result(console, outcome["call"], outcome["result"], signed_first=signed_first)
    for buffer in outcome["buffers"]:
        _show_buffer(console, int(buffer["address"], 16), bytes.fromhex(buffer["hex"]))


def place_arguments(
    kernel: Kernel, arguments: tuple[Any, ...], places: Mapping[str, int] | None = None
) -> tuple[list[int | bytes], list[tuple[int, int]]]:
    """What to pass, and (address, size) of each buffer; ``places`` are names beside symbols."""
    values: list[int | bytes] = []
    buffers = []
    for argument in arguments:
        if isinstance(argument, Number):
            values.append(argument.value)
        elif isinstance(argument, Data):
            values.append(argument.content)
        elif isinstance(argument, Buffer):
            address = kernel.alloc(argument.size, guard=isinstance(kernel, CalledKernel))
            buffers.append((address, argument.size))
            values.append(address)
        elif isinstance(argument, SymbolAddress):
            place = (places or {}).get(argument.name)
            start = kernel.symbols[argument.name].address if place is None else place
            values.append(start + argument.offset)
        else:
            raise AssertionError(f"unknown argument {argument!r}")
    return values, buffers


def _numbers(result: int, signed: bool) -> dict[str, object]:
    negative = signed64(result)
    return {
        "value": negative if signed else result,
        "hex": f"{result:#x}",
        "unsigned": result,
        "signed": negative,
    }


def _print_hit(
    console: Console, kernel: Kernel, hit: dict[str, Any], instruction: Instruction
) -> None:
    console.print(
        styled(
            (f"hit {hit['hit']} ", "bold green"),
            (hit["place"], "bold"),
            f" [{hit['address']}]  ",
            (instruction.text(kernel.machine.symbolize), "magenta"),
        )
    )
    register_rows(console, hit["registers"])


def _show_result(
    console: Console, call: str, numbers: dict[str, Any], *, signed_first: bool
) -> None:
    unsigned, signed = f"unsigned {numbers['unsigned']}", f"signed {numbers['signed']}"
    words = [signed, unsigned] if signed_first else [unsigned, signed]
    if numbers["unsigned"] >> 31 == 1:
        words.append(f"as a 32-bit int {numbers['unsigned'] - (1 << 32)}")
    console.print(styled(call, " = ", (str(numbers["hex"]), "bold green"), f"  {', '.join(words)}"))


def _show_buffer(console: Console, address: int, data: bytes) -> None:
    text, end, _ = data.partition(b"\0")
    console.print(
        styled(
            f"buf({len(data)}) at {address:#x}",
            (f"  {_quoted(text)}", "green") if end and text else "",
        )
    )
    for line in hexdump(data, address):
        console.print(styled("  ", line))


def _quoted(text: bytes) -> str:
    """As C would write it."""
    return '"' + text.decode("latin-1").encode("unicode_escape").decode().replace('"', '\\"') + '"'
