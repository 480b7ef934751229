"""Compare what became of random functions, by kprobesim, with a count by llvm-dwarfdump and nm.

    python scripts/compare_inlining.py VMLINUX [--functions 300] [--seed 1]

VMLINUX has debug information, as that of a -dbg package. llvm-dwarfdump prints all of it, which
takes a minute or two; here it is read for entries of inlined copies that have a byte of code left.
A function is the same in both if it is in the same class (not inlined, in part, wholly) and its
copies are in the same functions. Wanted are the packages llvm and binutils; exit status 1 if any
function differs. Left out is code in Rust, whose names the two spell differently.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from kprobesim.functions.facts import Inlining
from kprobesim.functions.functions import open_functions
from kprobesim.kernel.offline import open_rules

_TAG = re.compile(r"0x[0-9a-f]+:( +)DW_TAG_(\w+)")
_ATTRIBUTE = re.compile(r"\s+DW_AT_(\w+)\s*\((.*)\)?$")
_QUOTED = re.compile(r'"([^"]+)"')
_RANGE = re.compile(r"\s+\[(0x[0-9a-f]+), (0x[0-9a-f]+)\)")
_KEPT = r"DW_TAG_|DW_AT_(name|abstract_origin|low_pc|high_pc)|^ +\[0x"
_RUST = "_R"
#: What objcopy puts before the names of code that runs elsewhere, after it was compiled.
_PREFIX = re.compile(r"__(?:kvm_nvhe|efistub|pi)_")
_SUFFIX = re.compile(r"\.(?:isra|constprop)\b.*")


def lines_of(vmlinux: Path) -> Iterator[str]:
    """The lines of llvm-dwarfdump that matter: grep is faster than Python."""
    pipeline = (
        f"llvm-dwarfdump --debug-info '{vmlinux}' 2>/dev/null"
        " | grep -E -A40 --no-group-separator 'DW_TAG_(subprogram|inlined_subroutine)'"
        f" | grep -E '{_KEPT}'"
    )
    with subprocess.Popen(
        ["sh", "-c", pipeline], stdout=subprocess.PIPE, text=True, env={"LC_ALL": "C"}
    ) as process:
        assert process.stdout is not None
        yield from process.stdout


class Entry:
    """One entry of a subprogram or an inlined copy."""

    def __init__(self, depth: int, tag: str) -> None:
        self.depth = depth
        self.tag = tag
        self.name = ""
        self.low = ""
        self.has_code = False


def count(lines: Iterable[str]) -> tuple[dict[str, set[str]], set[str]]:
    """By function, the functions that hold copies of it; and all that have code of their own."""
    copies: dict[str, set[str]] = defaultdict(set)
    compiled: set[str] = set()
    open_entries: list[Entry] = []
    here: Entry | None = None

    def finish(entry: Entry | None) -> None:
        if entry is None or not entry.has_code:
            return
        if entry.tag == "subprogram":
            compiled.add(entry.name)
            return
        outer = [one for one in open_entries if one is not entry]
        names = {one.name for one in (outer[0], outer[-1])} if outer else {entry.name}
        if outer and outer[0].has_code and entry.name not in names:
            copies[entry.name].add(outer[0].name)

    for line in lines:
        tag = _TAG.match(line)
        if tag:
            finish(here)
            depth = len(tag[1])
            while open_entries and open_entries[-1].depth >= depth:
                open_entries.pop()
            here = None
            if tag[2] in ("subprogram", "inlined_subroutine"):
                here = Entry(depth, tag[2])
                open_entries.append(here)
        elif here is not None and (attribute := _ATTRIBUTE.match(line)):
            kind, value = attribute.groups()
            quoted = _QUOTED.search(value)
            if kind in ("name", "abstract_origin") and quoted and not here.name:
                here.name = quoted[1]
            elif kind == "low_pc":
                here.low = value
            elif kind == "high_pc":
                here.has_code = value != here.low
        elif here is not None and (part := _RANGE.match(line)):
            here.has_code = here.has_code or part[1] != part[2]
    finish(here)
    return copies, compiled


def code_symbols(vmlinux: Path) -> set[str]:
    """The names of code, without the suffix of what runs instead of the function itself."""
    text = subprocess.run(["nm", str(vmlinux)], check=True, capture_output=True, text=True).stdout
    rows = (line.split() for line in text.splitlines())
    names = {row[2] for row in rows if len(row) == 3 and row[1] in "tTwWi"}
    return {_SUFFIX.sub("", name) for name in names}


def _plain(name: str) -> str:
    """A function's name as in its source."""
    return _PREFIX.sub("", name.partition(".")[0], count=1)


def main() -> int:
    """Compare, print, and say whether all were equal."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("vmlinux", type=Path, help="a kernel with debug information")
    parser.add_argument("--functions", type=int, default=300, help="how many to compare")
    parser.add_argument("--seed", type=int, default=1, help="which random ones")
    arguments = parser.parse_args()
    started = time.monotonic()
    theirs, compiled = count(lines_of(arguments.vmlinux))
    symbols = code_symbols(arguments.vmlinux)
    print(f"llvm-dwarfdump and nm: {time.monotonic() - started:.0f} s")
    rules = open_rules(arguments.vmlinux)
    functions = open_functions(rules.image, rules.read, rules.image.btf)
    names = [n for n in sorted((compiled & symbols) | set(theirs)) if not n.startswith(_RUST)]
    chosen = random.Random(arguments.seed).sample(names, min(arguments.functions, len(names)))
    wrong = 0
    classes: dict[Inlining, int] = defaultdict(int)
    places = 0
    for name in chosen:
        facts = functions.facts(name)
        expected = (
            (Inlining.PART if name in symbols else Inlining.WHOLE)
            if theirs.get(name)
            else Inlining.NOT
        )
        classes[expected] += 1
        ours = {_plain(copy.caller) for copy in facts.inlined_into}
        wanted = {_plain(caller) for caller in theirs.get(name, ())}
        places += len(wanted)
        if facts.inlining is not expected or ours != wanted:
            wrong += 1
            print(f"{name}: {facts.inlining.value}, llvm-dwarfdump: {expected.value}")
            print(f"    only kprobesim: {sorted(ours - wanted)[:8]}")
            print(f"    only llvm-dwarfdump: {sorted(wanted - ours)[:8]}")
    shown = ", ".join(f"{number} {one.value}" for one, number in classes.items())
    print(f"{len(chosen)} functions ({shown}) with {places} places: {wrong} differ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
