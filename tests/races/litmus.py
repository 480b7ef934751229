"""Litmus tests: a few loads, stores and barriers for each CPU, as text and as machine code.

A program is words such as ``x=1`` (a store), ``x`` (a load), ``x:=1`` (a store-release), ``x?`` (a
load-acquire), ``mb``, ``wmb``, ``xchg:x=1`` and ``spin:x`` (a load, until it is not 0). What a CPU
loads are its registers, in order.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from kprobesim import CalledKernel, call

__all__ = ["PLACES", "Litmus", "Op"]

PLACES = "xyz"
_APART = 64  # bytes between two places
_LOADING = "load", "acquire", "xchg", "spin"
_LOADS = 3


class Op(NamedTuple):
    """One of "load", "store", "release", "acquire", "mb", "wmb", "xchg" and "spin"."""

    kind: str
    place: str = ""
    value: int = 0


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
    ops = []
    for word in text.split():
        kind, colon, rest = word.partition(":")
        if not colon or rest.startswith("="):
            kind, rest = "", word
        place, equals, value = rest.partition("=")
        if word in ("mb", "wmb"):
            ops.append(Op(word))
        elif not equals:
            load = kind or ("acquire" if place.endswith("?") else "load")
            ops.append(Op(load, place.rstrip("?")))
        else:
            store = kind or ("release" if place.endswith(":") else "store")
            ops.append(Op(store, place.rstrip(":"), int(value)))
    return ops


def _registers(result: int, ops: list[Op]) -> tuple[int, ...]:
    loads = sum(op.kind in _LOADING for op in ops)
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
        at = _APART * PLACES.index(op.place) if op.place else 0
        target = loads + 1
        words.append(0x9100_0004 | at << 10)  # add x4, x0, #at
        words.append(0x5280_0009 | op.value << 5)  # mov w9, #value
        if op.kind in ("load", "acquire", "spin"):
            words.append((0x88DF_FC80 if op.kind == "acquire" else 0xB940_0080) | target)
            if op.kind == "spin":
                words.append(0x34FF_FFE0 | target)  # cbz w_target, there
            loads += 1
        elif op.kind in ("store", "release"):
            words.append(0xB900_0089 if op.kind == "store" else 0x889F_FC89)
        elif op.kind == "xchg":
            # ldxr w_target, [x4]; stlxr w5, w9, [x4]; cbnz w5, there; dmb ish: as the kernel does
            words += [0x885F_7C80 | target, 0x8805_FC89, 0x35FF_FFC5, 0xD503_3BBF]
            loads += 1
        else:
            words.append(0xD503_3BBF if op.kind == "mb" else 0xD503_3ABF)
    assert loads <= _LOADS
    words += [0x2A02_2020, 0x2A03_4000, 0xD65F_03C0]  # orr w0, w1, w2 << 8; | w3 << 16; ret
    return struct.pack(f"<{len(words)}I", *words)


_KINDS = {"x86_64": {"release": "store", "acquire": "load"}, "arm64": {}}
"""What an architecture has no instruction of its own for."""
_ASSEMBLE = {"x86_64": _x86_64, "arm64": _arm64}
