"""Types with an index are the same types, found without a walk."""

from __future__ import annotations

import pickle
import random

from makers.btf_maker import SIGNED, UNION, BtfMaker

from kprobesim.types.btf import Btf
from kprobesim.types.indexed import BtfIndex, IndexedBtf, index_of
from kprobesim.types.model import Function, Struct, Union


def _kernel(count: int) -> bytes:
    maker, chance = BtfMaker(), random.Random(count)
    number = maker.integer("int", 4, SIGNED)
    for index in range(count):
        name = f"{chance.choice('abcdef')}{index % 7}"
        maker.struct(name, 8, [("first", number, 0), ("", number, 32)], UNION if index % 3 else 4)
        maker.function(name, number, [("argument", maker.pointer(maker.count))])
        maker.struct("", 4, [])
    return maker.data()


def test_names_are_found_as_without() -> None:
    for count in (0, 1, 50):
        plain = Btf(_kernel(count))
        indexed = IndexedBtf(plain.data, index_of(plain))
        assert len(indexed) == len(plain)
        for name in (*plain.names, "int", "", "nothing", "~"):
            for kinds in ((), (Struct,), (Function, Union)):
                found = [each.number for each in indexed.named(name, *kinds)]
                assert found == [each.number for each in plain.named(name, *kinds)], name
        assert indexed.functions() == plain.functions()
        assert list(map(repr, indexed)) == list(map(repr, plain))
        assert [each.number for each in indexed.flavours("a1")] == [
            each.number for each in plain.flavours("a1")
        ]
        assert indexed.offset("a1", "first") == plain.offset("a1", "first")


def test_it_crosses_a_process_pool() -> None:
    plain = Btf(_kernel(3))
    indexed = pickle.loads(pickle.dumps(IndexedBtf(plain.data, index_of(plain), "kernel")))
    assert indexed.source == "kernel" and list(map(repr, indexed)) == list(map(repr, plain))
    assert isinstance(index_of(indexed), BtfIndex)
