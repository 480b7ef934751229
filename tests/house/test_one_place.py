"""What stands in one place of the package: the sizes of a word and a page."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "kprobesim"
TREES = {
    str(path.relative_to(PACKAGE)): ast.parse(path.read_text())
    for path in sorted(PACKAGE.rglob("*.py"))
}

SIZES = {
    "sizes.py": "the place itself",
    "machine/unicorn/host_code.py": "a page of the host's, which its listings are assembled for",
}
"""Where a mask of a word or the size of a page may be written out, and why."""


def _is_mask(node: ast.AST) -> bool:
    """Whether it is ``(1 << 64) - 1``, or that number."""
    if isinstance(node, ast.Constant):
        return node.value == (1 << 64) - 1
    return isinstance(node, ast.BinOp) and ast.unparse(node) in ("(1 << 64) - 1", "2 ** 64 - 1")


def _names_page(node: ast.AST) -> bool:
    """Whether it calls 4096 a page."""
    return (
        isinstance(node, ast.Assign)
        and ast.unparse(node.value) == "4096"
        and any("PAGE" in ast.unparse(target) for target in node.targets)
    )


def _found(tree: ast.AST) -> list[int]:
    """The lines that write the one or the other out."""
    nodes = (node for node in ast.walk(tree) if _is_mask(node) or _names_page(node))
    return [node.lineno for node in nodes if isinstance(node, ast.expr | ast.stmt)]


def test_a_mask_of_a_word_and_the_size_of_a_page_are_not_defined_anew() -> None:
    found = {name: _found(tree) for name, tree in TREES.items()}
    assert {name for name, lines in found.items() if lines} == set(SIZES), found
