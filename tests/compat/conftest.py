"""The kernel of all shapes that public reports are about, on both architectures."""

from __future__ import annotations

from pathlib import Path

import pytest
from compat.report_kernel import report_kernel

from kprobesim.compat.judge import Judge
from kprobesim.compat.kernel_facts import KernelFacts
from kprobesim.survey.known import open_known


@pytest.fixture(scope="session", params=["x86_64", "arm64"])
def report_image(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its file, ``vmlinux-ARCH``."""
    path = tmp_path_factory.mktemp("reports") / f"vmlinux-{request.param}"
    path.write_bytes(report_kernel(request.param))
    return path


@pytest.fixture(scope="session")
def judge(report_image: Path) -> Judge:
    """Who answers for it."""
    return Judge(KernelFacts(open_known(report_image)))
