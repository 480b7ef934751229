"""The kernel of all shapes, on both architectures."""

from __future__ import annotations

from pathlib import Path

import pytest
from functions.shapes import FIRST, FLAGS, SECOND
from makers.tiny_kernel import tiny_vmlinux

from kprobesim.functions.functions import Functions
from kprobesim.kernel.offline import open_rules


@pytest.fixture(scope="session", params=["x86_64", "arm64"])
def vmlinux(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its file, with debug information."""
    path = tmp_path_factory.mktemp("shapes") / "vmlinux"
    path.write_bytes(tiny_vmlinux(request.param, FIRST, SECOND, flags=FLAGS))
    return path


@pytest.fixture(scope="session")
def functions(vmlinux: Path) -> Functions:
    """Its functions, without a look at the debug information."""
    rules = open_rules(vmlinux)
    return Functions(rules.image, rules.read)
