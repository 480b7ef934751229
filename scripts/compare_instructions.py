"""Execute x86-64 instructions with random operands in a guest and on this host's CPU.

    python scripts/compare_instructions.py [--states 2000] [--seed 1] [WORD...]

Each line of ``tests/data/x86_instructions.txt`` is one instruction; WORDs choose those whose text
has one of them. What differs is printed; flags that the manual leaves undefined are not compared.
The exit status is 1 if anything differs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from makers.native_x86 import (  # noqa: E402
    KNOWN,
    NATIVE,
    STATE,
    GuestRunner,
    differences,
    make_states,
    run_natively,
    table,
)

from kprobesim import Kernel  # noqa: E402


def main() -> int:
    """Compare, and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--states", type=int, default=2000, help="random operands for each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    if not NATIVE:
        raise SystemExit("this host's CPU is no x86-64: there is nothing to compare with")
    guest = GuestRunner(Kernel.load(ROOT / "samples/guest-x86_64.elf"), options.states)
    wrong = missing = 0
    forms = [
        form
        for form in table()
        if not options.words or any(word in form.text for word in options.words)
    ]
    for form in forms:
        before = make_states(form, options.states, options.seed)
        (native,) = run_natively([(form, before)])
        if isinstance(native, int):
            missing += 1
            print(f"{form.text}: signal {native} on this CPU")
            continue
        found = guest.run(form, before)
        unlike = []
        for at in range(0, len(before), STATE):
            end = at + STATE
            unlike += differences(form, found[at:end], native[at:end])
        if unlike:
            wrong += form.text not in KNOWN
            print(f"{form.text} ({form.code.hex()}): {len(unlike)} times; {unlike[0]}")
    print(f"{len(forms)} instructions, {options.states} states: {wrong} differ and were not known")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
