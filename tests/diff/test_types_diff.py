"""What is said of types and prototypes that differ in two kernels."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from makers import btf_maker
from makers.btf_maker import SIGNED, BtfMaker

from kprobesim.diff.change import Change, Difference
from kprobesim.diff.layouts import Layouts, changed_types
from kprobesim.diff.prototypes import Prototypes, changed_events, changed_functions
from kprobesim.diff.texts import Texts
from kprobesim.types.btf import Btf


def kernel(new: bool) -> Btf:
    m = BtfMaker()
    if new:  # so that no number is the same
        m.integer("u8", 1)
    i32 = m.integer("int", 4, SIGNED)
    i64 = m.integer("long int", 8, SIGNED)
    inode = m.struct("inode", 8, [("mode", i32, 0)])
    pointer = m.pointer(inode)
    inner = m.struct("", 8, [("low", i32, 0), ("high", i32, 32)])
    m.struct("same", 16, [("inode", pointer, 0), ("", inner, 64)])
    if new:
        m.struct("file", 24, [("f_pos", i64, 0), ("flags", i64, 64), ("f_path", i32, 128)])
        m.struct("grown", 12, [("a", i32, 0), ("added", i32, 32), ("b", i32, 64)])
        m.enum("event", [("ONE", 1), ("TWO", 2), ("NR_EVENTS", 3)])
        m.enum("state", [("RUNNING", 0), ("DEAD", 16)])
        idmap = m.pointer(m.add(btf_maker.FORWARD, "mnt_idmap", 0))
        m.function("vfs_mkdir", i32, [("idmap", idmap), ("dir", pointer)])
        m.function("named", i32, [("folio", pointer)])
        m.function("added", i32, [])
        arguments = [("", m.pointer(0)), ("", pointer), ("", i32)]
    else:
        m.struct("file", 16, [("f_pos", i64, 0), ("flags", i32, 64), ("f_count", i32, 96)])
        m.struct("grown", 8, [("a", i32, 0), ("b", i32, 32)])
        m.struct("gone", 4, [("x", i32, 0)])
        m.enum("event", [("ONE", 1), ("NR_EVENTS", 2)])
        m.enum("state", [("RUNNING", 0), ("PARKED", 8), ("DEAD", 16)])
        m.function("vfs_mkdir", i32, [("dir", pointer)])
        m.function("named", i32, [("page", pointer)])
        m.function("lost", i32, [])
        arguments = [("", m.pointer(0)), ("", pointer)]
    m.function("equal", i64, [("same", pointer), ("", 0)])
    m.add(btf_maker.TYPEDEF, "btf_trace_sched", m.pointer(m.prototype(0, arguments)))
    return Btf(m.data())


@pytest.fixture(scope="module")
def kernels() -> tuple[Btf, Btf]:
    return kernel(False), kernel(True)


def by_name(found: Iterable[Difference]) -> dict[str, Difference]:
    return {each.name: each for each in found}


def test_types(kernels: tuple[Btf, Btf]) -> None:
    old, new = (Layouts(Texts(each)) for each in kernels)
    found = by_name(changed_types(old, new, None))
    assert {name: each.change for name, each in found.items()} == {
        "struct file": Change.TYPE,
        "struct grown": Change.LAYOUT,
        "struct gone": Change.TYPE_GONE,
        "enum event": Change.LAYOUT,
        "enum state": Change.TYPE,
    }
    assert (found["struct file"].old, found["struct file"].new) == ("16 bytes", "24 bytes")
    assert found["struct file"].details == (
        "- f_count: int",
        "! flags: long int, was int",
        "+ f_path: int",
    )
    assert found["struct grown"].details == ("+ added: int", "> b: at 8, was at 4")
    assert found["enum event"].details == ("+ TWO = 2", "> NR_EVENTS: 3, was 2")
    assert found["enum state"].details == ("- PARKED = 8",)
    assert list(changed_types(old, old, None)) == []


def test_only_what_is_wanted(kernels: tuple[Btf, Btf]) -> None:
    old, new = (Layouts(Texts(each)) for each in kernels)
    wanted = {"struct file": {"f_pos"}, "struct grown": {"b"}, "struct gone": set[str]()}
    found = by_name(changed_types(old, new, wanted))
    assert {name: each.details for name, each in found.items()} == {
        "struct grown": ("> b: at 8, was at 4",),
        "struct gone": (),
    }


def test_prototypes(kernels: tuple[Btf, Btf]) -> None:
    old, new = (Prototypes(each) for each in kernels)
    names = ["vfs_mkdir", "named", "lost", "equal", "without"]
    found = by_name(changed_functions(old, new, names))
    assert {name: each.change for name, each in found.items()} == {
        "vfs_mkdir": Change.SIGNATURE,
        "named": Change.PARAMETER_NAME,
        "lost": Change.NO_PROTOTYPE,
    }
    mkdir = found["vfs_mkdir"]
    assert mkdir.old == "int vfs_mkdir(struct inode *dir)"
    assert mkdir.new == "int vfs_mkdir(struct mnt_idmap *idmap, struct inode *dir)"
    assert mkdir.details == (
        "takes 2 arguments, not 1",
        "argument 0 is struct mnt_idmap *, not struct inode *",
    )
    assert found["named"].details == ("argument 0 is called folio, not page",)
    (event,) = changed_events(old, new, None)
    assert (event.name, event.new) == ("sched", "void sched(void *, struct inode *, int)")
    assert list(changed_events(old, new, {"other"})) == []
