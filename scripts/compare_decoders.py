#!/usr/bin/env python3
"""Compare our x86-64 decoder with other ones over random encodings, and explain each difference.

    python scripts/compare_decoders.py                          against capstone
    python scripts/compare_decoders.py --objdump                and against binutils
    python scripts/compare_decoders.py --kernel linux-image.deb and against the kernel's own
    python scripts/compare_decoders.py --count 10000 --seed 7

The bar is the kernel's decoder, by which kprobes finds instruction boundaries: its insn_decode()
is called in the kernel that ``--kernel`` names. A difference that belongs to no class of
``CLASSES`` is printed, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import capstone

from kprobesim import Kernel
from kprobesim.arch.x86_64 import Undecodable, length

__all__ = ["CLASSES", "JUDGES", "compare", "encodings", "kernel_judge"]

MAX = 15
_PREFIXES = (0x66, 0x67, 0xF2, 0xF3, 0xF0, 0x2E, 0x36, 0x3E, 0x26, 0x64, 0x65)

Judge = Callable[[Iterable[bytes]], list[int]]
"""The length that somebody gives each encoding; 0: none."""


class Class(NamedTuple):
    """Encodings that two decoders see differently.

    ``verdict`` is ours beside the other's: longer, shorter, ``ours`` (only we decode it) or
    ``theirs``. ``shape`` is a regular expression for what :func:`shape_of` says.
    """

    judges: str
    name: str
    verdict: str
    shape: str
    why: str


CLASSES = (
    Class("capstone objdump", "operands", "ours", ".*",
          "the kernel's decoder counts bytes and does not judge operands, LOCK, vvvv or modes"),
    Class("capstone objdump", "near branch with 66", "longer", r".*66.* (- e[89]|0f 8.)$",
          "66 does not shorten a near branch on Intel's processors, nor for the kernel"),
    Class("capstone", "RET with 66 and REX", "shorter", r".*66.* - c[2a]$",
          "its immediate has two bytes, whatever the prefixes"),
    Class("capstone", "UD1", "longer", r".* 0f b9$", "UD1 has a ModR/M byte"),
    Class("capstone objdump", "no such row", "shorter", r".* (0f|0f38|0f3a) ..$",
          "where the kernel's map has no instruction for the last prefix it sees no ModR/M"),
    Class("capstone objdump", "no immediate", "shorter", r".* 0f 7[123]$",
          "where a group has no instruction the kernel sees no immediate"),
    Class("capstone objdump", "prefixes", "theirs", r"(..){5,}(- |.* )",
          "the kernel's decoder has room for four different prefixes"),
    Class("objdump", "FWAIT", "shorter", r".* - 9b$",
          "binutils takes an FPU instruction together with the FWAIT before it"),
    Class("objdump", "REX FWAIT", "longer", r".* - 9b$", "and a prefix apart from it"),
    Class("capstone objdump", "REX in the middle", "theirs", r".* rex .*",
          "the processor ignores a REX that is not last; we refuse such an instruction"),
    Class("capstone objdump", "vector instruction", "theirs", r".* (vex|evex|0f|0f38|0f3a).*",
          "AMD's XOP, FMA4, SSE4A, and what exists with VEX or EVEX only, is none to the kernel"),
    Class("capstone objdump", "XOP", "shorter", r".* vex-xop ..$",
          "8F is POP to the kernel, which knows nothing of AMD's XOP"),
    Class("capstone objdump", "XOP", "longer", r".* vex-xop ..$", "the same"),
    Class("kernel", "REX in the middle", "theirs", r".* rex .*",
          "for the kernel it ends there; the processor goes on, so we refuse it"),
    Class("kernel", "prefixes", "theirs", r"(..){5,} .*",
          "for the kernel the fifth different prefix is an opcode; we refuse it"),
    Class("kernel", "MOV CRn", "shorter", r".* 0f 2[0-3]$",
          "the kernel believes ModR/M.mod, which the processor ignores"),
    Class("kernel", "32-bit mode", "longer", r".* - (82|9a|d4|ea)$",
          "kernels up to 6.14 gave their operands to these, later ones know that they are gone"),
    Class("kernel", "far pointer", "theirs", r".* - (9a|ea)$", "the same, with REX.W"),
    Class("kernel", "REX2", "shorter", r".* - d5$", "AAD here; since 6.10 the kernel knows APX"),
    Class("kernel", "REX2", "longer", r".* - d5$", "the same"),
    Class("kernel", "REX2", "ours", r".* - d5$", "the same"),
    Class("kernel before 6.10", "new instruction", "longer", r".* 0f3[8a] ..$",
          "the kernel did not know it yet, and sees no ModR/M"),
    Class("kernel before 6.10", "new instruction", "ours", r".* (0f3[8a]|e?vex\d) ..$",
          "the kernel did not know it yet"),
    Class("kernel before 6.10", "new instruction", "theirs",
          r".* (0f38 ..|evex2 c[b-d])$", "the kernel did not know yet that VEX is a must"),
)  # fmt: skip


def encodings(count: int, seed: int) -> Iterator[bytes]:
    """Random encodings of 15 bytes: a fourth anything, the others prefixes and a known map."""
    rng = random.Random(seed)
    for _ in range(count):
        if rng.random() < 0.25:
            yield rng.randbytes(MAX)
            continue
        code = bytearray()
        while rng.random() < 0.4:
            code.append(rng.choice(_PREFIXES))
        if rng.random() < 0.4:
            code.append(rng.randrange(0x40, 0x50))
        code += (
            b"",
            b"",
            b"\x0f",
            b"\x0f",
            b"\x0f\x38",
            b"\x0f\x3a",
            b"\xc5",
            bytes((0xC4, rng.randrange(1, 4) | rng.randrange(8) << 5)),
            bytes((0x62, rng.randrange(1, 7) | rng.randrange(16) << 4, rng.randrange(256) | 4)),
        )[rng.randrange(9)]
        yield bytes((code + rng.randbytes(MAX))[:MAX])


def shape_of(code: bytes) -> str:
    """What an encoding looks like: different prefixes, ``rex`` if followed by more, map, opcode."""
    at = 0
    while at < MAX - 1 and code[at] in _PREFIXES:
        at += 1
    seen = bytes(dict.fromkeys(code[:at])).hex() or "-"
    words = [seen]
    if code[at] & 0xF0 == 0x40:
        at += 1
        if at < MAX and (code[at] & 0xF0 == 0x40 or code[at] in _PREFIXES):
            words.append("rex")
    rest = code[at:] + bytes(4)
    if rest[0] == 0x0F and rest[1] in (0x38, 0x3A):
        words += [rest[:2].hex(), f"{rest[2]:02x}"]
    elif rest[0] == 0x0F:
        words += ["0f", f"{rest[1]:02x}"]
    elif rest[0] == 0xC5:
        words += ["vex1", f"{rest[2]:02x}"]
    elif rest[0] == 0xC4:
        words += [f"vex{rest[1] & 31}", f"{rest[3]:02x}"]
    elif rest[0] == 0x62:
        words += [f"evex{rest[1] & 7}", f"{rest[4]:02x}"]
    elif rest[0] == 0x8F and rest[1] & 0x38:
        words += ["vex-xop", f"{rest[3]:02x}"]
    else:
        words += ["-", f"{rest[0]:02x}"]
    return " ".join(words)


def ours(code: bytes) -> int:
    """Our decoder's length; 0: undecodable."""
    try:
        return length(code)
    except Undecodable:
        return 0


def _capstone(codes: Iterable[bytes]) -> list[int]:
    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    return [next((found[1] for found in engine.disasm_lite(c, 0, 1)), 0) for c in codes]


def _objdump(codes: Iterable[bytes]) -> list[int]:
    """binutils: each encoding in a place of 32 bytes, padded with NOPs to meet the next one."""
    codes = list(codes)
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"".join(code.ljust(32, b"\x90") for code in codes))
        file.flush()
        command = ["objdump", "-D", "-z", "-w", "-b", "binary", "-m", "i386:x86-64", file.name]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = [0] * len(codes)
    for match in re.finditer(r"^ *([0-9a-f]+):\t([0-9a-f ]+?) *\t(.*)$", text, re.MULTILINE):
        at = int(match[1], 16)
        if at % 32 == 0 and "(bad)" not in match[3]:
            found[at // 32] = len(match[2].split())
    return found


JUDGES: dict[str, Judge] = {"capstone": _capstone, "objdump": _objdump}


def kernel_judge(kernel: Kernel) -> Judge:
    """The insn_decode() of a loaded kernel (struct insn has its length at 82: 5.13 to 7.3)."""
    code, insn = kernel.alloc(16), kernel.alloc(256)

    def judge(codes: Iterable[bytes]) -> list[int]:
        lengths = []
        for encoding in codes:
            kernel.write(code, encoding)
            status = kernel.call("insn_decode", insn, code, MAX, 1) & 0xFFFFFFFF
            lengths.append(0 if status >> 31 else kernel.read(insn + 82, 1)[0])
        return lengths

    return judge


def compare(name: str, codes: list[bytes], judge: Judge) -> tuple[Counter[str], list[str]]:
    """How many encodings are in which class, and a line for each that is in none.

    Args:
        name: Of the judge, as in ``Class.judges``.
        codes: Encodings of 15 bytes.
        judge: Who gives the other lengths.
    """
    counts: Counter[str] = Counter()
    unexplained = []
    table = [(c, re.compile(c.shape)) for c in CLASSES if c.judges in name or name in c.judges]
    for code, theirs in zip(codes, judge(codes), strict=True):
        mine = ours(code)
        if mine == theirs:
            counts["the same"] += 1
            continue
        verdict = (
            "theirs" if not mine else "ours" if not theirs
            else "longer" if mine > theirs else "shorter"
        )  # fmt: skip
        shape = shape_of(code)
        for known, pattern in table:
            if known.verdict == verdict and pattern.match(shape):
                counts[f"{known.name} ({known.verdict}): {known.why}"] += 1
                break
        else:
            unexplained.append(f"{code.hex(' ')}  [{shape}]  ours {mine}, {name} {theirs}")
    return counts, unexplained


def main() -> int:
    """Do it; the number of judges with unexplained differences."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--objdump", action="store_true")
    parser.add_argument("--kernel", type=Path)
    args = parser.parse_args()
    codes = list(encodings(args.count, args.seed))
    judges = {"capstone": _capstone}
    if args.objdump:
        judges["objdump"] = _objdump
    if args.kernel:
        kernel = Kernel.load(args.kernel)
        release = tuple(map(int, kernel.version.split(".")[:2]))
        judges["kernel before 6.10" if release < (6, 10) else "kernel"] = kernel_judge(kernel)  # type: ignore[assignment]
    bad = 0
    for name, judge in judges.items():
        counts, unexplained = compare(name, codes, judge)
        print(f"{name}: {len(codes)} encodings, {len(unexplained)} differences unexplained")
        for what, count in counts.most_common():
            print(f"{count:9}  {what}")
        for line in unexplained[:40]:
            print(f"           {line}")
        bad += bool(unexplained)
    return bad


if __name__ == "__main__":
    sys.exit(main())
