"""The kernel's own suites, restated: lib/tests/test_kprobes.c (KUnit) and samples/kprobes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from kprobesim import Jprobe, Kernel, Kprobe, KprobeFlag, Kretprobe, KretprobeInstance

RAND1 = 0x5EED_1234
TARGET, TARGET2, RECURSED = "kprobe_target", "kprobe_target2", "kprobe_recursed_target"


class _Values:
    """``preh_val`` and ``posth_val`` of the suite, and the handlers that set them."""

    def __init__(self, k: Kernel) -> None:
        self.k = k
        self.pre = self.post = 0

    def pre_handler(self, p: Kprobe, regs: Any) -> int:
        self.pre = self.k.call(RECURSED, RAND1)
        return 0

    def post_handler(self, p: Kprobe, regs: Any, flags: int) -> None:
        assert self.k.call(RECURSED, RAND1) == self.pre
        self.post = self.pre + 3

    def probe(self, symbol: str) -> Kprobe:
        return Kprobe(symbol, pre_handler=self.pre_handler, post_handler=self.post_handler)


def test_kprobe(stepped: Kernel) -> None:
    values = _Values(stepped)
    kp = values.probe(TARGET)
    stepped.register_kprobe(kp)
    stepped.call(TARGET, RAND1)
    stepped.unregister_kprobe(kp)
    assert values.pre == RAND1 // 3
    assert values.post == RAND1 // 3 + 3


def test_kprobes(stepped: Kernel) -> None:
    first, second = _Values(stepped), _Values(stepped)
    kp, kp2 = first.probe(TARGET), second.probe(TARGET2)
    stepped.register_kprobe(kp)
    stepped.unregister_kprobe(kp)
    kp.addr, kp.flags = None, KprobeFlag(0)  # to register it by symbol again
    stepped.register_kprobes([kp, kp2])
    assert stepped.call(TARGET, RAND1) == RAND1 // 3
    assert first.pre and first.post and not second.pre and not second.post
    first.pre = first.post = 0
    assert stepped.call(TARGET2, RAND1) == RAND1 // 3 + 1
    assert second.pre and second.post and not first.pre and not first.post
    stepped.unregister_kprobes([kp, kp2])


def test_kprobe_missed(stepped: Kernel) -> None:
    values = _Values(stepped)
    kp = values.probe(RECURSED)
    stepped.register_kprobe(kp)
    assert stepped.call(RECURSED, RAND1) == RAND1 // 3
    assert kp.nmissed == 2
    assert values.pre and values.post
    stepped.unregister_kprobe(kp)


def _return_probe(symbol: str, expected: int, seen: dict[str, int]) -> Kretprobe:
    def entry(ri: KretprobeInstance, regs: Any) -> int:
        seen[symbol] = RAND1 // 3
        return 0

    def handler(ri: KretprobeInstance, regs: Any) -> int:
        assert regs.return_value == expected
        assert seen[symbol] == RAND1 // 3
        seen[symbol] = RAND1
        return 0

    return Kretprobe(symbol, handler, entry)


def test_kretprobe(stepped: Kernel) -> None:
    seen: dict[str, int] = {}
    rp = _return_probe(TARGET, RAND1 // 3, seen)
    stepped.register_kretprobe(rp)
    stepped.call(TARGET, RAND1)
    stepped.unregister_kretprobe(rp)
    assert seen == {TARGET: RAND1}


def test_kretprobes(stepped: Kernel) -> None:
    seen: dict[str, int] = {}
    probes = [
        _return_probe(TARGET, RAND1 // 3, seen),
        _return_probe(TARGET2, RAND1 // 3 + 1, seen),
    ]
    stepped.register_kretprobes(probes)
    stepped.call(TARGET, RAND1)
    assert seen == {TARGET: RAND1}
    stepped.call(TARGET2, RAND1)
    assert seen == {TARGET: RAND1, TARGET2: RAND1}
    stepped.unregister_kretprobes(probes)


def _places(trace: str) -> list[str]:
    """The lines of a call trace that name a place."""
    return re.findall(r"^ (\w[\w.]*\+0x[0-9a-f]+)/", trace, re.M)


def _symbolized(k: Kernel, address: int) -> str:
    return k.machine.symbolize(address).partition("/")[0]


def _trace_without_return_probes(k: Kernel, symbol: str, call: Callable[[], object]) -> list[str]:
    """At the entry of ``symbol``, without the symbol itself."""
    traces: list[str] = []
    with k.probing(symbol, pre_handler=lambda p, regs: traces.append(k.dump_stack())):
        call()
    return _places(traces[0])[1:]


def test_stacktrace_on_kretprobe(stepped: Kernel) -> None:
    def call() -> int:
        return stepped.call("do_fork", 17, 0, 0)

    callers = _trace_without_return_probes(stepped, "copy_process", call)
    assert [place.split("+")[0] for place in callers] == ["kernel_clone", "_do_fork", "do_fork"]
    seen: list[tuple[str, list[str], list[str]]] = []

    def handler(ri: KretprobeInstance, regs: Any) -> None:
        assert regs.ip == ri.ret_addr
        place = _symbolized(stepped, ri.ret_addr)
        seen.append((place, _places(stepped.dump_stack()), inside))

    inside: list[str] = []
    probe = Kprobe(
        "alloc_pid", pre_handler=lambda p, regs: inside.extend(_places(stepped.dump_stack()))
    )
    stepped.register_kretprobe(Kretprobe("copy_process", handler))
    stepped.register_kprobe(probe)
    assert call() == 2
    ((returned_to, trace, within),) = seen
    assert returned_to == callers[0]
    assert trace == callers  # not the trampoline
    assert within[2:] == callers  # neither while the function is running


def test_stacktrace_on_nested_kretprobe(stepped: Kernel) -> None:
    def call() -> int:
        return stepped.call("do_fork", 17, 0, 0)

    callers = _trace_without_return_probes(stepped, "copy_process", call)
    traces: list[tuple[str, list[str]]] = []

    def handler(ri: KretprobeInstance, regs: Any) -> None:
        traces.append((_symbolized(stepped, ri.ret_addr), _places(stepped.dump_stack())))

    probes = [Kretprobe("copy_process", handler), Kretprobe("kernel_clone", handler)]
    stepped.register_kretprobes(probes)
    assert call() == 2
    assert traces == [(callers[0], callers), (callers[1], callers[1:])]
    stepped.unregister_kretprobes(probes)


def test_smoke_with_a_jprobe(stepped: Kernel) -> None:
    """kernel/test_kprobes.c of the kernels before 4.15."""
    seen: dict[str, int] = {}

    def entry(value: int) -> None:
        seen["jprobe"] = value

    values = _Values(stepped)
    kp, jp, rp = (
        values.probe(TARGET),
        Jprobe(TARGET, entry),
        _return_probe(TARGET, RAND1 // 3, seen),
    )
    for register, unregister, probe in (
        (stepped.register_kprobe, stepped.unregister_kprobe, kp),
        (stepped.register_jprobe, stepped.unregister_jprobe, jp),
        (stepped.register_kretprobe, stepped.unregister_kretprobe, rp),
    ):
        register(probe)  # type: ignore[arg-type, operator]
        assert stepped.call(TARGET, RAND1) == RAND1 // 3
        unregister(probe)  # type: ignore[arg-type, operator]
    assert values.post == RAND1 // 3 + 3
    assert seen == {"jprobe": RAND1, TARGET: RAND1}


def test_sample_kprobe_example(stepped: Kernel) -> None:
    """Prints where it is before and after the first instruction of kernel_clone."""
    lines: list[str] = []

    def pre(p: Kprobe, regs: Any) -> int:
        lines.append(f"pre <{p.symbol_name}> p->addr = {p.addr:#x}, ip = {regs.ip:#x}")
        return 0

    def post(p: Kprobe, regs: Any, flags: int) -> None:
        lines.append(f"post <{p.symbol_name}> p->addr = {p.addr:#x}")

    address = stepped.symbols["kernel_clone"].address
    with stepped.probing("kernel_clone", pre_handler=pre, post_handler=post):
        for _ in range(2):
            stepped.call("do_fork", 17, 0, 0)
    ip = address + (stepped.arch == "x86_64")
    assert (
        lines
        == [
            f"pre <kernel_clone> p->addr = {address:#x}, ip = {ip:#x}",
            f"post <kernel_clone> p->addr = {address:#x}",
        ]
        * 2
    )


@pytest.mark.parametrize("kernel_thread", [False, True])
def test_sample_kretprobe_example(stepped: Kernel, kernel_thread: bool) -> None:
    """Tells what kernel_clone returned and how long it took, but not for kernel threads."""
    lines: list[str] = []
    now = iter(range(1000, 9000, 250))

    def entry(ri: KretprobeInstance, regs: Any) -> int:
        if kernel_thread:
            return 1
        ri.data[:] = next(now).to_bytes(8, "little")
        return 0

    def ret(ri: KretprobeInstance, regs: Any) -> int:
        took = next(now) - int.from_bytes(ri.data, "little")
        assert ri.rp is not None
        lines.append(f"{ri.rp.kp.symbol_name} returned {regs.return_value} and took {took} ns")
        return 0

    rp = Kretprobe("kernel_clone", ret, entry, maxactive=20, data_size=8)
    stepped.register_kretprobe(rp)
    for _ in range(2):
        stepped.call("do_fork", 17, 0, 0)
    stepped.unregister_kretprobe(rp)
    expected = [f"kernel_clone returned {pid} and took 250 ns" for pid in (1, 2)]
    assert lines == ([] if kernel_thread else expected)
    assert rp.nmissed == 0
