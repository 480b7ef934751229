"""Litmus tests: a few loads, stores and barriers for each CPU, as text and as machine code.

A program is words such as ``x=1`` (a store), ``x`` (a load), ``x:=1`` (a store-release), ``x?`` (a
load-acquire), ``mb``, ``wmb``, ``rmb``, ``isb``, ``xchg:x=1``, ``swp:x=1`` (an exchange without an
order; ``swpa``, ``swpl`` and ``swpal`` have one), ``spin:x`` (a load, until it is not 0). ``@`` in
front of a place: the address is made of what was loaded last; ``~``: what is stored is made of it;
``ctrl``: a branch on it. What a CPU loads are its registers, in order.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from kprobesim import CalledKernel, call

__all__ = ["LOADING", "PLACES", "Litmus", "Op"]

PLACES = "xyz"
_APART = 64  # bytes between two places
_SWAPS = "swp", "swpa", "swpl", "swpal"
LOADING = "load", "acquire", "xchg", "spin", *_SWAPS
"""The kinds that load."""
_ALONE = "mb", "wmb", "rmb", "isb", "ctrl"
_LOADS = 3


class Op(NamedTuple):
    """An instruction of a program.

    Attributes:
        kind: "load", "store", "release", "acquire", "spin", an exchange, a barrier, or "ctrl".
        place: What it loads or stores.
        value: What it stores.
        address: Whether the address is made of what was loaded last.
        data: Whether what is stored is.
    """

    kind: str
    place: str = ""
    value: int = 0
    address: bool = False
    data: bool = False


class Litmus:
    """A program for each CPU, in a guest.

    Attributes:
        programs: What each does.
    """

    def __init__(self, kernel: CalledKernel, texts: Sequence[str]) -> None:
        """Put them into the guest's memory."""
        self._kernel = kernel
        kinds = _KINDS[kernel.arch]
        self.programs = [
            [op._replace(kind=kinds.get(op.kind, op.kind)) for op in _parse(text)] for text in texts
        ]
        size = _APART * len(PLACES)
        self._places = kernel.alloc(size)
        kernel.write(self._places, bytes(size))
        self._functions = []
        for program in self.programs:
            code = _ASSEMBLE[kernel.arch](program)
            address = kernel.alloc(len(code), executable=True)
            kernel.write(address, code)
            self._functions.append(address)

    def outcomes(self, model: str | None, **how: Any) -> set[tuple[Any, ...]]:
        """(Registers by CPU, memory) in the end, of all schedules with two preemptions."""
        found, kernel, places = set(), self._kernel, self._places

        def note(results: dict[str, int]) -> None:
            loaded = zip(results.values(), self.programs, strict=True)
            memory = [kernel.read(places + _APART * at, 1)[0] for at in range(len(PLACES))]
            found.add((tuple(_registers(value, ops) for value, ops in loaded), tuple(memory)))

        calls: Any = {f"cpu{n}": call(at, places) for n, at in enumerate(self._functions)}
        result = kernel.race(invariant=note, memory=model, data_races=False, **how, **calls)
        assert result.failures == [], result
        return found


def _parse(text: str) -> list[Op]:
    return [_parse_word(word) for word in text.split()]


def _parse_word(word: str) -> Op:
    if word in _ALONE:
        return Op(word)
    kind, colon, rest = word.partition(":")
    if not colon or rest.startswith("="):
        kind, rest = "", word
    place, equals, value = rest.partition("=")
    name = place.strip("@~:?")
    address, data = "@" in place, "~" in place
    if not equals:
        return Op(kind or ("acquire" if "?" in place else "load"), name, address=address)
    store = kind or ("release" if place.endswith(":") else "store")
    return Op(store, name, int(value), address, data)


def _registers(result: int, ops: list[Op]) -> tuple[int, ...]:
    loads = sum(op.kind in LOADING for op in ops)
    return tuple(result >> 8 * number & 0xFF for number in range(loads))


def _x86_64(ops: list[Op]) -> bytes:
    code, loads = bytes.fromhex("31c0 31c9 31d2"), 0  # xor eax, ecx, edx
    for op in ops:
        at = _APART * PLACES.index(op.place) if op.place else 0
        modrm = bytes([0x87 | loads << 3]) + struct.pack("<i", at)  # [rdi + at], eax/ecx/edx
        if op.kind in ("load", "spin"):
            code += b"\x8b" + modrm
            if op.kind == "spin":  # test e?x, e?x; jz there
                code += bytes([0x85, 0xC0 | loads << 3 | loads, 0x74, 0xF6])
            loads += 1
        elif op.kind == "store":
            code += b"\xc7\x87" + struct.pack("<ii", at, op.value)
        elif op.kind == "xchg":
            code += bytes([0xB8 | loads]) + struct.pack("<i", op.value) + b"\x87" + modrm
            loads += 1
        elif op.kind == "mb":
            code += bytes.fromhex("0faef0")
    assert loads <= _LOADS
    return code + bytes.fromhex("c1e108 09c8 c1e210 09d0 c3")


def _arm64(ops: list[Op]) -> bytes:
    words, loads = [0x5280_0001, 0x5280_0002, 0x5280_0003], 0  # mov w1, w2, w3, #0
    for op in ops:
        if op.kind in _ARM64_ALONE:
            words.append(_ARM64_ALONE[op.kind])
            continue
        if op.kind == "ctrl":
            words.append(0x3500_0020 | loads)  # cbnz w_last, the next one
            continue
        at = _APART * PLACES.index(op.place)
        target = loads + 1
        words.append(0x9100_0004 | at << 10)  # add x4, x0, #at
        words.append(0x5280_0009 | op.value << 5)  # mov w9, #value
        if op.address or op.data:
            words.append(0x4A00_000A | loads << 16 | loads << 5)  # eor w10, w_last, w_last
        if op.address:
            words.append(0x8B0A_0084)  # add x4, x4, x10
        if op.data:
            words.append(0x0B0A_0129)  # add w9, w9, w10
        if op.kind in LOADING:
            loads += 1
        words += [
            word | target if op.kind in LOADING and at == 0 else word
            for at, word in enumerate(_ARM64[op.kind])
        ]
        if op.kind == "spin":
            words.append(0x34FF_FFE0 | target)  # cbz w_target, there
    assert loads <= _LOADS
    words += [0x2A02_2020, 0x2A03_4000, 0xD65F_03C0]  # orr w0, w1, w2 << 8; | w3 << 16; ret
    return struct.pack(f"<{len(words)}I", *words)


_ARM64_ALONE = {
    "mb": 0xD503_3BBF,
    "wmb": 0xD503_3ABF,
    "rmb": 0xD503_39BF,
    "isb": 0xD503_3FDF,
}
_ARM64 = {  # of X4, to the register in the low bits of the first word or from w9
    "load": [0xB940_0080],
    "spin": [0xB940_0080],
    "acquire": [0x88DF_FC80],
    "store": [0xB900_0089],
    "release": [0x889F_FC89],
    # ldxr w_target, [x4]; stlxr w5, w9, [x4]; cbnz w5, there; dmb ish: as the kernel does
    "xchg": [0x885F_7C80, 0x8805_FC89, 0x35FF_FFC5, 0xD503_3BBF],
    # LDXR or LDAXR, and STXR or STLXR
    "swp": [0x885F_7C80, 0x8805_7C89, 0x35FF_FFC5],
    "swpa": [0x885F_FC80, 0x8805_7C89, 0x35FF_FFC5],
    "swpl": [0x885F_7C80, 0x8805_FC89, 0x35FF_FFC5],
    "swpal": [0x885F_FC80, 0x8805_FC89, 0x35FF_FFC5],
}
_KINDS = {"x86_64": {"release": "store", "acquire": "load"}, "arm64": {}}
"""What an architecture has no instruction of its own for."""
_ASSEMBLE = {"x86_64": _x86_64, "arm64": _arm64}
