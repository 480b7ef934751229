"""Which functions that are new are old ones under another name: by what their code does.

Each function becomes a list of words, one an instruction, without registers' numbers, offsets and
addresses, but with the names of the functions that it calls. Runs of three words that few functions
have tell which could be the same one.
"""

from __future__ import annotations

import math
import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from difflib import SequenceMatcher
from typing import NamedTuple

from kprobesim.arch.architecture import halves
from kprobesim.arch.x86_64.insn import Undecodable, decode
from kprobesim.errors import GuestMemoryError, ImageError
from kprobesim.functions.code import Code

__all__ = ["find_renames", "same_body"]

Words = tuple[str, ...]

_MOST_WORDS = 160  # of a function; what is longer is told by its start
_FEWEST_WORDS = 8  # shorter ones look all alike
_RARE = 24  # functions that may share a run of words for it to tell anything


class _Sure(NamedTuple):
    """How much alike two functions must be.

    Attributes:
        weight: The share of the weight of all runs that either has.
        order: The share of the words, one by one.
        better: How many times better than the next best.
    """

    weight: float
    order: float
    better: float


#: Held against 600 functions that Linux 6.1 and 6.12 both have, as if they had been renamed: of
#: those without kin 284 (x86-64) and 176 (ARM64) were found, none and one wrong; of 600 that are
#: really gone, none and 2 were taken for others.
_BY_CODE = _Sure(0.5, 0.7, 1.2)
_BY_CODE_AND_KIN = _Sure(0.2, 0.4, 1.3)


def find_renames(
    old: Code,
    gone: Mapping[str, int],
    new: Code,
    fresh: Mapping[str, int],
    kin: Callable[[str, str], bool],
) -> dict[str, str]:
    """The new name of each function of ``gone`` whose code is one of ``fresh`` now.

    Args:
        old: The code of the old kernel.
        gone: The functions that only it has, with their addresses.
        new: The code of the new kernel.
        fresh: The functions that only that has.
        kin: Whether names or types speak for a pair, too; less code must be alike then.
    """
    before, after = _words_of(old, gone), _words_of(new, fresh)
    runs = {name: _runs(words) for name, words in after.items()}
    has: dict[Words, list[str]] = defaultdict(list)
    for name, found in runs.items():
        for run in found:
            has[run].append(name)
    total = len(after) + 1
    unknown = math.log(total)
    weights = {run: math.log(total / len(names)) for run, names in has.items()}
    sums: dict[str, float] = {
        name: sum(weights[run] for run in found) for name, found in runs.items()
    }
    best: dict[str, tuple[float, str]] = {}  # of each new name, the old one
    for name, words in before.items():
        mine = _runs(words)
        shared: dict[str, float] = defaultdict(float)
        for run in mine:
            holders = has.get(run, ())
            if len(holders) <= _RARE:
                for other in holders:
                    shared[other] += weights[run]
        whole = sum(weights.get(run, unknown) for run in mine)
        ranked = sorted(
            ((2 * weight / (whole + sums[other] or 1), other) for other, weight in shared.items()),
            reverse=True,
        )
        if not ranked:
            continue
        score, other = ranked[0]
        sure = _BY_CODE_AND_KIN if kin(name, other) else _BY_CODE
        if score < sure.weight or (len(ranked) > 1 and score < sure.better * ranked[1][0]):
            continue
        if SequenceMatcher(None, words, after[other], False).ratio() < sure.order:
            continue
        if other not in best or best[other][0] < score:
            best[other] = score, name
    return {name: other for other, (_, name) in best.items()}


def same_body(old: Code, before: int, new: Code, after: int) -> bool:
    """Whether two functions have the same code but for registers, offsets and addresses."""
    if old.end_of(before) - before != new.end_of(after) - after:
        return False
    one, other = _words_of(old, {"": before}, 1), _words_of(new, {"": after}, 1)
    return bool(one) and one == other


def _runs(words: Words) -> set[Words]:
    return {words[at : at + 3] for at in range(len(words) - 2)}


def _words_of(
    code: Code, functions: Mapping[str, int], fewest: int = _FEWEST_WORDS
) -> dict[str, Words]:
    """The words of each function that has enough of them."""
    read = _READERS[code.part.arch]
    found = {}
    for name, address in functions.items():
        size = min(code.end_of(address) - address, 15 * _MOST_WORDS)
        try:
            body = code.read(address, size)
        except (ImageError, GuestMemoryError):  # its last page ends before the next symbol
            continue
        words = tuple(read(body, address, code.names.get))
        if len(words) >= fewest:
            found[name] = words
    return found


def _x86_64_words(body: bytes, start: int, name_at: Callable[[int], str | None]) -> Iterable[str]:
    at = 0
    words = 0
    while at < len(body) and words < _MOST_WORDS:
        try:
            insn = decode(body, at)
        except Undecodable:
            return
        end = at + insn.length
        text = insn.opcode.hex()
        if insn.opcode in (b"\xe8", b"\xe9"):
            target = name_at(start + end + insn.imm)
            yield f"{text} {target.partition('.')[0]}" if target else text
        elif insn.opcode != b"\xcc" and text not in _PADDING:
            # The mode of the operand tells memory from register, and groups their instruction.
            modrm = insn.modrm
            yield text if modrm is None else f"{text} {modrm >> 6}"
        at = end
        words += 1


_PADDING = ("90", "0f1f")


def _arm64_words(body: bytes, start: int, name_at: Callable[[int], str | None]) -> Iterable[str]:
    count = min(len(body) // 4, _MOST_WORDS)
    for number, word in enumerate(struct.unpack_from(f"<{count}I", body)):
        if word & 0x7C00_0000 == 0x1400_0000:  # B and BL
            distance = (word & 0x3FF_FFFF) - (word << 1 & 0x400_0000)
            target = name_at(start + 4 * (number + distance))
            yield f"{word >> 26:x} {target.partition('.')[0]}" if target else f"{word >> 26:x}"
        elif word not in (0, 0xD503_201F):
            yield f"{word >> 22:x}"


_READERS = halves(x86_64=_x86_64_words, arm64=_arm64_words)
