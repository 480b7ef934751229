"""Kernels that are judged elsewhere, and sources that name nothing."""

from __future__ import annotations

from concurrent.futures import BrokenExecutor, Executor, Future
from pathlib import Path
from typing import Any

from kprobesim.compat.run import compatibility


class Killed(Executor):
    """Its worker was killed."""

    def submit(self, *_: Any, **__: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(BrokenExecutor("a process was terminated"))
        return future


def test_a_worker_that_was_killed_is_told_with_its_kernel(tmp_path: Path) -> None:
    source, kernel = tmp_path / "probes.txt", tmp_path / "vmlinux"
    source.write_text("vfs_read\n")
    kernel.write_bytes(b"\x7fELF")
    found = compatibility([source], [kernel], executor=Killed())
    assert [problem.path for problem in found.problems] == [str(kernel)]
    assert "was killed" in found.problems[0].message
    assert found.exit_status() == 2


def test_nothing_named_is_no_success(report_image: Path, tmp_path: Path) -> None:
    source = tmp_path / "empty.bt"
    source.write_text("BEGIN { }\n")
    assert compatibility([source], [report_image]).exit_status() == 2
