"""The place of a probe: ``[MODULE:]SYMBOL[+OFFSET][%return]`` or an address."""

from __future__ import annotations

import errno
import re
from typing import NamedTuple

from kprobesim.dynevent.facts import KernelFacts
from kprobesim.dynevent.grammar.c_text import kstrtol, kstrtoul
from kprobesim.dynevent.grammar.command import Command

__all__ = ["Place", "parse_place", "split_symbol"]

_MOST_OFFSET = (1 << 32) - 1


class Place(NamedTuple):
    """Where a probe shall be: a symbol with an offset, or an address.

    Attributes:
        symbol: ``SYMBOL`` or ``MODULE:SYMBOL``; ``None``: it is an address.
        offset: Bytes from the symbol.
        address: The address.
        returns: It is a return probe.
        at_entry: It is where a function begins, as far as the grammar asks (TPARG_FL_FENTRY).
        flagged: Whether the grammar knows that it is a return probe: of an address it does not.
    """

    symbol: str | None
    offset: int
    address: int | None
    returns: bool
    at_entry: bool
    flagged: bool


def split_symbol(text: str) -> tuple[int, str, int]:
    """``SYMBOL[+-OFFSET]`` as (errno, symbol, offset): traceprobe_split_symbol_offset()."""
    found = re.search("[+-]", text)
    if found is None:
        return 0, text, 0
    number, offset = kstrtol(text[found.start() :])
    return number, text[: found.start()], offset


def parse_place(command: Command, kernel: KernelFacts, *, returns: bool) -> Place:
    """The second word.

    Args:
        command: The definition.
        kernel: Whom to ask.
        returns: It begins with ``r``.

    Raises:
        ProbeEventError: This kernel refuses it.
    """
    word = command.words[1]
    number, address = kstrtoul(word)
    if not number:
        return Place(None, 0, address, returns, at_entry=False, flagged=False)
    if "/" in word and ":" in word:
        raise command.silent()  # a uprobe's, for which there is another file
    text, percent, suffix = word.partition("%")
    if percent:
        if suffix != "return":
            raise command.refusal("BAD_ADDR_SUFFIX", 1, len(text))
        returns = True
    number, symbol, offset = split_symbol(text)
    if number or not 0 <= offset <= _MOST_OFFSET:
        raise command.refusal("BAD_PROBE_ADDR", 1)
    if command.dialect.symbols_first:
        _check_symbol(symbol, command, kernel)
    entry = kernel.entry_errno(symbol, offset)
    if entry == errno.EINVAL and returns:
        raise command.refusal("BAD_RETPROBE", 1)
    if not command.dialect.symbols_first:
        _check_symbol(symbol, command, kernel)
    return Place(symbol, offset, None, returns, at_entry=not entry and not returns, flagged=True)


def _check_symbol(symbol: str, command: Command, kernel: KernelFacts) -> None:
    number = kernel.symbol_errno(symbol)
    if number:
        name = "NON_UNIQ_SYMBOL" if number == errno.EADDRNOTAVAIL else "BAD_PROBE_ADDR"
        final = errno.EINVAL if command.dialect.symbols_first else number
        raise command.refusal(name, 1, number=final)
