"""The files of the package, each parsed once for all promises about them."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "kprobesim"
FILES = sorted(PACKAGE.rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    """What is written in ``path``."""
    return ast.parse(path.read_text())
