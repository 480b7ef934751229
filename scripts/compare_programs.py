"""Run random programs on random functions of real kernels, compiled and by Python.

    python scripts/compare_programs.py IMAGE... [--functions 50] [--seed 1]

Each program is on a function of its own. In a kernel that is called, random functions are called
with random arguments, each from one and the same state; in one that boots, all programs are there
from the first instruction on. What the compiled programs have kept, counted and missed must be what
Python's have, and the boots must print the same and end at the same time. The exit status is 1 if
anything differs.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from makers.random_programs import programs  # noqa: E402

from kprobesim import Kernel, KprobesimError  # noqa: E402
from kprobesim.programs import (  # noqa: E402
    Program,
    Value,
    arg,
    caller,
    comm,
    const,
    cpu,
    duration,
    here,
    now,
    pid,
    reg,
    retval,
    tgid,
)

_CALLS = 4  # of each function


def main() -> int:
    """Compare, and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+")
    parser.add_argument("--functions", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    wrong = 0
    for image in options.images:
        for compare in (compare_called, compare_booted):
            wrong += compare(image, options.functions, options.seed)
    return int(wrong > 0)


def make_programs(kernel: Kernel, count: int, number: int) -> list[Program]:
    """As many programs, of entries and of returns, from the seed ``number``."""
    place = const(kernel.symbols["strlen"].address)
    pointers: list[Value] = [arg(0), arg(1), arg(0).deref(8), reg("sp"), place]
    facts: list[Value] = [here, caller, now, pid, tgid, cpu, reg("sp")]
    found: list[Program] = []
    quiet = settings(
        max_examples=count,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        deadline=None,
    )
    at_entry = programs(pointers, facts, [comm])
    at_return = programs([*pointers, retval], [*facts, duration, retval], [comm])

    @seed(number)
    @quiet
    @given(at_entry)
    def entries(program: Program) -> None:
        found.append(program)

    @seed(number)
    @quiet
    @given(at_return)
    def returns(program: Program) -> None:
        found.append(program)

    entries()
    returns()
    random.Random(number).shuffle(found)
    return found[:count]


def plant(
    kernel: Kernel, functions: Sequence[str], planned: Sequence[Program], *, compiled: bool
) -> list[Any]:
    """Each program on its function."""
    return [
        kernel.plant(name, program, compiled=compiled)
        for name, program in zip(functions, planned, strict=True)
    ]


def outcomes(planted: Sequence[Any]) -> list[Any]:
    """What each has kept and counted."""
    return [
        ([store.save() for store in each.stores], each.hits, each.faults, each.nmissed)
        for each in planted
    ]


def report(
    what: str, planted: Sequence[Any], compiled: Sequence[Any], interpreted: Sequence[Any]
) -> int:
    """Print how many agree, and those that do not; how many those are."""
    unlike = [
        each
        for each, one, other in zip(planted, compiled, interpreted, strict=True)
        if one != other
    ]
    hits, faults = (sum(each[n] for each in compiled) for n in (1, 2))
    print(f"{what}: {len(planted) - len(unlike)} of {len(planted)}, {hits} hits, {faults} faults")
    for each in unlike:
        print(f"  differs: {each!r}")
    return len(unlike)


def compare_called(image: str, count: int, number: int) -> int:
    """Random functions, called with random arguments."""
    kernel = Kernel.load(image)
    chance = random.Random(number)
    functions = chance.sample([*kernel.functions("*", kretprobe=True)], count)
    planned = make_programs(kernel, count, number)
    space = kernel.alloc(4096)
    kernel.write(space, b"a string of the caller's\0".ljust(4096, b"\x11"))
    state = kernel.fork_state()
    numbers = [0, 1, 2, 4096, space, space + 64, kernel.symbols["strlen"].address]
    calls = [(name, chance.choices(numbers, k=6)) for name in functions for _ in range(_CALLS)]
    kept = []
    for compiled in (True, False):
        planted = plant(kernel, functions, planned, compiled=compiled)
        for name, arguments in calls:
            kernel.restore_state(state)
            with suppress(KprobesimError):  # most fault; what is hit until then is compared
                kernel.call(name, *arguments, max_instructions=20_000)
        kept.append(outcomes(planted))
        for each in planted:
            each.remove()
    return report(f"{Path(image).name} called", planted, *kept)


def compare_booted(image: str, count: int, number: int) -> int:
    """Functions that a boot comes to."""
    kernel = Kernel.boot(image)
    counts = kernel.count([*kernel.functions("*", kretprobe=True)])
    kernel.run(timeout=None)
    chance = random.Random(number)
    functions = chance.sample(sorted(counts.hit), count)
    ends = [(kernel.console.text, kernel.time)]
    kept = []
    for compiled in (True, False):
        kernel = Kernel.boot(image)
        planted = plant(kernel, functions, make_programs(kernel, count, number), compiled=compiled)
        kernel.run(timeout=None)
        kept.append(outcomes(planted))
        ends.append((kernel.console.text, kernel.time))
    wrong = report(f"{Path(image).name} booted", planted, *kept)
    if len(set(ends)) > 1:
        print("  the boots differ: in what they print, or in when they end")
    return wrong + len(set(ends)) - 1


if __name__ == "__main__":
    raise SystemExit(main())
