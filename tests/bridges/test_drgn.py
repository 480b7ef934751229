"""drgn on guests of ours, by BTF and symbols alone: its helpers see what the guest itself sees."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from kprobesim import BootedKernel, CalledKernel, PtRegs, UsageError
from kprobesim.asking.booted import booted_kernel
from kprobesim.asking.shell import Shell

drgn = pytest.importorskip("drgn", reason="drgn is not installed (extra [drgn])")
pytestmark = pytest.mark.real_kernel


@pytest.fixture(scope="module")
def booted(real_image: Path) -> BootedKernel:
    """A guest whose shell waits."""
    return booted_kernel(real_image)


def test_helpers_see_what_the_guest_sees(booted: BootedKernel) -> None:
    from compare_drgn import differences

    assert differences(booted, booted.drgn()) == dict.fromkeys(
        ("ps", "lsmod", "mount", "irq"), (set(), set())
    )


def test_in_a_handler_values_and_stacks_are_drgns(booted: BootedKernel) -> None:
    k, prog, seen = booted, booted.drgn(), list[Any]()

    def look(_p: object, regs: PtRegs) -> None:
        file = regs.arg("file").drgn_()
        names = [frame.name for frame in prog.stack_trace(k.as_drgn(regs))]
        seen.append((file.f_path.dentry.d_name.name.string_(), names, _names(k)))

    with k.probing("vfs_read", pre_handler=look):
        Shell(k).run("read -r line < /proc/uptime", 60)
    names, ours = next((names, ours) for name, names, ours in seen if name == b"uptime")
    assert names[0] == "vfs_read" and len(set(names) & set(ours)) >= 3
    assert [each for each in ours if each in names] == [each for each in names if each in ours]


def _names(k: BootedKernel) -> list[str]:
    found = (k.symbols.at(frame.address) for frame in k.stack_trace())
    return [at.symbol.name for at in found if at is not None]


def test_what_btf_lacks_is_found(booted: BootedKernel) -> None:
    from drgn.helpers.linux.percpu import per_cpu
    from drgn.helpers.linux.pid import find_task

    prog = booted.drgn()
    assert booted.drgn() is prog
    init = find_task(prog, 1)
    assert init.comm.string_() == b"init" and prog["init_task"].comm.string_() == b"swapper/0"
    assert per_cpu(prog["runqueues"], 0).cpu == 0
    assert prog.constant("PIDTYPE_TGID") == 1
    assert prog["vfs_read"].type_.kind == drgn.TypeKind.FUNCTION
    assert prog.symbol("vfs_read").address == booted.symbols["vfs_read"].address
    for missing in ("no_such_variable", "no_such_constant"):
        with pytest.raises(KeyError):
            prog[missing]
    with pytest.raises(LookupError):
        prog.type("struct no_such_struct")
    with pytest.raises(UsageError, match="give a typed value, or regs"):
        booted.as_drgn("file")  # type: ignore[arg-type]


def test_helpers_find_the_variables_that_they_ask_for(booted: BootedKernel) -> None:
    """Of those in no BTF, and on ARM64 in no kallsyms: found by their names, and by code."""
    linux: Any = importlib.import_module("drgn.helpers.linux")

    prog = booted.drgn()
    assert b"dentry" in [each.name.string_() for each in linux.for_each_slab_cache(prog)]
    assert linux.kernfs_walk(prog["sysfs_root_kn"], "kernel").name.string_() == b"kernel"
    assert abs(linux.ktime_get_seconds(prog).value_() - booted.time) < 2
    assert linux.nr_free_pages(prog) > 1000
    init = linux.find_task(prog, 1)
    at = linux.virt_to_phys(init)
    assert prog.read(at, 64, physical=True) == prog.read(init.value_(), 64)
    assert [*linux.for_each_online_node(prog)] == [0]
    assert all(map(linux.disk_name, linux.for_each_disk(prog)))
    assert prog["vmemmap_populate"].address_ == booted.symbols["vmemmap_populate"].address
    with pytest.raises(drgn.FaultError, match="nothing is mapped there"):
        prog.read(0xFFFF_9000_0000_0000, 8)


def test_types_are_those_that_btf_says(booted: BootedKernel) -> None:
    prog, btf = booted.drgn(), booted.image.btf
    assert btf is not None
    for name in ("task_struct", "file", "sk_buff", "page", "super_block"):
        found = prog.type(f"struct {name}")
        for path in ("flags", "__state", "f_pos", "len", "cb", "s_flags", "comm", "protocol"):
            offset = btf.offset(name, path)
            if offset is not None:
                assert drgn.offsetof(found, path) == offset
    assert prog.type("unsigned long").size == 8
    assert prog.type("struct sk_buff").member("pkt_type").bit_field_size == 3


def test_a_kernel_that_is_called_has_one_too(real_kernel: CalledKernel) -> None:
    prog = real_kernel.drgn()
    assert prog["init_task"].comm.string_() == b"swapper"
    assert prog.symbol(real_kernel.symbols["vfs_read"].address + 4).name == "vfs_read"
