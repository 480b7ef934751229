"""Random programs of loads, stores, barriers and dependencies: do guests do what models allow?

    python scripts/compare_memory_models.py [--programs 100] [--seed 1] [--preemptions 4]

Each program is assembled into a sample guest and raced exhaustively with ``memory=``; what its CPUs
load and leave in memory is compared with all that x86-TSO's abstract machine may do, and with the
axioms of ARM64 (``reference_models.py`` and ``arm64_model.py`` in ``tests/races``). The exit
status is 1 if a guest does what its model forbids. What the model allows and no schedule shows is
told; of ARM64, stores that are seen before loads in front of them are only counted.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from races.arm64_model import arm64_outcomes  # noqa: E402
from races.litmus import Litmus  # noqa: E402
from races.reference_models import outcomes  # noqa: E402

from kprobesim import Kernel  # noqa: E402

MODELS = (("x86_64", "tso"), ("arm64", "tso"), ("arm64", "weak"), ("arm64", "weak"))
STORES = ("store",) * 6 + ("release", "release")
LOADS = ("load",) * 6 + ("acquire",)
EXCHANGES = "xchg", "swp", "swpa", "swpl", "swpal"
BARRIERS = "mb", "wmb", "rmb", "ctrl", "ctrl isb", "isb"
MOST_LOADS = 3
WEAK_ONLY = ("rmb", "ctrl", "isb")


def random_program(numbers: random.Random, values: Iterator[int], most: int, *, weak: bool) -> str:
    """Some instructions, as text; no value is stored twice."""
    words: list[str] = []
    loads = 0
    for _ in range(numbers.randint(2, most)):
        place = numbers.choice("xy")
        sort = numbers.choice((STORES, STORES, LOADS, LOADS, EXCHANGES, BARRIERS, BARRIERS))
        kind = numbers.choice(sort)
        if sort is BARRIERS:
            if weak or not kind.startswith(WEAK_ONLY):
                words += [kind] if loads or "ctrl" not in kind else []
            continue
        if sort is EXCHANGES and not weak:
            kind = "xchg"
        if sort is not STORES and loads == MOST_LOADS:
            continue
        made_of = numbers.choice(("", "", "@", "~")) if weak and loads and sort != EXCHANGES else ""
        if sort is LOADS:
            word = made_of.replace("~", "") + place + ("?" if kind == "acquire" else "")
        elif sort is STORES:
            colon = ":" if kind == "release" else ""
            word = f"{made_of}{place}{colon}={next(values)}"
        else:
            word = f"{kind}:{place}={next(values)}"
        loads += sort is not STORES
        words.append(word)
    return " ".join(words) or "x"


def main() -> int:
    """Compare; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--preemptions", type=int, default=4)
    parser.add_argument("--model", choices=("tso", "weak"), help="only this one")
    args = parser.parse_args()
    models = [each for each in MODELS if args.model in (None, each[1])]
    numbers, forbidden, missed, not_modelled = random.Random(args.seed), 0, 0, 0
    for _ in range(args.programs):
        arch, model = numbers.choice(models)
        cpus = numbers.choice((2, 2, 3)) if model == "weak" else 2
        values = iter(numbers.sample(range(1, 17), 16))
        most = 4 if cpus == 2 else 2
        texts = [random_program(numbers, values, most, weak=model == "weak") for _ in range(cpus)]
        litmus = Litmus(Kernel.sample(arch), texts)
        found = litmus.outcomes(model, preemptions=args.preemptions)
        modelled = outcomes(model, litmus.programs)
        allowed = arm64_outcomes(litmus.programs) if model == "weak" else modelled
        for outcome in sorted(found - allowed):
            print(f"{arch} {model} {texts}: forbidden, and done: {outcome}")
        for outcome in sorted(modelled - found):
            print(f"{arch} {model} {texts}: allowed, and missed: {outcome}")
        forbidden += len(found - allowed)
        missed += len(modelled - found)
        not_modelled += len(allowed - modelled - found)
    print(
        f"{args.programs} programs: {forbidden} forbidden outcomes, {missed} missed, "
        f"{not_modelled} by stores before loads"
    )
    return 1 if forbidden else 0


if __name__ == "__main__":
    sys.exit(main())
