"""Every kind of relocation in real kernels' types: the instructions are those that libbpf makes.

tests/data/bpf/recorded/ is written by ``scripts/compare_with_libbpf.py --record``: of the types of
Debian's kernels those that core.c needs, and what libbpf 1.1 made of its instructions with them.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from makers.bpf_objects import SOURCES, compiled_object

from kprobesim.bpf.core.kinds import CoreKind
from kprobesim.bpf.core.relocate import RelocatedCode, relocate
from kprobesim.types.btf import Btf

RECORDED = SOURCES / "recorded"
VALUES: dict[str, dict[str, list[int]]] = json.loads((RECORDED / "values.json").read_text())


def _relocated(kernel: str) -> RelocatedCode:
    return relocate(compiled_object("core.c"), Btf((RECORDED / f"{kernel}.btf").read_bytes()))


@pytest.mark.parametrize("kernel", VALUES)
def test_each_instruction_is_the_one_that_libbpf_makes(kernel: str) -> None:
    code = _relocated(kernel)
    ours = {
        f"{one.function.name} {one.instruction} {one.kind.text} {one.path}": list(
            code.instructions[one.function][one.instruction]
        )
        for one in code.relocations
    }
    assert ours == VALUES[kernel]
    assert {one.kind for one in code.relocations} == set(CoreKind)


def test_what_changed_between_kernels_is_told() -> None:
    """5.10 has ``task_struct.state``, which later is ``__state``."""
    found = {}
    for kernel in ("5.10-x86_64", "6.1-x86_64"):
        for one in _relocated(kernel).relocations:
            found[kernel, one.path] = one.value, one.reason
    gone = "struct task_struct has no member"
    assert found["5.10-x86_64", "task_struct.state"] == (1, None)
    assert found["6.1-x86_64", "task_struct.state"] == (0, f"{gone} state")
    assert found["5.10-x86_64", "task_struct.__state"] == (0, f"{gone} __state")
    assert found["6.1-x86_64", "task_struct.__state"] == (1, None)


def test_a_poisoned_instruction_names_the_field_and_the_line() -> None:
    (bad,) = [
        one
        for one in _relocated("6.1-arm64").relocations
        if one.poisoned and one.function.name == "poisoned"
    ]
    assert (bad.path, bad.value) == ("task_struct.no_such_member", None)
    assert bad.reason == "struct task_struct has no member no_such_member"
    assert bad.source_line is not None
    assert Path(bad.source_line.file).name == "core.c"
    assert bad.source_line.text.startswith("struct task_struct *task")
