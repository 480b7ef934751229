"""Programs in kernels that boot: as handlers of Python, in the same time, and through snapshots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from makers.boots import Boots

from kprobesim import BootedKernel, Kernel
from kprobesim.programs import Count, Histogram, Program, Record, arg, caller, comm, now, pid
from kprobesim.programs.stores.counts import Counts

pytestmark = pytest.mark.real_kernel

# What the kernel does between "Run /init" and its end, seen by every kind of action.
PROGRAMS = {
    "vfs_[orsw]*": Program([Count()]),
    "kernel_clone": Program([Record({"comm": comm, "pid": pid, "now": now, "by": caller})]),
    "kmem_cache_alloc": Program([Histogram(arg(1).u32, key=comm), Count(pid)], when=arg(0) != 0),
    "do_filp_open": Program(
        [Record({"name": arg(1).deref(0).string, "bad": arg(0).deref(0).u8}, capacity=3)]
    ),
}


def _plant(k: BootedKernel, *, compiled: bool) -> None:
    for where, program in PROGRAMS.items():
        k.plant(where, program, compiled=compiled)


def _outcome(k: BootedKernel) -> dict[str, Any]:
    kept = [[store.save() for store in planted.stores] for planted in k.programs]
    counts = [(p.hits, p.faults, p.nmissed) for p in k.programs]
    return {"time": k.time, "console": k.console.text, "kept": kept, "counts": counts}


def test_a_boot_with_programs(real_image: Path, boots: Boots, tmp_path: Path) -> None:
    plain, interpreted = boots.at_run_init(real_image), boots.at_run_init(real_image)
    plain.run()
    _plant(interpreted, compiled=False)
    interpreted.run()
    expected = _outcome(interpreted)
    assert (expected["time"], expected["console"]) == (plain.time, plain.console.text)

    compiled = boots.at_run_init(real_image)
    _plant(compiled, compiled=True)
    compiled.run(seconds=0.005)  # rings and tables are half full
    compiled.snapshot(tmp_path / "half.kps")
    resumed = Kernel.resume(tmp_path / "half.kps")
    assert all(planted.compiled for planted in resumed.programs)
    assert _outcome(resumed) == _outcome(compiled)
    resumed.run()
    assert _outcome(resumed) == expected
    counts = resumed.programs[0].stores[0]
    assert isinstance(counts, Counts)
    assert counts["vfs_read"] > 0
    opened = resumed.programs[3].stores[0]
    assert resumed.programs[1].stores[0][0].comm == "swapper/0" or len(opened) > 0


def test_going_back_leaves_out_no_hit(real_image: Path, boots: Boots) -> None:
    """Though the way to where a guest can be called is gone once, and then remembered."""
    k = boots.at_run_init(real_image)
    state = k.fork_state()
    on_the_way, called = k.count("process_one_work"), k.count("kstrtoull")
    for number in range(1, 4):
        k.restore_state(state)
        k.call("kstrtoull", "42", 10, bytearray(8))
        assert (int(on_the_way), int(called)) == (number, number)
