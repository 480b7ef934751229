"""Clients of one address: their order, who is skipped, what they raise, and that none is left."""

from __future__ import annotations

import ctypes
import gc
import weakref

import pytest

from kprobesim import Kernel, Kprobe
from kprobesim.machine.code_watch import INSIDE, PROBES, RETURNS
from kprobesim.machine.unicorn.executions import Executions
from kprobesim.machine.unicorn.native import Native


class Boom(Exception):
    pass


def test_higher_priorities_come_first_and_equals_in_their_order(guest: Kernel) -> None:
    k, seen = guest, []
    for name, priority in (("p1", PROBES), ("i", INSIDE), ("p2", PROBES), ("r", RETURNS)):
        k.machine.code_watch.watch(
            k.symbols["gcd"].address, lambda *_, name=name: seen.append(name), priority
        )
    assert k.call("gcd", 12, 18) == 6
    assert seen == ["r", "i", "p1", "p2"]


def test_it_is_told_before_the_instruction_also_of_code_that_has_run(guest: Kernel) -> None:
    k, seen = guest, []
    assert k.call("gcd", 12, 18) == 6
    address = k.symbols["gcd"].address
    watch = k.machine.code_watch.watch(address, lambda at: seen.append((at, k.machine.regs.arg(0))))
    assert k.call("gcd", 12, 18) == 6
    assert seen == [(address, 12)]
    k.machine.code_watch.unwatch(watch)
    k.machine.code_watch.unwatch(watch)
    assert k.call("gcd", 12, 18) == 6
    assert seen == [(address, 12)] and len(k.machine.code_watch) == 0


def test_who_has_gone_is_not_kept(guest: Kernel) -> None:
    k = guest

    class Client:
        def arrived(self, _address: int) -> None:
            seen.append(1)

    seen: list[int] = []
    client = Client()
    watch = k.machine.code_watch.watch(k.symbols["gcd"].address, client.arrived)
    assert k.call("gcd", 12, 18) == 6 and seen == [1]
    k.machine.code_watch.unwatch(watch)
    assert k.call("gcd", 12, 18) == 6
    gone = weakref.ref(client)
    del client, watch
    gc.collect()
    assert gone() is None


def test_who_moves_the_cpu_has_the_last_word(guest: Kernel) -> None:
    k, seen = guest, []

    def fail(*_: object) -> bool:
        k.machine.vcpu.return_to_caller(-5)
        k.machine.engine.write_pc(k.machine.regs.ip)
        return True

    def note(address: int) -> None:
        seen.append(address)

    address = k.symbols["gcd"].address
    k.machine.code_watch.watch(address, note, PROBES)
    watch = k.machine.code_watch.watch(address, fail, INSIDE)
    assert k.call("gcd", 12, 18, signed=True) == -5
    assert seen == []
    k.machine.code_watch.unwatch(watch)
    assert k.call("gcd", 12, 18, signed=True) == 6
    assert seen == [address]


def test_a_client_may_take_others_and_itself_out(guest: Kernel) -> None:
    k, seen = guest, []
    code_watch, address = k.machine.code_watch, k.symbols["gcd"].address

    def leave(*_: object) -> None:
        seen.append("left")
        code_watch.unwatch(first)
        code_watch.unwatch(later)

    first = code_watch.watch(address, leave, INSIDE)
    later = code_watch.watch(address, lambda *_: seen.append("later"), PROBES)
    assert k.call("gcd", 12, 18) == k.call("gcd", 12, 18) == 6
    assert seen == ["left"] and len(code_watch) == 0


def test_what_a_client_raises_is_raised_by_the_run(guest: Kernel) -> None:
    k, seen = guest, []

    def fail(*_: object) -> None:
        raise Boom

    address = k.symbols["gcd"].address
    watch = k.machine.code_watch.watch(address, fail, INSIDE)
    k.machine.code_watch.watch(address, lambda *_: seen.append("later"), PROBES)
    with pytest.raises(Boom):
        k.call("gcd", 12, 18)
    assert seen == []
    k.machine.code_watch.unwatch(watch)
    assert k.call("gcd", 12, 18) == 6


class Counter:
    """Stands in for compiled code: counts in ``data``, and tells who was called."""

    def __init__(self, seen: list[str], name: str = "native") -> None:
        self.hits = ctypes.c_uint64()

        def count(_uc: int, _address: int, _size: int, data: int) -> None:
            ctypes.c_uint64.from_address(data).value += 1
            seen.append(name)

        kinds = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p
        thunk = ctypes.CFUNCTYPE(None, *kinds)(count)
        address = ctypes.cast(thunk, ctypes.c_void_p).value or 0
        self.native = Native(address, ctypes.addressof(self.hits), (thunk, self))


def test_native_clients_alone_and_among_others(guest: Kernel) -> None:
    k, seen = guest, list[str]()
    code_watch, address = k.machine.code_watch, k.symbols["gcd"].address
    first, second = Counter(seen, "first"), Counter(seen, "second")
    watches = [code_watch.watch_native(address, first.native)]
    assert k.call("gcd", 12, 18) == 6
    assert seen == ["first"]
    watches.append(code_watch.watch(address, lambda *_: seen.append("python")))
    watches.append(code_watch.watch_native(address, second.native, RETURNS))
    assert k.call("gcd", 12, 18) == 6
    assert seen == ["first", "second", "first", "python"]
    assert (first.hits.value, second.hits.value) == (2, 1)
    for watch in watches:
        code_watch.unwatch(watch)
    assert k.call("gcd", 12, 18) == 6
    assert first.hits.value == 2 and len(code_watch) == 0


@pytest.mark.parametrize("native", [True, False])
def test_executions_are_counted(guest: Kernel, native: bool) -> None:
    executions, watch = Executions(native=native), guest.machine.code_watch
    for name in ("gcd", "strlen"):
        watch.watch_native(guest.symbols[name].address, executions.native)
    for _ in range(3):
        guest.call("gcd", 12, 18)
    guest.call("strlen", "four")
    assert int(executions) == 4


def test_machine_code_is_called_once_where_a_hit_begins_its_block_anew(guest: Kernel) -> None:
    """Before the probe and behind it; the first hit of all is one, for its probe wrote code."""
    k, seen = guest, list[str]()
    code_watch, address = k.machine.code_watch, k.symbols["gcd"].address
    before, behind = Counter(seen), Counter(seen)
    code_watch.watch_native(address, before.native, RETURNS)
    p = Kprobe("gcd", pre_handler=lambda p, regs: k.write(address + 64, k.read(address + 64, 4)))
    k.register_kprobe(p, arming="hook")
    code_watch.watch_native(address, behind.native)
    for turn in range(1, 4):
        assert k.call("gcd", 12, 18) == 6
        assert (before.hits.value, behind.hits.value) == (turn, turn)
