"""Race pairs of calls of a real kernel that are correct: no data race may be found in any.

    python scripts/race_pairs.py KERNEL... [--only NAME] [--preemptions N]

Each pair is of functions that the kernel's documentation allows on two CPUs at once, with the lock
that it asks for. Those marked as wrong lack it, and a data race must be found. Pairs whose
functions a kernel does not have are left out, and counted.
"""

from __future__ import annotations

import argparse
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kprobesim import CalledKernel, Kernel, PlannedCall, SymbolError, call

Calls = list[PlannedCall]
Pair = tuple[Calls, Calls]


@dataclass
class Maker:
    """Makes what pairs need in a kernel's memory."""

    k: CalledKernel

    def zeros(self, size: int) -> int:
        """So many bytes of zeroes."""
        return self.k.alloc(size)

    def words(self, *values: int, size: int = 8) -> int:
        """Numbers of ``size`` bytes, one behind the other."""
        address = self.k.alloc(max(64, len(values) * size))
        data = b"".join((value & (1 << 8 * size) - 1).to_bytes(size, "little") for value in values)
        self.k.write(address, data)
        return address

    def list_head(self) -> int:
        """An empty list."""
        address = self.k.alloc(64)
        self.k.write(address, struct.pack("<2Q", address, address))
        return address

    def mutex(self) -> int:
        """A mutex."""
        return self._lock("mutex", "__mutex_init")

    def rwsem(self) -> int:
        """A semaphore for readers and writers."""
        return self._lock("rw_semaphore", "__init_rwsem")

    def _lock(self, kind: str, function: str) -> int:
        """A lock as its function makes it, or as the macro does where there is none."""
        address = self.k.alloc(128)
        if function in self.k.symbols:
            self.k.call(function, address, 0, 0)
            return address
        assert self.k.image.btf is not None
        waiters = self.k.image.btf.offset(kind, "wait_list")
        if waiters is not None:
            self.k.write(address + waiters, struct.pack("<2Q", *[address + waiters] * 2))
        return address

    def fifo(self, count: int = 0) -> int:
        """A kfifo of 64 bytes that holds ``count``."""
        address = self.k.alloc(64)
        self.k.write(address, struct.pack("<4I2Q", count, 0, 63, 1, self.k.alloc(64), 0))
        return address

    def waitqueue(self) -> int:
        """A wait queue head without waiters: a lock, and a list."""
        address = self.k.alloc(64)
        self.k.write(address, struct.pack("<3Q", 0, address + 8, address + 8))
        return address

    def completion(self) -> int:
        """A completion: a count, and a queue behind it."""
        address = self.k.alloc(64)
        head = address + 16
        self.k.write(address, struct.pack("<4Q", 0, 0, head, head))
        return address

    def semaphore(self, count: int) -> int:
        """A semaphore: a lock, its count, its waiters."""
        address = self._lock("semaphore", "")
        assert self.k.image.btf is not None
        at = self.k.image.btf.offset("semaphore", "count")
        assert at is not None
        self.k.write(address + at, struct.pack("<I", count))
        return address


def locked(lock: str, at: int, unlock: str, *inner: PlannedCall) -> Calls:
    """Calls with a lock held around them."""
    return [call(lock, at), *inner, call(unlock, at)]


def both(calls: Calls) -> Pair:
    """The same on two CPUs."""
    return calls, calls


def _with_mutex(make: Callable[[Maker], Sequence[PlannedCall]]) -> Callable[[Maker], Pair]:
    def pair(m: Maker) -> Pair:
        lock = m.mutex()
        return both(locked("mutex_lock", lock, "mutex_unlock", *make(m)))

    return pair


def _with_writer(make: Callable[[Maker], Sequence[PlannedCall]]) -> Callable[[Maker], Pair]:
    def pair(m: Maker) -> Pair:
        lock = m.rwsem()
        return both(locked("down_write", lock, "up_write", *make(m)))

    return pair


def _with_reader(
    write: Callable[[Maker, int], PlannedCall], read: Callable[[Maker, int], PlannedCall]
) -> Callable[[Maker], Pair]:
    def pair(m: Maker) -> Pair:
        lock, data = m.rwsem(), m.zeros(64)
        return (
            locked("down_write", lock, "up_write", write(m, data)),
            locked("down_read", lock, "up_read", read(m, data)),
        )

    return pair


def _with_semaphore(make: Callable[[Maker], Sequence[PlannedCall]]) -> Callable[[Maker], Pair]:
    def pair(m: Maker) -> Pair:
        lock = m.semaphore(1)
        return both(locked("down", lock, "up", *make(m)))

    return pair


def _with_spin(
    lock_name: str, unlock_name: str, make: Callable[[Maker], Sequence[PlannedCall]]
) -> Callable[[Maker], Pair]:
    def pair(m: Maker) -> Pair:
        lock = m.zeros(64)
        return both(locked(lock_name, lock, unlock_name, *make(m)))

    return pair


def copy(m: Maker) -> Calls:
    """Copies into one place."""
    return [call("memcpy", m.zeros(64), m.words(1, 2, 3, 4), 24)]


def put(m: Maker) -> Calls:
    """Puts something into a fifo."""
    return [call("__kfifo_in", m.fifo(), m.words(7), 6)]


def take(m: Maker) -> Calls:
    """Takes something out of a fifo."""
    return [call("__kfifo_out", m.fifo(40), m.zeros(64), 6)]


def sort_list(m: Maker) -> Calls:
    """Sorts a part of memory: string functions, loads and stores."""
    return [call("memset", m.zeros(64), 3, 40), call("memmove", m.zeros(64), m.words(1, 2), 16)]


def _fifo_ends(m: Maker) -> Pair:
    fifo = m.fifo(8)
    return [call("__kfifo_in", fifo, m.words(7), 6)], [call("__kfifo_out", fifo, m.zeros(64), 6)]


def _fifo_peek(m: Maker) -> Pair:
    fifo = m.fifo(8)
    return [call("__kfifo_in", fifo, m.words(7), 6)], [
        call("__kfifo_out_peek", fifo, m.zeros(64), 6)
    ]


def _fifo_records(m: Maker) -> Pair:
    fifo = m.fifo()
    return [call("__kfifo_in_r", fifo, m.words(7), 6, 1)], [
        call("__kfifo_out_r", fifo, m.zeros(64), 6, 1)
    ]


def _llist(m: Maker) -> Pair:
    head = m.zeros(64)
    one, two = m.zeros(16), m.zeros(16)
    return [call("llist_add_batch", one, one, head)], [call("llist_add_batch", two, two, head)]


def _llist_first(m: Maker) -> Pair:
    head, old, new = m.zeros(64), m.zeros(16), m.zeros(16)
    m.k.call("llist_add_batch", old, old, head)
    return [call("llist_add_batch", new, new, head)], [call("llist_del_first", head)]


def _refcount(name: str) -> Callable[[Maker], Pair]:
    def pair(m: Maker) -> Pair:
        count = m.words(5, size=4)
        return both([call(name, count)])

    return pair


def _refcounts(a: str, b: str, start: int = 3) -> Callable[[Maker], Pair]:
    def pair(m: Maker) -> Pair:
        count = m.words(start, size=4)
        return [call(a, count)], [call(b, count)]

    return pair


def _dec_and_lock(name: str, unlock: str) -> Callable[[Maker], Pair]:
    def pair(m: Maker) -> Pair:
        count, lock = m.words(4, size=4), m.mutex() if "mutex" in name else m.zeros(64)
        return both([call(name, count, lock), call(name, count, lock)])

    return pair


def _complete(m: Maker) -> Pair:
    done, data, source = m.completion(), m.zeros(64), m.words(1, 2, 3)
    return (
        [call("memcpy", data, source, 24), call("complete", done)],
        [call("wait_for_completion", done), call("memcpy", m.zeros(64), data, 24)],
    )


def _complete_all(m: Maker) -> Pair:
    done, data = m.completion(), m.zeros(64)
    return (
        [call("memset", data, 7, 30), call("complete_all", done)],
        [call("wait_for_completion", done), call("memset", data, 8, 30)],
    )


def _complete_twice(m: Maker) -> Pair:
    done = m.completion()
    return both([call("complete", done), call("try_wait_for_completion", done)])


def _completion_done(m: Maker) -> Pair:
    done = m.completion()
    return [call("complete", done)], [call("completion_done", done)]


def _wake_up(m: Maker) -> Pair:
    head, one, two = m.waitqueue(), m.zeros(64), m.zeros(64)
    for entry in (one, two):
        m.k.write(entry, struct.pack("<5Q", 0, 0, 0, entry + 24, entry + 24))
    return (
        [call("add_wait_queue", head, one), call("remove_wait_queue", head, one)],
        [call("add_wait_queue", head, two), call("remove_wait_queue", head, two)],
    )


def _semaphores(m: Maker) -> Pair:
    lock, data = m.semaphore(0), m.zeros(64)
    return (
        [call("memset", data, 1, 20), call("up", lock)],
        [call("down", lock), call("memset", data, 2, 20)],
    )


def _two_readers(m: Maker) -> Pair:
    lock, data = m.rwsem(), m.words(1, 2, 3)
    return both(locked("down_read", lock, "up_read", call("memcpy", m.k.alloc(64), data, 0)))


def _downgrade(m: Maker) -> Pair:
    lock, data = m.rwsem(), m.zeros(64)
    return (
        [
            call("down_write", lock),
            call("memset", data, 1, 20),
            call("downgrade_write", lock),
            call("up_read", lock),
        ],
        locked("down_read", lock, "up_read", call("memcpy", m.zeros(64), data, 20)),
    )


def _trylock(m: Maker) -> Pair:
    lock = m.mutex()
    return both([call("mutex_trylock", lock)])


def _find_bits(m: Maker) -> Pair:
    bits = m.words(0b1011, 5)
    return both([call("_find_first_zero_bit", bits, 100), call("_find_next_bit", bits, 100, 3)])


def _errseq(m: Maker) -> Pair:
    errors = m.words(0, size=4)
    return [call("errseq_set", errors, -5)], [call("errseq_check", errors, 0)]


def _errseq_twice(m: Maker) -> Pair:
    errors = m.words(0, size=4)
    return [call("errseq_set", errors, -5)], [call("errseq_set", errors, -28)]


def _errseq_advance(m: Maker) -> Pair:
    errors, since = m.words(0, size=4), m.words(0, size=4)
    return [call("errseq_set", errors, -5)], [call("errseq_check_and_advance", errors, since)]


def _lockref(a: str, b: str) -> Callable[[Maker], Pair]:
    def pair(m: Maker) -> Pair:
        lockref = m.words(0, 2, size=4)
        return [call(a, lockref)], [call(b, lockref)]

    return pair


def _list_add(lock: bool) -> Callable[[Maker], Pair]:
    def pair(m: Maker) -> Pair:
        head, mutex, one, two = m.list_head(), m.mutex(), m.list_head(), m.list_head()
        name = "__list_add_valid"

        def calls(entry: int) -> Calls:
            inner = call(name, entry, head, head)
            return locked("mutex_lock", mutex, "mutex_unlock", inner) if lock else [inner]

        return calls(one), calls(two)

    return pair


def _rb(m: Maker) -> Pair:
    root, mutex = m.zeros(64), m.mutex()
    one, two = m.zeros(64), m.zeros(64)
    m.k.write(one, struct.pack("<Q", 1))
    m.k.write(root, struct.pack("<Q", one))
    m.k.write(two, struct.pack("<Q", one))
    m.k.write(one + 16, struct.pack("<Q", two))
    colour = locked("mutex_lock", mutex, "mutex_unlock", call("rb_insert_color", two, root))
    erase = locked("mutex_lock", mutex, "mutex_unlock", call("rb_first", root))
    return colour, erase


def _ratelimit(m: Maker) -> Pair:
    state = m.zeros(64)
    m.k.write(state, struct.pack("<6I", 0, 500, 10, 0, 0, 0))
    return both([call("___ratelimit", state, "here")])


def _idr(m: Maker) -> Pair:
    idr, mutex = m.zeros(64), m.mutex()
    find = call("idr_find", idr, 3)
    return (
        locked("mutex_lock", mutex, "mutex_unlock", find),
        locked("mutex_lock", mutex, "mutex_unlock", find),
    )


def _xa_load(m: Maker) -> Pair:
    xarray = m.zeros(64)
    m.k.write(xarray + 8, struct.pack("<Q", 0))
    return [call("xa_store", xarray, 0, 9, 0)], [call("xa_load", xarray, 0)]


def _xa_store(m: Maker) -> Pair:
    xarray = m.zeros(64)
    return [call("xa_store", xarray, 0, 9, 0)], [call("xa_store", xarray, 0, 13, 0)]


def _xa_erase(m: Maker) -> Pair:
    xarray = m.zeros(64)
    m.k.call("xa_store", xarray, 0, 9, 0)
    return [call("xa_erase", xarray, 0)], [call("xa_load", xarray, 0)]


def _bits(a: str, b: str) -> Callable[[Maker], Pair]:
    def pair(m: Maker) -> Pair:
        bits = m.zeros(64)
        return [call(a, 3, bits)], [call(b, 5, bits)]

    return pair


def _percpu_counter(m: Maker) -> Pair:
    count = m.zeros(64)
    return both([call("percpu_counter_set", count, 3)])


def _strings(m: Maker) -> Pair:
    text = m.zeros(64)
    m.k.write(text, b"some words\0")
    return both([call("strlen", text), call("strchr", text, ord("w"))])


def _crc(m: Maker) -> Pair:
    data = m.words(1, 2, 3)
    return both([call("crc32_le", 0, data, 24)])


def _cond_bh(m: Maker) -> Pair:
    lock = m.zeros(64)
    data, source = m.zeros(64), m.words(1, 2)
    return (
        locked("_raw_write_lock", lock, "_raw_write_unlock", call("memcpy", data, source, 16)),
        locked("_raw_read_lock", lock, "_raw_read_unlock", call("memcpy", m.zeros(64), data, 16)),
    )


def _wrong(make: Callable[[Maker], Sequence[PlannedCall]]) -> Callable[[Maker], Pair]:
    def pair(m: Maker) -> Pair:
        return both(list(make(m)))

    return pair


def _wrong_reader(m: Maker) -> Pair:
    lock, data, source = m.rwsem(), m.zeros(64), m.words(1, 2)
    write = locked("down_read", lock, "up_read", call("memcpy", data, source, 16))
    return write, write


def _wrong_locks(m: Maker) -> Pair:
    data, source = m.zeros(64), m.words(1, 2)
    inner = call("memcpy", data, source, 16)
    return (
        locked("mutex_lock", m.mutex(), "mutex_unlock", inner),
        locked("mutex_lock", m.mutex(), "mutex_unlock", inner),
    )


def _wrong_fifo(m: Maker) -> Pair:
    fifo = m.fifo(8)
    return both([call("__kfifo_out", fifo, m.zeros(64), 4)])


def _spins() -> Iterator[tuple[str, Callable[[Maker], Pair]]]:
    locks = ("_raw_spin_lock", "_raw_spin_lock_irq", "_raw_spin_lock_bh")
    for lock in locks:
        unlock = lock.replace("lock", "unlock")
        for make in (copy, put, take):
            yield f"{lock}: {make.__name__}", _with_spin(lock, unlock, make)
    yield "_raw_write_lock: copy", _with_spin("_raw_write_lock", "_raw_write_unlock", copy)
    yield "_raw_write_lock: put", _with_spin("_raw_write_lock", "_raw_write_unlock", put)
    yield "_raw_write_lock and _raw_read_lock", _cond_bh


CORRECT: dict[str, Callable[[Maker], Pair]] = {
    **{f"mutex: {make.__name__}": _with_mutex(make) for make in (copy, put, take, sort_list)},
    **{f"rwsem: {make.__name__}": _with_writer(make) for make in (copy, put, take, sort_list)},
    **{f"semaphore: {make.__name__}": _with_semaphore(make) for make in (copy, put, take)},
    **dict(_spins()),
    "rwsem: writer and reader": _with_reader(
        lambda m, data: call("memset", data, 5, 40),
        lambda m, data: call("memcpy", m.zeros(64), data, 40),
    ),
    "rwsem: two readers": _two_readers,
    "rwsem: downgrade": _downgrade,
    "mutex_trylock": _trylock,
    "kfifo: in and out": _fifo_ends,
    "kfifo: in and peek": _fifo_peek,
    "kfifo: records": _fifo_records,
    "llist: add and add": _llist,
    "llist: add and del_first": _llist_first,
    "refcount_dec_if_one": _refcount("refcount_dec_if_one"),
    "refcount_dec_not_one": _refcount("refcount_dec_not_one"),
    "refcount: dec_not_one and dec_if_one": _refcounts(
        "refcount_dec_not_one", "refcount_dec_if_one", 2
    ),
    "refcount_dec_and_mutex_lock": _dec_and_lock("refcount_dec_and_mutex_lock", "mutex_unlock"),
    "refcount_dec_and_lock": _dec_and_lock("refcount_dec_and_lock", "_raw_spin_unlock"),
    "_atomic_dec_and_lock": _dec_and_lock("_atomic_dec_and_lock", "_raw_spin_unlock"),
    "atomic_dec_and_mutex_lock": _dec_and_lock("atomic_dec_and_mutex_lock", "mutex_unlock"),
    "completion: publishes": _complete,
    "completion: complete_all": _complete_all,
    "completion: complete and try_wait": _complete_twice,
    "completion: complete and done": _completion_done,
    "wait queue: add and remove": _wake_up,
    "semaphore: hands over": _semaphores,
    "bitmap: two readers": _find_bits,
    "errseq: set and check": _errseq,
    "errseq: set and set": _errseq_twice,
    "errseq: set and check_and_advance": _errseq_advance,
    "lockref: get and get": _lockref("lockref_get", "lockref_get"),
    "lockref: get and put": _lockref("lockref_get", "lockref_put_not_zero"),
    "lockref: get_not_zero and put_return": _lockref("lockref_get_not_zero", "lockref_put_return"),
    "lockref: get_not_dead and put": _lockref("lockref_get_not_dead", "lockref_put_or_lock"),
    "list: look under a mutex": _list_add(True),
    "list: two look": _list_add(False),
    "rbtree: insert and first": _rb,
    "ratelimit": _ratelimit,
    "idr_find under a mutex": _idr,
    "xarray: store and load": _xa_load,
    "xarray: store and store": _xa_store,
    "xarray: erase and load": _xa_erase,
    "strings: two readers": _strings,
    "crc32: two readers": _crc,
}

WRONG: dict[str, Callable[[Maker], Pair]] = {
    "no lock: copy": _wrong(copy),
    "no lock: put": _wrong(put),
    "no lock: take": _wrong(take),
    "two readers write": _wrong_reader,
    "two locks": _wrong_locks,
    "kfifo: two take": _wrong_fifo,
}


def look(path: str, only: str, preemptions: int) -> int:
    """Race all pairs on one kernel; how many came out otherwise than they should."""
    k = Kernel.load(path)
    assert isinstance(k, CalledKernel)
    print(f"{path}: {k.image.version} {k.machine.arch}")
    bad, clean, missing, schedules, began = 0, 0, [], 0, time.monotonic()
    for name, make in {**CORRECT, **WRONG}.items():
        if only not in name:
            continue
        try:
            a, b = make(Maker(k))
        except SymbolError:
            a, b = [call(name)], []
        if not all(each.function in k.symbols for each in (*a, *b)):
            missing.append(name)
            continue
        programs: dict[str, Any] = {"a": a, "b": b}
        found = k.race(**programs, preemptions=preemptions)
        schedules += found.schedules
        failures = found.failures
        right = (name in WRONG) == bool(failures)
        if name in WRONG and failures:
            right = failures[0].kind == "data race"
        clean += right
        if not right:
            bad += 1
            print(f"  {name}: {found}")
    seconds = time.monotonic() - began
    print(f"  {clean} as they should be, {bad} not, {len(missing)} cannot be made here")
    print(f"  {schedules:,} schedules in {seconds:.0f} s; missing: {', '.join(missing)}")
    return bad


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("kernels", nargs="+", metavar="KERNEL")
    parser.add_argument("--only", default="", help="pairs whose names have this")
    parser.add_argument("--preemptions", type=int, default=1)
    options = parser.parse_args()
    return min(1, sum(look(path, options.only, options.preemptions) for path in options.kernels))


if __name__ == "__main__":
    sys.exit(main())
