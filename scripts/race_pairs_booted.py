"""Race pairs of calls in a kernel that has booted on two CPUs: no data race may be found in any.

    python scripts/race_pairs_booted.py KERNEL... [--only NAME] [--runs N]

As ``race_pairs.py``, with what needs the kernel's memory, time, RCU, scheduler and work queues.
Those marked as wrong lack the lock that the kernel's documentation asks for.
"""

from __future__ import annotations

import argparse
import re
import struct
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from kprobesim import BootedKernel, PlannedCall, call, open_shell, random_

Calls = list[PlannedCall]
Pair = tuple[Calls, Calls]
GFP = 0xCC0  # GFP_KERNEL
MT_FLAGS_USE_RCU = 2


class MissingError(Exception):
    """This kernel has no such function."""


@dataclass
class Maker:
    """Makes what pairs need in a guest's memory."""

    k: BootedKernel
    blocks: list[int] = field(default_factory=list)

    def zeros(self, size: int) -> int:
        """So many bytes of zeroes."""
        block = self.k.alloc(size)
        self.k.write(block, bytes(size))
        self.blocks.append(block)
        return block

    def name(self, *names: str) -> str:
        """The first of these functions that there is."""
        for name in names:
            if name in self.k.symbols:
                return name
        raise MissingError(names[0])

    def __call__(self, name: str, *arguments: int) -> int:
        """Call a function, or one of those with another name in newer kernels."""
        return self.k.call(self.name(name, f"{name}_noprof"), *arguments)

    def call(self, name: str, *arguments: int) -> PlannedCall:
        """The same, to be raced."""
        return call(self.name(name, f"{name}_noprof"), *arguments)

    def mutex(self) -> int:
        """A mutex."""
        mutex = self.zeros(128)
        init = self.name("__mutex_init", "mutex_init_generic")
        self.k.call(init, mutex, 0, 0)
        return mutex

    def kmalloc(self, size: int) -> int:
        """Memory of the guest's slab."""
        return self("__kmalloc", size, GFP)

    def tree(self, magic: int = 0) -> int:
        """A tree of no entries: xarray, IDR, radix tree; ``magic``: flags of its root."""
        tree = self.zeros(64)
        self.k.write(tree + 4, struct.pack("<I", magic))
        return tree


def locked(m: Maker, lock: int, *inner: PlannedCall) -> Calls:
    """Calls with a mutex held around them."""
    return [call("mutex_lock", lock), *inner, call("mutex_unlock", lock)]


def _mutexes(m: Maker) -> Pair:
    lock, data = m.mutex(), m.zeros(64)
    copy = locked(m, lock, call("memset", data, 3, 40))
    return copy, copy


def _xarray_stores(m: Maker) -> Pair:
    tree = m.tree()
    return [m.call("xa_store", tree, 5, 17, GFP)], [m.call("xa_store", tree, 300, 19, GFP)]


def _xarray_readers(m: Maker) -> Pair:
    tree = m.tree()
    for index in (5, 70, 300):
        m("xa_store", tree, index, 17, GFP)
    change = [m.call("xa_erase", tree, 300), m.call("xa_store", tree, 9000, 21, GFP)]
    return [m.call("xa_load", tree, 5), m.call("xa_load", tree, 300)], change


def _xarray_erases(m: Maker) -> Pair:
    tree = m.tree()
    for index in (5, 300):
        m("xa_store", tree, index, 17, GFP)
    return [m.call("xa_erase", tree, 5)], [m.call("xa_erase", tree, 300)]


def _radix(m: Maker) -> Pair:
    tree, item = m.tree(), m.zeros(16)
    for index in (1, 100):
        m("radix_tree_insert", tree, index, item)
    change = [m.call("radix_tree_delete", tree, 100), m.call("radix_tree_insert", tree, 65, item)]
    return [m.call("radix_tree_lookup", tree, 1), m.call("radix_tree_lookup", tree, 100)], change


def _idr(m: Maker) -> Pair:
    tree, item = m.tree(0x0200_0000), m.zeros(16)  # ROOT_IS_IDR: IDR_RT_MARKER
    m("idr_alloc", tree, item, 0, 0, GFP)
    return [m.call("idr_alloc", tree, item, 0, 0, GFP)], [m.call("idr_find", tree, 0)]


def _ida(m: Maker) -> Pair:
    tree = m.tree(0x0500_0000 | 4)  # IDA_INIT_FLAGS, as far as they matter here
    one = [m.call("ida_alloc_range", tree, 0, 100, GFP)]
    return one, one


def _maple(flags: int) -> Callable[[Maker], Pair]:
    def pair(m: Maker) -> Pair:
        tree, btf = m.zeros(64), m.k.image.btf
        at = btf.offset("maple_tree", "ma_flags") if btf is not None else None
        if at is None:
            raise MissingError("mtree_insert")
        m.k.write(tree + at, struct.pack("<I", flags))
        m("mtree_insert", tree, 5, 0x1000, GFP)
        change = [m.call("mtree_store", tree, 9, 0x2000, GFP), m.call("mtree_erase", tree, 5)]
        return change, [m.call("mtree_load", tree, 5), m.call("mtree_load", tree, 9)]

    return pair


def _kmalloc(m: Maker) -> Pair:
    one = [m.call("__kmalloc", 64, GFP), m.call("__kmalloc", 200, GFP)]
    return one, one


def _kfree(m: Maker) -> Pair:
    first, second = m.kmalloc(64), m.kmalloc(64)
    return [call("kfree", first)], [call("kfree", second), m.call("__kmalloc", 64, GFP)]


def _pages(m: Maker) -> Pair:
    one = [m.call("get_free_pages" if "get_free_pages" in m.k.symbols else "__get_free_pages",
                  GFP, 0)]  # fmt: skip
    return one, one


def _vmalloc(m: Maker) -> Pair:
    one = [m.call("vmalloc", 8192)]
    return one, one


def _counter(m: Maker) -> Pair:
    counter = m.zeros(128)
    init = m.name("__percpu_counter_init", "__percpu_counter_init_many")
    given = (0, GFP, 0) if init == "__percpu_counter_init" else (0, GFP, 1, 0)
    m.k.call(init, counter, *given)
    add = [m.call("percpu_counter_add_batch", counter, 3, 2)] * 2
    return add, [*add, m.call("__percpu_counter_sum", counter)]


def _percpu_ref(m: Maker) -> Pair:
    reference, release = m.zeros(128), m.k.symbols["int_sqrt"].address
    m("percpu_ref_init", reference, release, 0, GFP)
    kill = [m.call("percpu_ref_kill_and_confirm", reference, 0)]
    return kill, [m.call("percpu_ref_is_zero", reference)]


def _rt_mutex(m: Maker) -> Pair:
    lock, data = m.zeros(128), m.zeros(64)
    m("__rt_mutex_init", lock, 0, 0)
    one = [m.call("rt_mutex_lock", lock), call("memset", data, 1, 24)]
    one.append(m.call("rt_mutex_unlock", lock))
    return one, one


def _rwsem(m: Maker) -> Pair:
    lock, data = m.zeros(128), m.zeros(64)
    m("__init_rwsem", lock, 0, 0)
    write = [call("down_write", lock), call("memset", data, 1, 24), call("up_write", lock)]
    read = [call("down_read", lock), call("memcpy", m.zeros(64), data, 24), call("up_read", lock)]
    return write, read


def _completion(m: Maker) -> Pair:
    done, data = m.zeros(128), m.zeros(64)
    swait = m.k.image.btf is not None and m.k.image.btf.offset("completion", "wait.task_list")
    at = done + (swait or 16)
    m.k.write(at, struct.pack("<2Q", at, at))
    return (
        [call("memset", data, 1, 30), call("complete", done)],
        [call("wait_for_completion", done), call("memset", data, 2, 30)],
    )


def _same(*names: str) -> Callable[[Maker], Pair]:
    """The same call without arguments on both."""

    def pair(m: Maker) -> Pair:
        one = [call(m.name(*names))]
        return one, one

    return pair


def _time(m: Maker) -> Pair:
    reads = [m.call("ktime_get"), m.call("ktime_get_real_ts64", m.zeros(16))]
    return [*reads, *reads], [call("msleep", 5)]


def _sleeps(m: Maker) -> Pair:
    return [call("msleep", 5)], [call("msleep", 3), m.call("ktime_get")]


def _reader_waits(m: Maker) -> Pair:
    return [call("synchronize_rcu")], [m.call("find_get_pid", 1), call("msleep", 1)]


def _barrier(m: Maker) -> Pair:
    first = m.kmalloc(64)
    free = [m.call(m.name("kvfree_call_rcu", "kfree_call_rcu"), first, _freed(m, first))]
    return [*free, call("rcu_barrier")], [call("synchronize_rcu")]


def _freed(m: Maker, pointer: int) -> int:
    """The second argument of kvfree_call_rcu(): an offset until 6.3, then the pointer."""
    return 0 if m.k.image.version < (6, 4) else pointer


def _task(m: Maker) -> Pair:
    one = [m.call("find_task_by_vpid", 1), m.call("find_get_pid", 1)]
    return one, one


def _printk(m: Maker) -> Pair:
    print_it = m.name("_printk", "printk")
    return [call(print_it, "one\n")], [call(print_it, "two\n")]


def _no_lock(m: Maker) -> Pair:
    data = m.zeros(64)
    copy = [call("memset", data, 3, 40)]
    return copy, copy


def _radix_twice(m: Maker) -> Pair:
    tree, item = m.tree(), m.zeros(16)
    m("radix_tree_insert", tree, 1, item)
    return (
        [m.call("radix_tree_insert", tree, 2, item)],
        [m.call("radix_tree_insert", tree, 3, item)],
    )


def _seq_file(m: Maker) -> Pair:
    file = m.zeros(256)
    m.k.write(file, struct.pack("<4Q", file + 128, 64, 0, 0))
    return [call("seq_putc", file, 65)], [call("seq_putc", file, 66)]


CORRECT: dict[str, Callable[[Maker], Pair]] = {
    "mutex": _mutexes,
    "xarray: two stores": _xarray_stores,
    "xarray: loads, and an erase and a store": _xarray_readers,
    "xarray: two erases": _xarray_erases,
    "radix tree: lookups, a delete and an insert": _radix,
    "idr: alloc and find": _idr,
    "ida: two allocs": _ida,
    "maple tree: store, erase and loads": _maple(MT_FLAGS_USE_RCU),
    "kmalloc": _kmalloc,
    "kfree and kmalloc": _kfree,
    "pages": _pages,
    "vmalloc": _vmalloc,
    "percpu_counter": _counter,
    "percpu_ref: kill and is_zero": _percpu_ref,
    "rt_mutex": _rt_mutex,
    "rwsem": _rwsem,
    "completion": _completion,
    "schedule": _same("schedule"),
    "random numbers": _same("get_random_u64"),
    "synchronize_rcu": _same("synchronize_rcu"),
    "synchronize_rcu_expedited": _same("synchronize_rcu_expedited"),
    "synchronize_rcu and a reader": _reader_waits,
    "kvfree_rcu, rcu_barrier and synchronize_rcu": _barrier,
    "time: reads, and a tick": _time,
    "sleeps": _sleeps,
    "tasks": _task,
    "printk": _printk,
}
WRONG: dict[str, Callable[[Maker], Pair]] = {
    "no lock: memset": _no_lock,
    "maple tree whose nodes are written in place": _maple(0),
    "radix tree: two inserts without a lock": _radix_twice,
    "seq_file: two writers": _seq_file,
}
ALL_TOLD = frozenset(("radix tree: two inserts without a lock", "seq_file: two writers"))
"""Those whose accesses may be marked, for all that their instructions tell."""


FORK = re.compile(r"try_to_wake_up\+.*memcpy\+")
"""arch_dup_task_struct() copies a task whose bits somebody sets who wakes it: both know it."""


def look(path: str, only: str, runs: int) -> int:
    """Race all pairs on one kernel; how many came out otherwise than they should."""
    k = open_shell(path, cpus=2).kernel
    k.run(seconds=0.5)
    k.free(k.alloc(8))
    start = k.fork_state()
    print(f"{path}: {k.image.version} {k.machine.arch}")
    bad, clean, missing, schedules, began = 0, 0, [], 0, time.monotonic()
    for name, make in _chosen(only):
        k.restore_state(start)
        try:
            a, b = make(Maker(k))
        except MissingError:
            a, b = [call(name)], []
        if not all(each.function in k.symbols for each in (*a, *b)):
            missing.append(name)
            continue
        programs: dict[str, Any] = {"a": a, "b": b}
        how = "all" if name in ALL_TOLD else True
        found = k.race(**programs, explore=random_(runs=runs, seed=3), data_races=how)
        schedules += found.schedules
        failures = [each for each in found.failures if not FORK.search(each.message)]
        right = (name in WRONG) == bool(failures)
        clean += right
        if not right:
            bad += 1
            print(f"  {name}: {found}")
    seconds = time.monotonic() - began
    print(f"  {clean} as they should be, {bad} not, {len(missing)} cannot be made here")
    print(f"  {schedules:,} schedules in {seconds:.0f} s; missing: {', '.join(missing)}")
    return bad


def _chosen(only: str) -> Iterator[tuple[str, Callable[[Maker], Pair]]]:
    yield from ((name, make) for name, make in {**CORRECT, **WRONG}.items() if only in name)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("kernels", nargs="+", metavar="KERNEL")
    parser.add_argument("--only", default="", help="pairs whose names have this")
    parser.add_argument("--runs", type=int, default=12)
    options = parser.parse_args()
    return min(1, sum(look(path, options.only, options.runs) for path in options.kernels))


if __name__ == "__main__":
    sys.exit(main())
