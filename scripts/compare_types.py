#!/usr/bin/env python3
"""Compares the C text of all types of whole kernels with what bpftool, pahole and pfunct write.

    scripts/compare_types.py KERNEL...

Needs bpftool and pahole (Debian's packages of these names). Three comparisons a kernel, each of
whole texts without their white space:

bpftool  all structs, unions, enums and typedefs, with their names, types and packing
pahole   offset and size of each member, the holes and the padding of all structs
pfunct   the prototypes of all functions with the names of their parameters

A definition that occurs several times counts several times. What the tools invent or
get wrong is left out: bpftool's unnamed bit fields in place of holes and its numbers behind equal
names, the mode of enums that older ones do not know, the compiler's own typedefs; pahole's forced
alignments and its advice, and the offsets in arrays of anonymous structs, which it counts anew;
pfunct's const, its pointers with attributes, and those to arrays and to pointers to functions.
Exit status 1 if anything differs.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from kprobesim.image import load_image
from kprobesim.types.btf import Btf
from kprobesim.types.c_text import definition, prototype
from kprobesim.types.model import Composite, Enum, Function, Struct, Typedef

_SHOWN = 8
_BUILTIN = ("__builtin_va_list", "__Poly64_t", "__Poly128_t")  # typedefs of the compiler's own
_INNER = re.compile(r"(?m)^\t+\} \*?\w+\[|^\t+\} ?\*")  # anonymous structs in arrays or pointed to


def run(*command: str) -> str:
    """What the program prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout


def plain(text: str) -> str:
    """A text without what the tools do differently and C does not mind."""
    text = re.sub(r"(?m)^\s*(?:(?:unsigned|long|int|short|char)\s*)+: ?\d+;\n", "", text)
    text = re.sub(r"(\w)___\d+\b", r"\1", text)
    text = re.sub(r" __attribute__\(\(mode\(\w+\)\)\)", "", text)
    text = re.sub(r"__attribute__\(\(__?(\w+?)_?_?\)\)", r"\1", text)
    return re.sub(r"\s*([^\w\s])\s*", r"\1", " ".join(text.split()))


def blocks(text: str) -> Iterator[str]:
    """The definitions in a text: each ends with a line that starts with ``}`` or is one line."""
    lines: list[str] = []
    for line in text.splitlines(keepends=True):
        if not lines and not re.match(r"(struct|union|enum|typedef)\b", line):
            continue
        lines.append(line)
        if line.startswith("}") or (len(lines) == 1 and line.rstrip().endswith(";")):
            yield "".join(lines)
            lines = []


def theirs_in_c(text: str) -> Iterator[str]:
    """What bpftool defines; forward declarations are its way to get the order right."""
    for block in blocks(text):
        if not re.match(r"(struct|union) \w+;\n|enum \{", block):
            one = plain(block)
            if not one.endswith(tuple(f" {name};" for name in _BUILTIN)):
                yield one


def ours_in_c(btf: Btf) -> Iterator[str]:
    """The same of ours."""
    for each in btf:
        # What is anonymous is written where it is used; bpftool adds the enums that nobody uses.
        if isinstance(each, (Composite, Enum, Typedef)) and each.name not in ("", *_BUILTIN):
            yield plain(definition(each, offsets=False))


def placed(text: str) -> str:
    """The name of a struct, the places of its members, and its holes and padding."""
    head = text.split("{", 1)[0].strip()
    found = [head]
    for line in text.splitlines():
        place = re.search(r"(\w*)(?::\s*\d+)?(?:\[\d*\])*\)?[^;/]*;\s*/\*\s*([\d: ]+?)\s*\*/", line)
        if place:
            found.append(" ".join(place[2].replace(":", " : ").split()))
        hole = re.search(r"XXX (\d+ \w+ hole)|^\t/\* ((?:bit_)?padding: \d+|size: \d+)", line)
        if hole:
            found.append(hole[1] or hole[2])
    return " | ".join(found)


def theirs_placed(text: str) -> Iterator[str]:
    """What pahole says of structs; of a typedef of an anonymous one it says nothing."""
    for block in blocks(text):
        if re.match(r"struct \w+ \{", block) and not _INNER.search(block):
            yield placed(block)


def ours_placed(btf: Btf) -> Iterator[str]:
    """The same of ours."""
    for each in btf:
        if isinstance(each, Struct) and each.name:
            text = definition(each)
            if not _INNER.search(text):
                yield placed(text)


def without_const(text: str) -> str:
    """A prototype as pfunct can write it."""
    return re.sub(
        r"\(\*(\**\w+)\)(\[\d+\]|\([^()]*\))+", r"*\1", plain(re.sub(r"\bconst\b", "", text))
    )


def theirs_prototypes(text: str) -> Iterator[str]:
    """What pfunct says."""
    text = re.sub(r"<ERROR\((.*?)\)[^>]*!>\n?", "?", text)
    for line in text.splitlines():
        if "?" not in line and " ()(" not in line:
            yield without_const(line.removeprefix("inline "))


def ours_prototypes(btf: Btf) -> Iterator[str]:
    """The same of ours."""
    for each in btf:
        if isinstance(each, Function) and not re.search(
            r"__attribute__|\(\*[^()]*\*\w*\)\(", prototype(each)
        ):
            yield without_const(prototype(each) + ";")


def compare(what: str, theirs: Iterable[str], ours: Iterable[str]) -> int:
    """Print what one has and the other has not, and how many."""
    left, right = Counter(theirs), Counter(ours)
    if what == "pahole":  # it shows what looks alike only once
        left, right = Counter(set(left)), Counter(set(right))
    only_left, only_right = left - right, right - left
    same = sum((left & right).values())
    print(f"  {what:8} {same:6} equal, {only_left.total()} only theirs, {only_right.total()} ours")
    for sign, only in (("-", only_left), ("+", only_right)):
        for text in sorted(only)[:_SHOWN]:
            print(f"    {sign} {text[:400]}")
    return only_left.total() + only_right.total()


def main(paths: list[str]) -> int:
    different = 0
    for path in paths:
        btf = load_image(path).btf
        if btf is None:
            print(f"{path}: has no BTF")
            continue
        print(f"{Path(path).name}: {len(btf)} types")
        with tempfile.NamedTemporaryFile(suffix=".btf") as file:
            file.write(btf.data)
            file.flush()
            in_c = run("bpftool", "btf", "dump", "file", file.name, "format", "c")
            different += compare("bpftool", theirs_in_c(in_c), ours_in_c(btf))
            places = run("pahole", "-F", "btf", file.name)
            different += compare("pahole", theirs_placed(places), ours_placed(btf))
            prototypes = run("pfunct", "-F", "btf", "-P", file.name)
            different += compare("pfunct", theirs_prototypes(prototypes), ours_prototypes(btf))
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
