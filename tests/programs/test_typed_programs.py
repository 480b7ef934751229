"""Members of typed arguments in compiled and interpreted programs."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from makers.btf_maker import SIGNED, BtfMaker

from kprobesim import CalledKernel, MemberError, UsageError
from kprobesim.programs.leaves import Argument
from kprobesim.programs.typed import TypedExpression, as_typed
from kprobesim.programs.values import Value
from kprobesim.types.btf import Btf
from kprobesim.types.model import Struct


def _types() -> Btf:
    maker = BtfMaker()
    char, number = maker.integer("char", 1, SIGNED), maker.integer("int", 4, SIGNED)
    whole = maker.integer("unsigned long", 8)
    inner = maker.struct("inner", 16, [("count", number, 0), ("name", maker.array(char, 8), 64)])
    table = maker.array(number, 4)
    node = maker.count + 2
    link = maker.pointer(node)
    members = [
        ("inner", inner, 0),
        ("next", link, 128),
        ("low", number, 192 | 3 << 24),
        ("high", whole, 195 | 5 << 24),
        ("table", table, 256),
    ]
    assert maker.struct("node", 48, members, flag=1) == node
    return Btf(maker.data(), source="kernel")


def test_members_are_loads() -> None:
    types = _types()
    (node,) = types.named("node", Struct)
    here: Any = as_typed(Argument(0), node, 0)
    assert isinstance(here, TypedExpression)
    assert str(here.inner.count) == "arg(0).deref().s32"
    assert str(here.inner.name.string) == "(arg(0) + 8).string"
    assert str(here["table"][3]) == "arg(0).deref(44).s32"
    assert str(here.high) == "(arg(0).deref(24).u8 >> 3) & 31"
    assert here.low.type.signed
    with pytest.raises(MemberError, match="it has inner"):
        _ = here.innr
    with pytest.raises(UsageError):
        here[0]


@pytest.mark.real_kernel
@pytest.mark.parametrize("compiled", [True, False])
def test_real_arguments(real_kernel: CalledKernel, compiled: bool) -> None:
    """rb_first(): the root's node, its left one; an argument of 32 bits with a sign."""
    k = real_kernel
    root = k.arg("rb_first", "root")
    left = root.rb_node.rb_left.value_
    assert isinstance(left, Value)
    bottom, top = k.alloc(24), k.alloc(24)
    k.write(top, struct.pack("<QQQ", 0, 0, bottom))
    place = k.alloc(8)
    k.write(place, struct.pack("<Q", top))
    with k.count("rb_first", key=left, compiled=compiled) as seen:
        assert k.call("rb_first", place) == bottom
    assert list(seen) == [bottom]
    base = k.arg("kstrtoint", "base")
    with k.count("kstrtoint", key=base, when=k.arg("kstrtoint", "s").string == "7") as bases:
        k.call("kstrtoint", b"7\0", 10, bytearray(4))
    assert list(bases) == [10]
    with pytest.raises(UsageError, match="it has root"):
        k.arg("rb_first", "tree")
    with pytest.raises(UsageError, match="BTF does not say"):
        k.arg("no_such_function", "x")
