"""Members of structs by name: of what calls are given, and of what that points to."""

from __future__ import annotations

import struct

import pytest

from kprobesim import CalledKernel
from kprobesim.races.conflicts.marked import MarkedAccesses
from kprobesim.races.failures.typed_places import TypedPlaces, arguments_of


@pytest.mark.real_kernel
def test_members_have_names(real_kernel: CalledKernel) -> None:
    k, btf = real_kernel, real_kernel.image.btf
    assert btf is not None
    fifo, name, dentry = (k.alloc(256) for _ in range(3))
    k.write(fifo, bytes(256))
    at = {path: btf.offset("dentry", path) or 0 for path in ("d_parent", "d_inode", "d_name")}
    k.write(dentry, bytes(256))
    k.write(dentry + at["d_parent"], struct.pack("<Q", name))
    roots = [*arguments_of(btf, "__kfifo_in", [fifo, 0, 1]), *arguments_of(btf, "dput", [dentry])]
    places = TypedPlaces(k.read, roots)
    assert places.name(fifo + 4) == "struct __kfifo::out"
    assert places.name(fifo + 18) == "struct __kfifo::data+0x2"
    assert places.name(dentry + at["d_inode"]) == "struct dentry::d_inode"
    assert places.name(name + at["d_name"] + 8) == "struct dentry::d_name.name"
    assert places.name(fifo + 128) is None
    mutex = TypedPlaces(k.read, arguments_of(btf, "mutex_lock", [fifo]))
    assert (mutex.name(fifo), mutex.name(fifo, whole=True)) == (
        "struct mutex::owner",
        "struct mutex",
    )
    for each in (fifo, name, dentry):
        k.free(each)


def test_marked_accesses_are_those_of_helpers_that_are_inlined() -> None:
    functions = {1: ("arch_atomic_read", "atomic_read", "f"), 2: ("g", "f"), 3: ("atomic_read",)}
    marked = MarkedAccesses(lambda pc: functions.get(pc, ()))
    assert [marked.at(pc) for pc in (1, 2, 3, 4)] == [True, False, False, False]
