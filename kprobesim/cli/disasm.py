"""``kprobesim disasm``: a function as the running kernel has it."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console

from kprobesim.cli.commands import COMMANDS
from kprobesim.cli.console import make_console, print_json, styled
from kprobesim.cli.loading import add_image_options, add_model_options, open_rules
from kprobesim.disasm import Instruction, disassemble
from kprobesim.errors import UsageError
from kprobesim.kernel.offline import KernelRules
from kprobesim.kprobes.rules.place import Place, parse_place

__all__ = ["add_parser", "run"]

_EPILOG = """\
The code is that of the kernel as it runs, so calls of the tracer are the NOPs that they are while
nothing is traced; a snapshot's is as the running kernel has patched it. With an offset or an
address the whole function is shown and the place marked.

examples:
  kprobesim disasm vmlinux kernel_clone
  kprobesim disasm vmlinux kernel_clone+0x1c
  kprobesim disasm vmlinux 0xffffffff81000000 --json
"""


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "disasm",
        help=COMMANDS["disasm"],
        description="Disassemble a function of a kernel, with the names of what it refers to.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_image_options(parser)
    add_model_options(parser)
    parser.add_argument(
        "place", metavar="PLACE", help="SYMBOL, SYMBOL+OFFSET, SYMBOL@0xADDRESS or 0xADDRESS"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; raises our errors."""
    place = parse_place(args.place)
    kernel = open_rules(args)
    if place.symbol is not None and ":" in place.symbol:
        kernel.bring(place.symbol.partition(":")[0])
    name, start, size, address = _function(kernel, place)
    instructions = list(disassemble(kernel.arch, kernel.read(start, size), start))
    marked = address if address != start else None
    if args.json:
        print_json(
            {
                "function": name,
                "arch": kernel.arch,
                "version": kernel.version,
                "address": f"{start:#x}",
                "size": size,
                "instructions": [
                    {
                        **instruction.as_dict(),
                        "offset": instruction.address - start,
                        "target_symbol": _target(kernel, instruction),
                        "marked": _is_marked(instruction, marked),
                    }
                    for instruction in instructions
                ],
            }
        )
    else:
        _print(make_console(), kernel, name, start, instructions, marked)
    return 0


def _function(kernel: KernelRules, place: Place) -> tuple[str, int, int, int]:
    """Name, start and size of the function at ``place``, and the address that was asked for."""
    if place.symbol is not None:
        asked = kernel.symbols[place.symbol]
        name, start, size = asked.name, asked.address, asked.size
        address = start + place.offset
    else:
        name, start, size = "", 0, 0
        address = place.address or 0
    if not kernel.image.is_code(address):
        raise UsageError(f"{place.text} is not code: it lies at {address:#x}; name a function")
    found = kernel.symbols.at(address)
    if not start <= address < start + size:
        # An address, a symbol without a size, or an offset beyond the function's end.
        if found is None:
            raise UsageError(f"{place.text} belongs to no function")
        name, start, size = found.symbol.name, found.symbol.address, found.size
    return name, start, size, address


def _is_marked(instruction: Instruction, marked: int | None) -> bool:
    return marked is not None and instruction.address <= marked < instruction.end


def _target(kernel: KernelRules, instruction: Instruction) -> str | None:
    return None if instruction.target is None else _name(kernel, instruction.target) or None


def _name(kernel: KernelRules, address: int) -> str:
    """``symbol`` or ``symbol+0x10``; empty outside of all symbols."""
    found = kernel.symbols.at(address)
    if found is None:
        return ""
    return found.symbol.name + (f"+{found.offset:#x}" if found.offset else "")


def _print(
    console: Console,
    kernel: KernelRules,
    name: str,
    start: int,
    instructions: list[Instruction],
    marked: int | None,
) -> None:
    console.print(styled((name, "bold"), f" at {start:#x}"))
    longest = max((len(instruction.raw) for instruction in instructions), default=1)
    for instruction in instructions:
        is_marked = _is_marked(instruction, marked)
        offset = f"+{instruction.address - start:#x}"
        note = ""
        if is_marked and marked != instruction.address:
            note = f"  <- {marked - start:+#x} is inside of it" if marked is not None else ""
        console.print(
            styled(
                (">" if is_marked else " ", "bold red"),
                (f" {instruction.address:016x} {offset:>7}  ", "dim"),
                f"{instruction.raw.hex(' '):<{3 * longest - 1}}  ",
                (instruction.text(lambda at: _name(kernel, at)), "bold" if is_marked else ""),
                (note, "red"),
            )
        )
