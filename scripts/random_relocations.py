"""An object with CO-RE relocations of random fields, types and values of a kernel.

Used by ``compare_with_libbpf.py --random``. A header of all types comes from ``bpftool btf dump``,
and clang from the ziglang wheel; lines that clang refuses (values of enums that another enum has,
names that are words of C) are left out.
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

from kprobesim.types.btf import Btf
from kprobesim.types.model import Array, Composite, Enum, Int

__all__ = ["random_object"]

_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
_IN_A_PROGRAM = 100
_DEEPEST = 4
_MOST_ATTEMPTS = 60
_START = """#include "vmlinux.h"
volatile unsigned long long out;
"""
_PROGRAM = (
    '__attribute__((section("kprobe/f"), used)) int program{}(void *ctx)\n{{\n{}\nreturn 0;\n}}\n'
)


def random_object(btf: Btf, count: int, seed: int, folder: Path) -> bytes:
    """An object with about ``count`` relocations; files are left in ``folder``."""
    (folder / "types.btf").write_bytes(btf.data)
    header = subprocess.run(
        ["bpftool", "btf", "dump", "file", str(folder / "types.btf"), "format", "c"],
        capture_output=True,
        check=True,
        timeout=300,
    ).stdout
    (folder / "vmlinux.h").write_bytes(header)
    chooser = _Chooser(btf, random.Random(seed))
    lines = [f"out = {chooser.one()};" for _ in range(count)]
    for _ in range(_MOST_ATTEMPTS):
        refused = _compile(lines, folder)
        if not refused:
            return (folder / "random.o").read_bytes()
        lines = [line for number, line in enumerate(lines) if number not in refused]
    raise RuntimeError("clang refuses more and more lines")


def _compile(lines: list[str], folder: Path) -> set[int]:
    """The numbers of the lines that clang refuses; none if it made the object."""
    text, places = _START, {}
    for start in range(0, len(lines), _IN_A_PROGRAM):
        part = lines[start : start + _IN_A_PROGRAM]
        first = text.count("\n") + 3
        places.update({first + number: start + number for number in range(len(part))})
        text += _PROGRAM.format(start, "\n".join(part))
    (folder / "random.c").write_text(text)
    clang = [sys.executable, "-m", "ziglang", "clang", "-target", "bpf", "-g", "-O2", "-w"]
    done = subprocess.run(
        [*clang, "-ferror-limit=0", "-c", "random.c", "-o", "random.o"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode == 0:
        return set()
    wrong = {int(line) for line in re.findall(r"^random\.c:(\d+):\d+: error", done.stderr, re.M)}
    if not wrong:
        raise RuntimeError(done.stderr)
    return {places[line] for line in wrong}


class _Chooser:
    def __init__(self, btf: Btf, choose: random.Random) -> None:
        self._choose = choose
        unique = {name for name, numbers in btf.names.items() if len(numbers) == 1}
        named = [one for one in btf if one.name in unique]
        self._composites = [one for one in named if isinstance(one, Composite) and one.members]
        self._enums = [one for one in named if isinstance(one, Enum) and one.values]

    def one(self) -> str:
        """A C expression with one relocation."""
        choice = self._choose.random()
        if choice < 0.1:
            enum = self._choose.choice(self._enums)
            value = self._choose.choice(enum.values)
            what = f"*(enum {enum.name} *){value.name}, {self._choose.randrange(2)}"
            return f"__builtin_preserve_enum_value({what})"
        owner = self._choose.choice(self._composites)
        path = self._path(owner, _DEEPEST) if choice < 0.8 else None
        if path is None:
            what = f"*({owner.kind} {owner.name} *)0, {self._choose.randrange(3)}"
            return f"__builtin_preserve_type_info({what})"
        text, is_number = path
        number = self._choose.randrange(6 if is_number else 3)
        field = f"(({owner.kind} {owner.name} *)ctx)->{text}"
        return f"__builtin_preserve_field_info({field}, {number})"

    def _path(self, owner: Composite, deepest: int) -> tuple[str, bool] | None:
        """A way to a member, and whether it is a number of its own: no array, no element."""
        named = [one for one in owner.members if _IDENTIFIER.fullmatch(one.name)]
        nameless = [one.type.stripped for one in owner.members if not one.name]
        if nameless and self._choose.random() < 0.5:
            inner = self._choose.choice(nameless)
            return self._path(inner, deepest) if isinstance(inner, Composite) else None
        if not named:
            return None
        member = self._choose.choice(named)
        text, kind = member.name, member.type.stripped
        if member.bit_size:
            return text, True
        while isinstance(kind, Array) and kind.count and self._choose.random() < 0.6:
            text += f"[{self._choose.randrange(kind.count)}]"
            kind = kind.element.stripped
        if isinstance(kind, Composite) and deepest and self._choose.random() < 0.6:
            rest = self._path(kind, deepest - 1)
            if rest is not None:
                return f"{text}.{rest[0]}", rest[1]
        is_number = isinstance(kind, (Int, Enum)) and (kind.size or 9) <= 8
        return text, is_number and not text.endswith("]")
