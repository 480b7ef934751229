"""Places in a kernel's code at which its CPUs are to be switched, interrupted or stopped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from kprobesim.disasm import Instruction, disassemble
from kprobesim.errors import GuestMemoryError, SymbolError, UsageError
from kprobesim.image import Symbol
from kprobesim.image.symbols.patterns import is_pattern
from kprobesim.kprobes.rules.place import parse_place

if TYPE_CHECKING:
    from kprobesim.kernel.base import Kernel

__all__ = ["instruction_at", "switch_places"]

_NO_ACCESS = frozenset({"lea", "nop", "prefetchw", "prefetcht0", "prefetchnta", "prfm", "prfum"})
_MOST = 1 << 16


def switch_places(kernel: Kernel, at: Sequence[str], accesses: Sequence[str]) -> list[int]:
    """The addresses of the places ``at``, and of what uses memory in the functions ``accesses``.

    Raises:
        SymbolError: There is no such function.
        UsageError: A place is no instruction.
    """
    found: dict[int, None] = {}
    for text in at:
        if is_pattern(text):
            found.update({symbol.address: None for symbol in _matching(kernel, text)})
        else:
            found[instruction_at(kernel, text)] = None
    for text in accesses:
        for symbol in _matching(kernel, text):
            for insn in _code(kernel, symbol.address):
                if "[" in insn.operands and insn.mnemonic.split()[-1] not in _NO_ACCESS:
                    found[insn.address] = None
    if len(found) > _MOST:
        raise UsageError(f"{len(found)} places to switch at: name fewer, at most {_MOST}")
    return [*found]


def instruction_at(kernel: Kernel, text: str) -> int:
    """The address of the instruction at a place as people write it: ``vfs_read+0x1c``.

    Raises:
        SymbolError: There is no such function.
        UsageError: No instruction begins there, or it is no text.
    """
    if not isinstance(text, str):
        raise UsageError(f"{text!r} is no place: write 'f', 'f+0x1c' or '0xADDRESS'")
    place = parse_place(text)
    if place.symbol is None:
        address = place.address or 0
        named = kernel.symbols.at(address)
        start = address if named is None else named.symbol.address
    else:
        start = kernel.symbols[place.symbol].address
        address = start + place.offset
    in_image = any(low <= address < high for low, high in kernel.image.text_ranges)
    if not in_image and not kernel.machine.text.is_code(address):
        raise UsageError(f"{text} is not code: nothing can be executed there")
    if address != start:
        starts = {insn.address for insn in _code(kernel, start)}
        if address not in starts:
            before = max((one for one in starts if one < address), default=start)
            raise UsageError(
                f"no instruction begins at {text}: the one before begins at "
                f"{kernel.machine.symbolize(before)}"
            )
    return address


def _matching(kernel: Kernel, name: str) -> list[Symbol]:
    if not is_pattern(name):
        return [kernel.symbols[name]]
    found = kernel.symbols.matching(name)
    if not found:
        raise SymbolError(name, f"no function matches {name}")
    return found


def _code(kernel: Kernel, start: int) -> Iterator[Instruction]:
    """The instructions of the function at ``start``."""
    named = kernel.symbols.at(start)
    size = 0 if named is None else named.size
    try:
        code = kernel.machine.read_code(start, size)
    except GuestMemoryError:  # it has not begun to boot
        code = kernel.image.read(start, size)
    return disassemble(kernel.arch, code, start)
