"""What it takes to go back to a state in memory, by how many pages were written since.

    python benchmarks/reset.py vmlinuz-amd64 vmlinuz-arm64 [--until TEXT] [--rounds N] [--json]

``fork`` is ``k.fork_state()`` in a guest of 256 MiB booted to TEXT. Then N times: random pages are
written by the host, and ``k.restore_state()`` is timed. ``run`` is the same after 1 ms of the
guest's time, with the pages that it writes in that; ``again`` is that millisecond itself, in host
time, right after a reset, and ``on`` without a reset. Medians, in milliseconds.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kprobesim import Kernel
from kprobesim.machine.written_pages import PAGE

COUNTS = (0, 1, 10, 100, 1000)


def milliseconds(action: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = action()
    return result, 1000 * (time.perf_counter() - start)


def measure(image: str, until: str, rounds: int) -> dict[str, object]:
    """One kernel."""
    k = Kernel.boot(image, memory="256M")
    k.run(until, timeout=None)
    _, fork = milliseconds(k.fork_state)
    row: dict[str, object] = {"release": k.version, "fork_ms": round(fork, 1)}
    pages = len(k.board.ram) // PAGE
    for count in COUNTS:
        times = []
        for number in range(rounds):
            for page in random.Random(number).sample(range(pages), count):
                k.board.ram[page * PAGE] ^= 1
            dirty, took = milliseconds(k.restore_state)
            if dirty != count:
                raise SystemExit(f"{dirty} pages were reset, not {count}")
            times.append(took)
        row[f"reset_{count}_ms"] = round(statistics.median(times), 3)
    resets, again, dirty = [], [], 0
    for _ in range(rounds):
        again.append(milliseconds(lambda: k.run(seconds=0.001))[1])
        dirty, took = milliseconds(k.restore_state)
        resets.append(took)
    on = [milliseconds(lambda: k.run(seconds=0.001))[1] for _ in range(10)]
    row |= {
        "run_pages": dirty,
        "reset_run_ms": round(statistics.median(resets), 3),
        "again_ms": round(statistics.median(again), 3),
        "on_ms": round(statistics.median(on), 3),
    }
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description="measure going back to a state in memory")
    parser.add_argument("images", nargs="+")
    parser.add_argument("--until", default="kprobesim init")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    for image in args.images:
        if not Path(image).is_file():
            parser.error(f"{image} is no file")
        row = measure(image, args.until, args.rounds)
        if args.json:
            print(json.dumps(row))
        else:
            print(*(f"{name} {value}" for name, value in row.items()), sep="  ")


if __name__ == "__main__":
    main()
