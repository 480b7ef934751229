"""The types of modules: split BTF, and what was built with a distilled base."""

from __future__ import annotations

import pytest
from makers import btf_maker
from makers.btf_maker import SIGNED, BtfMaker

from kprobesim.errors import TypesError
from kprobesim.types.btf import Btf
from kprobesim.types.c_text import definition, prototype
from kprobesim.types.model import Function, Struct
from kprobesim.types.module_types import module_types


def kernel(task_size: int = 16) -> BtfMaker:
    m = BtfMaker()
    m.integer("char", 1)
    i32 = m.integer("int", 4, SIGNED)
    m.struct("other", 4, [("x", i32, 0)])
    m.struct("task", task_size, [("pid", i32, 0), ("tgid", i32, 32)])
    m.enum("colour", [("RED", 0)])
    return m


def distilled() -> BtfMaker:
    m = BtfMaker()
    m.struct("task", 16, [])
    m.integer("int", 4, SIGNED)
    m.add(btf_maker.FORWARD, "other", 0)
    m.add(btf_maker.ENUM, "colour", 4)
    return m


def module(base: BtfMaker) -> BtfMaker:
    """Refers to all of :func:`distilled` by each kind that holds numbers of types."""
    m = BtfMaker(base)
    mine = m.struct("mine", 24, [("task", 1, 0), ("other", m.pointer(3), 128)])
    array = m.array(mine, 3, 2)
    m.enum("own", [("OWN", 5)])
    m.function("probe", 2, [("mine", m.pointer(mine)), ("colour", 4), ("all", m.pointer(array))])
    m.section(".data", [(m.variable("data", mine), 0, 24)])
    m.decl_tag("tag", mine, 1)
    return m


def test_a_distilled_base_is_replaced_by_the_kernel() -> None:
    base = distilled()
    types = Btf(kernel().data(), source="vmlinux")
    found = module_types(module(base).data(), base.data(), types, "mine")
    (mine,) = found.named("mine", Struct)
    assert definition(mine, offsets=False) == (
        "struct mine {\n\tstruct task task;\n\tstruct other *other;\n};"
    )
    assert mine.members[0].type is types.named("task")[0]
    assert found.offset("mine", "task.tgid") == 4
    (probe,) = found.named("probe", Function)
    expected = "int probe(struct mine *mine, enum colour colour, struct mine (*all)[3])"
    assert prototype(probe) == expected
    assert [definition(each) for each in found][-1] == "/* tag 'tag' of mine, element 1 */"
    assert "struct mine data;" in [definition(each, False) for each in found]
    assert "OWN = 5" in definition(found.named("own")[0])


def test_a_kernel_that_it_was_not_built_for() -> None:
    base = distilled()
    with pytest.raises(TypesError, match=r"mine: .*another kernel.*struct task of 16 bytes"):
        module_types(module(base).data(), base.data(), Btf(kernel(20).data()), "mine")


def test_without_a_base_it_goes_on_from_the_kernel() -> None:
    base = kernel()
    m = BtfMaker(base)
    m.struct("mine", 16, [("task", 4, 0)])
    found = module_types(m.data(), None, Btf(base.data()), "mine")
    assert found.offset("mine", "task.tgid") == 4
