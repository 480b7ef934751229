"""Ask why known calls and system calls fail, and compare with what the sources say decides.

    python scripts/why_known_cases.py --debug vmlinux-dbg [--snapshot SNAPSHOT] IMAGE

The cases are those of tests/data/why_cases.json: which source line decides was written down before
anything ran. They are of one kernel's sources, so IMAGE and its debug information are to be of that
version; SNAPSHOT is of that kernel, booted to a shell.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kprobesim import Kernel
from kprobesim.cli.call import place_arguments
from kprobesim.cli.expression import parse_call
from kprobesim.errors import KprobesimError
from kprobesim.why.answer import Why

CASES = Path(__file__).parent.parent / "tests" / "data" / "why_cases.json"


def main() -> int:
    """Print a line for each case; 1 if more than one of 25 is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image")
    parser.add_argument("--debug", required=True)
    parser.add_argument("--snapshot")
    parser.add_argument("--cases", default=CASES, type=Path, help="the file of the cases")
    parser.add_argument("--only", default="", help="the cases with this text in them")
    args = parser.parse_args()
    cases = json.loads(args.cases.read_text())
    wrong = total = 0
    for case, right, why, took in _answers(cases, args):
        total += 1
        wrong += not right
        print("right" if right else "WRONG", f"{took:5.1f} s", case.get("run") or case["call"])
        if not right:
            print(f"  expected {' or '.join(case['lines'])}, got:")
            print("  " + str(why).replace("\n", "\n  "))
        sys.stdout.flush()
    print(f"{total - wrong} of {total} are right")
    return int(wrong * 25 > total)


def _answers(
    cases: dict[str, Any], args: argparse.Namespace
) -> Iterator[tuple[dict[str, Any], bool, Why | KprobesimError, float]]:
    kernel = Kernel.load(args.image)
    for case in cases["called"]:
        if args.only in case["call"] and case.get("arch", kernel.arch) == kernel.arch:
            call = parse_call(case["call"])
            values, _ = place_arguments(kernel, call.arguments)
            yield _answer(kernel, case, args.debug, call.function, *values)
    if args.snapshot is None:
        return
    for case in cases["run"]:
        if args.only in case["run"]:
            booted = Kernel.resume(args.snapshot)
            options = {"run": case["run"], "errno": case["errno"]}
            yield _answer(booted, case, args.debug, case.get("call"), **options)


def _answer(
    kernel: Kernel, case: dict[str, Any], debug: str, *arguments: Any, **options: Any
) -> tuple[dict[str, Any], bool, Why | KprobesimError, float]:
    begun = time.monotonic()
    try:
        why = kernel.why(*arguments, debug=debug, **options)
    except KprobesimError as error:
        return case, False, error, time.monotonic() - begun
    found = () if why.branch is None else why.branch.place.source
    right = any(str(line) in case["lines"] for line in found)
    right = right or (not case["lines"] and why.branch is None)
    if "result" in case:
        right = right and why.result == case["result"]
    return case, right, why, time.monotonic() - begun


if __name__ == "__main__":
    sys.exit(main())
