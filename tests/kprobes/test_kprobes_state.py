"""Probes as plain data, and the same probes in another guest."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from kprobesim import Kernel, Kprobe, KprobeError, KprobeFlag, UsageError
from kprobesim.kprobes.state import load_probes, save_probes
from kprobesim.snapshot.packing import pack_value, unpack_value


def fresh(sample: Path) -> Kernel:
    return Kernel.load(sample, arming="hook")


def moved(k: Kernel, sample: Path, probes: list[Kprobe] | None = None) -> Kernel:
    other = fresh(sample)
    load_probes(other.kprobes, unpack_value(pack_value(save_probes(k.kprobes))), probes or [])
    return other


def described(k: Kernel) -> list[Any]:
    return [(p.symbol_name, p.addr, p.offset, p.flags, p.nmissed, p.opcode) for p in k.kprobes]


def test_probes_come_back_armed_and_without_handlers(sample: Path) -> None:
    k = fresh(sample)
    hits: list[str] = []
    k.register_kprobe(Kprobe("strlen", pre_handler=lambda p, regs: hits.append("old")))
    k.register_kprobe(Kprobe("memcpy", flags=KprobeFlag.DISABLED))
    k.register_kprobe(Kprobe(addr=k.symbols["kernel_clone"].address))
    next(iter(k.kprobes)).nmissed = 7
    other = moved(k, sample)
    assert described(other) == described(k)
    assert [p.disabled for p in other.kprobes] == [False, True, False]
    assert other.call("strlen", "abc") == 3
    assert hits == []
    for p in other.kprobes:
        p.pre_handler = lambda p, regs: hits.append(p.symbol_name or "")
    other.call("strlen", "abc")
    assert hits == ["strlen"]
    assert other.kprobes.list() == k.kprobes.list()
    other.unregister_kprobes(list(other.kprobes))
    other.call("strlen", "abc")
    assert hits == ["strlen"]


def test_a_new_probe_takes_the_place_of_the_stored_one(sample: Path) -> None:
    k = fresh(sample)
    k.register_kprobe(Kprobe("strlen"))
    k.register_kprobe(Kprobe("memcpy"))
    next(iter(k.kprobes)).nmissed = 3
    hits: list[str] = []
    strlen = Kprobe("strlen", pre_handler=lambda p, regs: hits.append("strlen"))
    memcpy = Kprobe(
        addr=k.symbols["memcpy"].address, post_handler=lambda p, regs, f: hits.append("memcpy")
    )
    more = Kprobe("strcmp", pre_handler=lambda p, regs: hits.append("strcmp"))
    other = moved(k, sample, [more, memcpy, strlen])
    assert list(other.kprobes) == [strlen, memcpy, more]
    assert strlen.nmissed == 3
    other.call("strlen", "abc")
    assert hits == ["strlen"]
    with pytest.raises(KprobeError):
        moved(k, sample, [Kprobe("no_such_function")])


def test_several_at_one_address_keep_their_order(sample: Path) -> None:
    k = fresh(sample)
    k.register_kprobes([Kprobe("strlen", flags=KprobeFlag.DISABLED), Kprobe("strlen")])
    order: list[int] = []
    mine = [Kprobe("strlen", pre_handler=lambda p, regs, n=n: order.append(n)) for n in range(3)]
    other = moved(k, sample, mine)
    other.call("strlen", "abc")
    assert order == [2, 1]  # the newest first; the first is disabled
    other.kprobes.enable_kprobe(mine[0])
    other.call("strlen", "abc")
    assert order == [2, 1, 2, 1, 0]


def test_gone_and_disarmed_stay_so(sample: Path) -> None:
    k = fresh(sample)
    init = k.image.init_text
    k.register_kprobe(Kprobe("strlen"))
    if init is not None:
        k.register_kprobe(Kprobe(addr=init[0]))
    k.kprobes.init_memory.free()
    k.kprobes.disarm_all_kprobes()
    other = moved(k, sample)
    assert described(other) == described(k)
    assert other.kprobes.init_memory.freed
    hits: list[int] = []
    next(iter(other.kprobes)).pre_handler = lambda p, regs: hits.append(1)
    other.call("strlen", "abc")
    assert hits == []
    other.kprobes.arm_all_kprobes()
    other.call("strlen", "abc")
    assert hits == [1]


def test_a_damaged_list_is_refused(sample: Path) -> None:
    k = fresh(sample)
    k.register_kprobe(Kprobe("strlen"))
    good = save_probes(k.kprobes)
    site = next(iter(good["sites"]))
    for path, value in (
        (("probes",), None),
        (("probes",), [1]),
        (("probes", 0, "addr"), -1),
        (("probes", 0, "addr"), 12),
        (("probes", 0, "addr"), 1 << 64),
        (("probes", 0, "flags"), 1 << 20),
        (("probes", 0, "symbol_name"), 1),
        (("probes", 0, "nmissed"), "1"),
        (("sites",), []),
        (("sites", site), {}),
        (("sites", site, "code"), b""),
        (("sites", site, "code"), bytes(100)),
        (("sites", site, "address"), 3),
        (("sites", site, "ftrace"), 1),
        (("sites", site, "symbol_start"), 1 << 64),
        (("init_freed",), 1),
    ):
        state = copy.deepcopy(good)
        owner: Any = state
        for key in path[:-1]:
            owner = owner[key]
        owner[path[-1]] = value
        other = fresh(sample)
        with pytest.raises(UsageError):
            load_probes(other.kprobes, state, [])
        assert len(other.kprobes) == 0
    with pytest.raises(UsageError):
        load_probes(fresh(sample).kprobes, 5, [])
    with pytest.raises(UsageError, match="booted kernel"):
        save_probes(Kernel.load(sample, arming="breakpoint").kprobes)
