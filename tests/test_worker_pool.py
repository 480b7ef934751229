"""Processes of a pool end at once and tidily when who waits for them is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]

PROGRAM = """
import sys, time
from concurrent.futures import as_completed
from pathlib import Path
from kprobesim.worker_pool import stoppable, worker_pool

def work(path):
    try:
        Path(path).touch()
        time.sleep(60)
    finally:
        Path(path).unlink()

if __name__ == "__main__":
    with worker_pool(2) as pool:
        waiting = [pool.submit(stoppable, work, f"{sys.argv[1]}/{n}") for n in range(5)]
        for future in as_completed(waiting):
            future.result()
"""


def _started(tmp_path: Path) -> tuple[subprocess.Popen[str], Path]:
    """The program, when its two workers are at work, and the folder in which they write."""
    program, folder = tmp_path / "program.py", tmp_path / "folder"
    program.write_text(PROGRAM)
    folder.mkdir()
    started = subprocess.Popen(
        [sys.executable, program, folder],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    limit = time.monotonic() + 50
    while len(list(folder.iterdir())) < 2 and time.monotonic() < limit:
        time.sleep(0.05)
    assert len(list(folder.iterdir())) == 2
    return started, folder


def test_an_interrupt_ends_all_and_leaves_nothing(tmp_path: Path) -> None:
    started, folder = _started(tmp_path)
    os.killpg(started.pid, signal.SIGINT)  # as a terminal does
    _, said = started.communicate(timeout=30)
    assert said.count("Traceback") == said.count("KeyboardInterrupt") == 1  # the program's own
    assert list(folder.iterdir()) == []


def test_workers_do_not_outlive_who_started_them(tmp_path: Path) -> None:
    started, _ = _started(tmp_path)
    started.kill()
    _, _ = started.communicate(timeout=30)  # until the last that could write has ended
