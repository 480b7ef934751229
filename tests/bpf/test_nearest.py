"""What is proposed for a member that is gone."""

from __future__ import annotations

from makers.btf_maker import BtfMaker

from kprobesim.bpf.core.nearest import nearest_members
from kprobesim.types.btf import Btf
from kprobesim.types.model import Struct


def test_members_of_inner_structs_and_new_names() -> None:
    maker = BtfMaker()
    number = maker.integer("int", 4, 1)
    inner = maker.struct("thread_info", 8, [("flags", number, 0), ("cpu", number, 32)])
    fields = [("thread_info", inner, 0), ("on_cpu", number, 64), ("__state", number, 96)]
    maker.struct("task_struct", 20, [*fields, ("mm_mt", number, 128)])
    (task,) = Btf(maker.data()).named("task_struct", Struct)
    assert nearest_members(task, "cpu") == ["thread_info.cpu"]
    assert nearest_members(task, "state") == ["__state"]
    assert nearest_members(task, "mmap") == ["mm_mt"]
    assert nearest_members(task, "nothing_of_it") == []
