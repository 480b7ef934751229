"""The trials of ``torture_in_guest.py``: modules, their options, and what they must say."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

__all__ = ["BUILT", "DISTRIBUTED", "LIBRARY", "LONG", "Hits", "Trial"]

Hits = dict[str, int]


def total(said: str, pattern: str) -> int:
    """The last number that ``pattern`` finds; all of its numbers added up."""
    found = re.findall(pattern, said)
    return sum(int(n) for n in re.findall(r"-?\d+", found[-1])) if found else -1


@dataclass(frozen=True)
class Trial:
    """One run of a module.

    Attributes:
        module: Its name.
        options: What ``modprobe`` gives it; "{cpus}" is the number of CPUs.
        success: What must be found in the log.
        probed: Functions whose calls are counted meanwhile.
        agrees: Whether the log and the counts are of one mind.
        once: It does all when it is loaded, and need not be left running.
        leaves: In the end it refuses to be loaded, and is not there.
        fails: It is one that must find a fault, or makes the kernel warn.
        has: What the module's file must hold, as kernels differ; ``None``: the names of ``probed``.
    """

    module: str
    options: str
    success: str
    probed: tuple[str, ...] = ()
    agrees: Callable[[str, Hits], bool] = lambda _said, hits: all(hits.values())
    once: bool = False
    leaves: bool = False
    fails: bool = False
    has: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """What it is called in the table."""
        kind = re.search(r"(?:torture|scale)_type=(\S+)", self.options)
        return f"{self.module} {kind[1]}" if kind else self.module

    def is_in(self, module: bytes) -> bool:
        """Whether the file of the module has what it takes."""
        own = [name.partition(":")[2] for name in self.probed if ":" in name]
        return all(name.encode() + b"\0" in module for name in (self.has or own))


def rcu(flavour: str, *readers: str, stutter: int = 2, options: str = "") -> Trial:
    """A run of rcutorture."""
    return Trial(
        "rcutorture",
        # a pause of the stutter's that lasts from one report to the next is taken for a stall
        f"torture_type={flavour} stat_interval=3 shuffle_interval=1 stutter={stutter} test_boost=0"
        f" {options}".rstrip(),
        r"End of test: SUCCESS",
        ("rcutorture:rcu_torture_one_read", *readers),
        lambda said, hits: (
            # the pipe's histogram has each read that found something to read
            total(said, r"Reader Pipe: +(.*)") > 0
            and total(said, r"Reader Pipe: +(.*)") <= hits["rcutorture:rcu_torture_one_read"]
            and all(hits.values())
        ),
        has=("rcu_torture_one_read", flavour),
    )


LOCKS = {
    "spin_lock": "torture_spin_lock_write_lock",
    "spin_lock_irq": "torture_spin_lock_write_lock_irq",
    "raw_spin_lock": "torture_raw_spin_lock_write_lock",
    "raw_spin_lock_irq": "torture_raw_spin_lock_write_lock_irq",
    "raw_res_spin_lock": "torture_raw_res_spin_write_lock",
    "raw_res_spin_lock_irq": "torture_raw_res_spin_write_lock_irq",
    "rw_lock": "torture_rwlock_write_lock",
    "rw_lock_irq": "torture_rwlock_write_lock_irq",
    "mutex_lock": "torture_mutex_lock",
    "ww_mutex_lock": "torture_ww_mutex_lock",
    "rtmutex_lock": "torture_rtmutex_lock",
    "rwsem_lock": "torture_rwsem_down_write",
    "percpu_rwsem_lock": "torture_percpu_rwsem_down_write",
}
"""What takes each kind of lock for a writer of locktorture."""


def lock(kind: str) -> Trial:
    """A run of locktorture, which counts what it acquired."""
    function = f"locktorture:{LOCKS[kind]}"
    return Trial(
        "locktorture",
        f"torture_type={kind} stat_interval=1 shuffle_interval=1 stutter=2",
        r"End of test: SUCCESS",
        (function,),
        lambda said, hits: total(said, r"Writes:  Total: (\d+)") == hits[function] > 0,
        has=(LOCKS[kind], kind),
    )


def scale(kind: str, function: str) -> Trial:
    """A run of refscale: a reader a CPU, so many loops each, three times."""
    return Trial(
        "refscale",
        f"scale_type={kind} loops=500 nruns=3 nreaders={{cpus}} holdoff=1",
        r"END OF TEST",
        (f"refscale:{function}",),
        has=(function, kind),
    )


def checks(module: str, success: str, *probed: str, options: str = "") -> Trial:
    """A module that tests something of the kernel's library when it is loaded, and stays."""
    return Trial(module, options, success, probed, once=True)


def brief(module: str, success: str, *probed: str, options: str = "") -> Trial:
    """The same, but it is gone when it has done so."""
    return Trial(module, options, success, probed, once=True, leaves=True)


BUILT = (
    rcu("rcu"),
    rcu("rcu", stutter=0, options="gp_exp=1 nfakewriters=8 n_barrier_cbs={cpus}"),
    rcu("srcu", "__srcu_read_lock"),
    rcu("srcud"),
    rcu("tasks"),
    rcu("tasks-rude"),
    rcu("tasks-tracing"),
    replace(rcu("busted"), success="End of test: FAILURE", fails=True),  # an RCU that waits not
    *map(lock, LOCKS),
    Trial("scftorture", "stat_interval=1", r"End of test: SUCCESS", ("smp_call_function_many",)),
    scale("rcu", "ref_rcu_read_section"),
    scale("refcnt", "ref_refcnt_section"),
    scale("rwlock", "ref_rwlock_section"),
    scale("rwsem", "ref_rwsem_section"),
    Trial("kprobe_example", "", r"handler_pre: <kernel_clone>", ("kernel_clone",)),
    Trial("kretprobe_example", "", r"kernel_clone returned \d+", ("kernel_clone",)),
)
LIBRARY = (
    checks("atomic64_test", r"passed"),
    checks("test_bitops", r"Completed bitops test"),
    checks("test_hexdump", r"all \d+ tests passed"),
    replace(brief("test_ida", r"IDA: (\d+) of \1 tests passed", "ida_alloc_range"), fails=True),
    checks("test_memcat_p", r"test passed"),
    brief("test_meminit", r"all \d+ tests passed!", "kmem_cache_destroy"),  # it stays for ever
    checks("test_min_heap", r"test passed"),
    checks(
        "test_rhashtable",
        r"Started \d+ threads, 0 failed, rhltable test returns 0",
        "rhashtable_walk_start_check",
        options="parm_entries=3000 runs=1 tcount={cpus}",
    ),
    brief("percpu_test", r"percpu test done"),
    brief("rbtree_test", r"augmented rbtree testing", options="nnodes=50 perf_loops=100"),
    brief("interval_tree_test", r"interval tree insert/remove", options="nnodes=20 perf_loops=100"),
    brief(
        "test_vmalloc",
        r"All test took",
        "vm_map_ram",
        options="nr_threads={cpus} test_loop_count=20 run_test_mask=2047",
    ),
    brief(
        "test_lockup",
        r"FINISH in \d+ ns",
        options="time_nsecs=300000000 iterations=2 all_cpus=1 disable_preempt=1",
    ),
    brief(
        "test_lockup",
        r"FINISH in \d+ ns",
        options="time_nsecs=100000000 iterations=3 all_cpus=1 disable_irq=1 lock_rcu=1",
    ),
)
DISTRIBUTED = (
    Trial("test_static_keys", "", "", ("jump_label_update",), once=True),
    Trial("test_user_copy", "", r"tests passed", ("vm_munmap",), once=True),
)
LONG = (
    brief("test_objpool", r"Summary of testcases:", "test_objpool:ot_fini_sync"),
    checks("test_xarray", r"XArray: (\d+) of \1 tests passed", "xas_store"),
    checks("test_maple_tree", r"maple_tree: (\d+) of \1 tests passed", "mas_store"),
    Trial(
        "test_bpf",
        "test_suite=test_bpf",
        r"Summary: \d+ PASSED, 0 FAILED",
        ("bpf_prog_select_runtime",),
        once=True,
    ),
)
