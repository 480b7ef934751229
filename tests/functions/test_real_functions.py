"""Functions of a real kernel, whatever its version."""

from __future__ import annotations

from pathlib import Path

import pytest

from kprobesim.functions.facts import Inlining
from kprobesim.functions.functions import Functions
from kprobesim.kernel.offline import open_rules

pytestmark = pytest.mark.real_kernel


@pytest.fixture(scope="module")
def functions(real_image: Path) -> Functions:
    """Those of a Debian kernel without debug information."""
    rules = open_rules(real_image)
    return Functions(rules.image, rules.read, rules.image.btf)


def test_a_function_that_all_kernels_have(functions: Functions) -> None:
    facts = functions.facts("vfs_read")
    assert facts.twins == 1
    assert "ksys_read" in facts.callers
    assert facts.traceable
    assert facts.prototype is not None
    assert facts.prototype.startswith("ssize_t vfs_read(struct file *file,")
    assert not facts.changed_signature


def test_a_function_that_is_called_through_pointers(functions: Functions) -> None:
    assert functions.facts("tcp_v4_rcv").address_taken


def test_what_was_split_is_held_by_who_branches_to_the_rest(functions: Functions) -> None:
    clones = functions.kernel.clones
    split = [n for n, full in clones.items() if all(".part." in name for name in full)]
    gone = [n for n in split if not functions.image.symbols.candidates(n)]
    assert gone
    for name in gone[:50]:
        facts = functions.facts(name)
        assert facts.inlining is Inlining.WHOLE
        assert facts.clones
    assert any(functions.facts(name).inlined_into for name in gone[:50])


def test_clones_read_only_argument_registers(functions: Functions) -> None:
    names = functions.image.isa.abi.arguments
    bases = [n for n, full in functions.kernel.clones.items() if f"{n}.isra.0" in full]
    changed = [facts for facts in map(functions.facts, bases[:40]) if facts.changed_signature]
    assert changed
    for facts in changed:
        assert facts.argument_registers is None or set(facts.argument_registers) <= set(names)
