"""CO-RE where real kernels show nothing: modules, flavours, enums of 64 bits, endless types."""

from __future__ import annotations

import pytest
from makers.bpf_objects import compiled_object
from makers.btf_maker import SIGNED, BtfMaker

from kprobesim.bpf.core.kinds import CoreKind
from kprobesim.bpf.core.names import essential_name
from kprobesim.bpf.core.relocate import Relocated, relocate
from kprobesim.bpf.core.target import Target
from kprobesim.types.btf import Btf

pytestmark = pytest.mark.compiler

OBJECT = """#include "bpf.h"
{}
u64 out;
SEC("kprobe/f") int program(void *ctx)
{{
	out = {};
	return 0;
}}
"""
FIELD = "field_info(((struct {} *)ctx)->{}, FIELD_BYTE_OFFSET)"


def _one(types: str, use: str, target: Target) -> Relocated:
    (found,) = relocate(compiled_object(OBJECT.format(types, use)), target).relocations
    return found


@pytest.fixture(scope="module")
def kernel() -> BtfMaker:
    maker = BtfMaker()
    number = maker.integer("int", 4, SIGNED)
    maker.struct("both", 4, [("a", number, 0)])
    return maker


@pytest.fixture(scope="module")
def target(kernel: BtfMaker) -> Target:
    """A kernel and a module; ``both`` is in each, otherwise."""
    module = BtfMaker(kernel)
    module.struct("both", 8, [("x", 1, 0), ("a", 1, 32)])
    module.struct("own", 12, [("x", 1, 0), ("a", 1, 64)])
    btf = Btf(kernel.data())
    return Target(btf, {"a_module": Btf(module.data(), btf)})


def test_a_module_is_asked_for_what_the_kernel_lacks(target: Target) -> None:
    assert _one("struct own { int a; } CORE;", FIELD.format("own", "a"), target).value == 8
    assert _one("struct both { int a; } CORE;", FIELD.format("both", "a"), target).value == 0
    (gone,) = [_one("struct both { int x; } CORE;", FIELD.format("both", "x"), target)]
    assert gone.poisoned


def test_without_its_modules_a_kernel_says_that_they_were_not_asked(target: Target) -> None:
    found = _one("struct own { int a; } CORE;", FIELD.format("own", "a"), Target(target.btf))
    assert found.reason == "the kernel has no struct own, and no module was asked"


@pytest.mark.parametrize(
    ("name", "essential"),
    [
        ("task_struct", "task_struct"),
        ("task_struct___old", "task_struct"),
        ("a___b___c", "a___b"),
        ("a____b", "a____b"),
        ("___a", "___a"),
        ("a___", "a___"),
        ("a____", "a____"),
        ("", ""),
    ],
)
def test_what_stands_behind_three_underscores_is_a_flavour(name: str, essential: str) -> None:
    assert essential_name(name) == essential


def test_values_of_64_bits_are_whole(target: Target) -> None:
    """Against an object's own types: the value is that of C, and the instruction holds it."""
    types = (
        "enum big { BIG = 0x123456789abcdef0 }; enum small { SMALL = -5 };\n"
        "typedef enum { NAMED = 7 } named_t;"
    )
    for use, number in (
        ("enum_value(enum big, BIG, ENUM_VALUE)", 0x1234_5678_9ABC_DEF0),
        ("enum_value(enum small, SMALL, ENUM_VALUE)", -5 & (1 << 64) - 1),
        ("enum_value(named_t, NAMED, ENUM_VALUE)", 7),
    ):
        obj = compiled_object(OBJECT.format(types, use))
        assert obj.btf is not None
        code = relocate(obj, obj.btf)
        (found,) = code.relocations
        assert (found.kind, found.value) == (CoreKind.ENUM_VALUE, number)
        first, second = code.instructions[found.function][found.instruction :][:2]
        held = first.immediate & 0xFFFF_FFFF | (second.immediate & 0xFFFF_FFFF) << 32
        assert held == number


def test_types_that_contain_themselves_end_in_a_reason() -> None:
    """Each anonymous member holds two of the type that it is in."""
    maker = BtfMaker()
    maker.integer("int", 4, SIGNED)
    maker.struct("endless", 4, [("", 3, 0), ("", 3, 0)])
    maker.struct("", 4, [("", 2, 0), ("", 2, 0)])
    maker.struct("deep", 4, [("a", 4, 0)])
    btf = Btf(maker.data())
    types = "struct endless { int a; } CORE; struct deep { struct deep *a; };"
    found = _one(types, FIELD.format("endless", "a"), Target(btf))
    assert found.problem is not None and "too many levels" in found.problem
    match = _one(types, "type_info(struct deep, TYPE_MATCHES)", Target(btf))
    assert match.value == 0 or match.problem is not None
