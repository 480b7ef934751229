"""Random programs of loads, stores and barriers on two CPUs: do guests do what the models allow?

    python scripts/compare_memory_models.py [--programs 100] [--seed 1] [--preemptions 4]

Each program is assembled into a sample guest and raced exhaustively with ``memory=``; what its CPUs
load and leave in memory is compared with all that an abstract machine may do
(``tests/races/reference_models.py``). The exit status is 1 if a guest does what its model forbids.
What the model allows and no schedule shows is told: with four preemptions, nothing is missed.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from races.litmus import Litmus  # noqa: E402
from races.reference_models import outcomes  # noqa: E402

from kprobesim import Kernel  # noqa: E402

MODELS = (("x86_64", "tso"), ("arm64", "tso"), ("arm64", "weak"))
KINDS = ("store",) * 9 + ("load",) * 6 + ("acquire", "mb", "wmb", "release", "release", "xchg")
MOST_LOADS = 3


def random_program(numbers: random.Random) -> str:
    """Two or three instructions, as text; no value is stored twice."""
    words, loads = [], 0
    values = iter(numbers.sample(range(1, 9), 8))
    for _ in range(numbers.randint(2, 3)):
        kind, place = numbers.choice(KINDS), numbers.choice("xy")
        loads += kind in ("load", "acquire", "xchg")
        if loads > MOST_LOADS:
            break
        form = {
            "store": "{}={}",
            "load": "{}",
            "acquire": "{}?",
            "release": "{}:={}",
            "xchg": "xchg:{}={}",
        }.get(kind, kind)
        words.append(form.format(place, next(values)))
    return " ".join(words)


def main() -> int:
    """Compare; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--preemptions", type=int, default=4)
    args = parser.parse_args()
    numbers, forbidden, missed = random.Random(args.seed), 0, 0
    for _ in range(args.programs):
        arch, model = numbers.choice(MODELS)
        texts = [random_program(numbers), random_program(numbers)]
        litmus = Litmus(Kernel.sample(arch), texts)
        found = litmus.outcomes(model, preemptions=args.preemptions)
        allowed = outcomes(model, litmus.programs)
        for outcome in sorted(found - allowed):
            print(f"{arch} {model} {texts}: forbidden, and done: {outcome}")
        for outcome in sorted(allowed - found):
            print(f"{arch} {model} {texts}: allowed, and missed: {outcome}")
        forbidden += len(found - allowed)
        missed += len(allowed - found)
    print(f"{args.programs} programs: {forbidden} forbidden outcomes, {missed} missed")
    return 1 if forbidden else 0


if __name__ == "__main__":
    sys.exit(main())
