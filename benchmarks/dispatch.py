"""What watched addresses cost where they are and where they are not, and whether all are seen.

    python benchmarks/dispatch.py [--many 100000] [--json]
    python benchmarks/dispatch.py linux-image.deb vmlinuz [--places 1000]

It times, on both sample guests, a tight loop with nothing watched, with 8 addresses and with
many watched elsewhere; a counted turn of the loop with one watched and with many; and watching
many. Counters are machine code, so no Python is on the way. And it boots each kernel that it is
given to the first line of user space with places in it counted, entries of functions and
instructions within, once by the dispatcher and once by a hook of Unicorn's for each. The console
and the time must be those without any, and all counts the same if both have the same time. The
latter takes minutes for more than 1,000 places.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import capstone

from kprobesim import Kernel
from kprobesim.machine.code_watch import CodeWatch, Watch
from kprobesim.machine.unicorn import dispatch
from kprobesim.machine.unicorn.executions import Executions
from kprobesim.machine.unicorn.native import Native

SOURCES = Path(__file__).resolve().parents[1]
FIRST_LINE = "kprobesim init: "
FAR = 0xFFFF_FFFF_9200_0000
FEW = 8
ROUNDS = 5
KINDS = {
    "x86_64": (capstone.CS_ARCH_X86, capstone.CS_MODE_64),
    "arm64": (capstone.CS_ARCH_ARM64, capstone.CS_MODE_LITTLE_ENDIAN),
}


# -- the cost --------------------------------------------------------------------------------------


def cost(arch: str, many: int, turns: int) -> dict[str, float]:
    """Nanoseconds a turn of ``count_to()``, and seconds for watching many."""
    kernel = Kernel.load(SOURCES / f"samples/guest-{arch}.elf")
    loop, watch = kernel.symbols["count_to"], kernel.machine.code_watch
    here, elsewhere = Executions(), Executions()
    code = kernel.read(loop.address, loop.size)
    found = capstone.Cs(*KINDS[arch]).disasm(code, loop.address)
    site = [insn.address for insn in found if insn.mnemonic in ("inc", "add")][-1]

    def turn() -> float:
        best = float("inf")
        for _ in range(ROUNDS):
            began = time.process_time()
            kernel.call("count_to", turns, timeout=None)
            best = min(best, time.process_time() - began)
        return best / turns * 1e9

    def counted() -> float:
        handle = watch.watch_native(site, here.native)
        best = turn()
        watch.unwatch(handle)
        return best

    turn()
    figures = {"nothing": turn(), "1 counted": counted()}
    few = [watch.watch_native(FAR + 64 * n, elsewhere.native) for n in range(FEW)]
    figures[f"{FEW} elsewhere"] = turn()
    figures["watching"], handles = timed(watch, elsewhere.native, many)
    figures[f"{many} elsewhere"] = turn()
    figures[f"1 counted, {many} elsewhere"] = counted()
    for handle in (*few, *handles):
        watch.unwatch(handle)
    if int(here) != 2 * ROUNDS * turns or int(elsewhere):
        raise SystemExit(f"{arch}: {int(here)} hits are not {2 * ROUNDS * turns}")
    return figures


def timed(watch: CodeWatch, native: Native, many: int) -> tuple[float, list[Watch]]:
    """The seconds that watching takes, and the handles."""
    began = time.process_time()
    handles = [watch.watch_native(FAR + 0x10000 + 16 * n, native) for n in range(many)]
    return time.process_time() - began, handles


def show(arch: str, many: int, figures: dict[str, float]) -> None:
    """The figures as text, with the ratios that are promised."""
    nothing, one = figures["nothing"], figures["1 counted"] - figures["nothing"]
    far = figures[f"{many} elsewhere"]
    hit = figures[f"1 counted, {many} elsewhere"] - far
    print(f"\n{arch}: a turn of a tight loop, ns")
    print(f"  nothing watched      {nothing:6.2f}")
    print(f"  {FEW} elsewhere          {figures[f'{FEW} elsewhere']:6.2f}", end="")
    print(f"   {figures[f'{FEW} elsewhere'] / nothing:.2f}, at most 1.02")
    print(f"  {many:,} elsewhere    {far:6.2f}   {far / nothing:.2f}, at most 2.2")
    print(f"  a counted hit        {one:6.2f} over none; {hit:.2f} with {many:,} elsewhere", end="")
    print(f"   {hit / one:.2f}, at most 1.3")
    print(f"  watching {many:,} took {figures['watching']:.2f} s")


# -- exactness -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """What a boot came to."""

    counts: tuple[int, ...]
    console: str
    time: float
    seconds: float

    @property
    def hits(self) -> int:
        return sum(self.counts)


def places_in(kernel: Kernel, number: int) -> list[int]:
    """Entries of functions, and instructions within others, drawn by lot."""
    draw = random.Random(number)
    entries = sorted({symbol.address for symbol in kernel.symbols if symbol.is_function})
    places = set()
    for turn, entry in enumerate(draw.sample(entries, min(number, len(entries)))):
        insns = list(capstone.Cs(*KINDS[kernel.arch]).disasm(kernel.read(entry, 64), entry))
        places.add(draw.choice(insns).address if turn % 2 and insns else entry)
    return sorted(places)


def boot(path: str, places: Sequence[int], until: str) -> Run:
    """Boot with ``places`` counted."""
    kernel, counters = Kernel.boot(path), [Executions() for _ in places]
    for address, counter in zip(places, counters, strict=True):
        kernel.machine.code_watch.watch_native(address, counter.native)
    began = time.process_time()
    kernel.run(until, timeout=None)
    seconds = time.process_time() - began
    return Run(tuple(map(int, counters)), kernel.console.text, kernel.time, seconds)


def is_same(one: Run, other: Run) -> bool:
    """Whether the guest was the same."""
    return (one.console, one.time) == (other.console, other.time)


def compare(path: str, number: int, until: str) -> dict[str, object]:
    """Whether a boot comes out the same by the dispatcher and by single hooks, and how long."""
    called = Kernel.load(path)
    places = places_in(called, number)
    plain, ours = boot(path, (), until), boot(path, places, until)
    placed = dispatch._placed
    dispatch._placed = lambda suffix: None  # type: ignore[assignment]
    try:
        bare, single = boot(path, (), until), boot(path, places, until)
    finally:
        dispatch._placed = placed
    # Blocks end elsewhere without the machine code, so time is another, too.
    same = is_same(plain, ours) and is_same(bare, single)
    counted = ours.counts == single.counts or not is_same(ours, single)
    return {
        "kernel": f"{called.version} {called.arch}",
        "places": len(places),
        "hits": ours.hits,
        "seconds": {"nothing": plain.seconds, "ours": ours.seconds, "single": single.seconds},
        "exact": same and counted,
    }


def show_boots(figures: dict[str, Any]) -> None:
    """The comparison as text."""
    print(f"\n{figures['kernel']}: {figures['places']:,} places, {figures['hits']:,} hits")
    nothing, ours, single = figures["seconds"].values()
    print(f"  nothing watched {nothing:.2f} s, dispatcher {ours:.2f}", end="")
    print(f" ({ours / nothing:.2f}), single hooks {single:.2f}")
    print("  counts, console and time are the same" if figures["exact"] else "  THEY DIFFER")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", nargs="*", help="kernels to boot")
    parser.add_argument("--many", type=int, default=100_000, help="addresses watched elsewhere")
    parser.add_argument("--turns", type=int, default=2_000_000, help="of the loop")
    parser.add_argument("--places", type=int, default=1000, help="counted in a boot")
    parser.add_argument("--until", default=FIRST_LINE, help="a text of the console")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    for arch in KINDS:
        figures = cost(arch, options.many, options.turns)
        if options.json:
            print(json.dumps({"arch": arch, **figures}))
        else:
            show(arch, options.many, figures)
    good = True
    for path in options.images:
        compared = compare(path, options.places, options.until)
        good = good and bool(compared["exact"])
        if options.json:
            print(json.dumps(compared))
        else:
            show_boots(compared)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
