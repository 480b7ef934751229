"""Guests in several threads of a fresh process: made, used and left at the same time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SAMPLES = Path(__file__).parents[3] / "samples"
SCRIPT = """
import sys, threading
from kprobesim import Kernel, Kprobe

wrong = []

def work(arch):
    try:
        for turn in range(3):
            k, seen = Kernel.load(f"{sys.argv[1]}/guest-{arch}.elf"), []
            k.register_kprobe(Kprobe("gcd", pre_handler=lambda p, regs: seen.append(1)))
            results = [k.call("gcd", 1071, 462) for _ in range(20)]
            if results != [21] * 20 or len(seen) != 20:
                wrong.append((arch, results, len(seen)))
    except BaseException as error:
        wrong.append((arch, repr(error)))
        raise

threads = [threading.Thread(target=work, args=(arch,)) for arch in ("x86_64", "arm64") * 3]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.exit(repr(wrong) if wrong else 0)
"""


def test_threads_with_guests_of_their_own() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", SCRIPT, str(SAMPLES)],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
