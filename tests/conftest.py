"""Fixtures that every test shares: both architectures, both ways of stepping, a fresh guest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kprobesim import Kernel

SAMPLES = Path(__file__).parent.parent / "samples"


@pytest.fixture(params=["x86_64", "arm64"])
def arch(request: pytest.FixtureRequest) -> str:
    """Each architecture in turn."""
    return str(request.param)


@pytest.fixture(params=["breakpoint", "trap"])
def stepping(request: pytest.FixtureRequest) -> str:
    """Each way of stepping in turn."""
    return str(request.param)


@pytest.fixture
def sample(arch: str) -> Path:
    """The sample guest's ELF file."""
    return SAMPLES / f"guest-{arch}.elf"


@pytest.fixture
def guest(sample: Path) -> Kernel:
    """A fresh sample guest that steps by breakpoint."""
    return Kernel.load(sample)


@pytest.fixture
def stepped(sample: Path, stepping: str) -> Kernel:
    """A fresh sample guest for each way of stepping."""
    return Kernel.load(sample, stepping=stepping)


@pytest.fixture
def probeable() -> Callable[[Kernel, str], list[int]]:
    """Offsets in a function at which a probe is accepted."""

    def offsets(kernel: Kernel, name: str) -> list[int]:
        from kprobesim import KprobeError

        accepted = []
        for offset in range(kernel.symbols[name].size):
            try:
                with kernel.probing(name, offset=offset):
                    accepted.append(offset)
            except KprobeError:
                continue
        return accepted

    return offsets
