"""What stands in one place of the package: word and page, and what an architecture is called."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest
from house.package_trees import FILES, PACKAGE, tree

from kprobesim.arch.architecture import ARCHITECTURES

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


def _by_file(find: Callable[[ast.AST], list[int]]) -> dict[str, list[int]]:
    """The lines that ``find`` finds, by the file's name; files without one are left out."""
    found = {str(path.relative_to(PACKAGE)): find(tree(path)) for path in FILES}
    return {name: lines for name, lines in found.items() if lines}


def _found(whole: ast.AST) -> list[int]:
    """The lines that write the one or the other out."""
    nodes = (node for node in ast.walk(whole) if _is_mask(node) or _names_page(node))
    return [node.lineno for node in nodes if isinstance(node, ast.expr | ast.stmt)]


def test_a_mask_of_a_word_and_the_size_of_a_page_are_not_defined_anew() -> None:
    found = _by_file(_found)
    assert set(found) == set(SIZES), found


NAMES = {
    "arch/architecture.py": "the records themselves",
    "machine/unicorn/store_code.py": "the host's architecture, as Python's platform calls it",
    "machine/unicorn/cmpxchg.py": "the host's",
    "machine/unicorn/clock_code.py": "the host's",
    "machine/unicorn/call_list.py": "the host's",
    "machine/unicorn/dispatch_code.py": "the host's",
    "machine/unicorn/coverage_code.py": "the host's",
    "machine/unicorn/recording_code.py": "the host's",
    "machine/unicorn/access_log_code.py": "the host's",
    "machine/unicorn/executions.py": "the host's",
    "machine/unicorn/intercepts_code.py": "the host's",
    "machine/unicorn/spin_code.py": "the host's",
    "machine/unicorn/switch_code.py": "the host's",
    "machine/unicorn/restore_code.py": "the host's",
    "machine/unicorn/flush_code.py": "the host's",
    "machine/unicorn/code_pages.py": "what Unicorn's functions end in",
    "kernel/opening.py": "the sample that is loaded where none is asked for",
    "bench/plain.py": "the rival, written as its users write it",
    "bench/qiling_rival.py": "another one",
}
"""Where the name of an architecture may be written out, and why."""


def _names_architecture(whole: ast.AST) -> list[int]:
    """The lines of code that hold such a name as a text of its own."""
    return [
        node.lineno
        for node in ast.walk(whole)
        if isinstance(node, ast.Constant) and node.value in ARCHITECTURES
    ]


def test_who_differs_by_architecture_asks_its_record_or_a_table_of_halves() -> None:
    """No ``arch == "x86_64"``: facts belong into the record, halves of code into ``halves()``."""
    found = _by_file(_names_architecture)
    assert set(found) == set(NAMES), found


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_registers_of_an_architecture_agree_with_each_other(name: str) -> None:
    abi = ARCHITECTURES[name].abi
    special = {abi.result, abi.stack_pointer, abi.frame_pointer, *abi.arguments, *abi.callee_saved}
    special |= {each for each in (abi.link_register, abi.shadow_stack_register) if each}
    assert special <= set(abi.registers) <= set(abi.pt_regs)
    assert set(abi.gdb) == set(abi.pt_regs) - {"orig_ax"}  # which gdb numbers elsewhere
    for names in (abi.registers, abi.pt_regs, abi.gdb, abi.arguments):
        assert len(set(names)) == len(names)


def test_each_test_file_has_a_name_of_its_own() -> None:
    """Folders of tests are no packages: a second file of one name is not collected."""
    names = [path.name for path in Path(__file__).parents[1].rglob("test_*.py")]
    assert sorted(name for name in set(names) if names.count(name) > 1) == []
