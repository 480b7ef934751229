"""The kernel's suite of kprobes (KUnit), and its ftrace self-tests of them, on real functions.

The suite's own functions are in a module that no distribution builds: ``int_sqrt`` stands for
``kprobe_target``, ``int_pow`` for ``kprobe_target2`` and ``kprobe_recursed_target``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

from kprobesim import Jprobe, Kernel, Kprobe, KprobeError, KprobeFlag, Kretprobe, Reason

pytestmark = pytest.mark.real_kernel

RAND1 = 0x5EED_1234
TARGET, TARGET2 = ("int_sqrt", RAND1), ("int_pow", 3, 5)
RESULT, RESULT2 = math.isqrt(RAND1), 3**5


@pytest.fixture
def k(real_kernel: Kernel) -> Iterator[Kernel]:
    yield real_kernel
    assert len(real_kernel.kprobes) == 0
    assert real_kernel.kprobes.slots.used == 0


class _Probed:
    """A probe whose handlers call a function of the guest, which another probe may be on."""

    def __init__(self, k: Kernel, symbol: str) -> None:
        self.k = k
        self.pre = self.post = 0
        self.kp = Kprobe(symbol, pre_handler=self._pre, post_handler=self._post)

    def _pre(self, p: Kprobe, regs: Any) -> int:
        self.pre = self.k.call(*TARGET2)
        return 0

    def _post(self, p: Kprobe, regs: Any, flags: int) -> None:
        assert self.k.call(*TARGET2) == self.pre
        self.post = self.pre + 3


def test_kprobe_and_kprobes(k: Kernel) -> None:
    first, second = _Probed(k, TARGET[0]), _Probed(k, TARGET2[0])
    k.register_kprobe(first.kp)
    assert k.call(*TARGET) == RESULT
    k.unregister_kprobe(first.kp)
    assert (first.pre, first.post) == (RESULT2, RESULT2 + 3)
    first.kp.addr, first.kp.flags, first.pre = None, KprobeFlag(0), 0
    k.register_kprobes([first.kp, second.kp])
    assert k.call(*TARGET2) == RESULT2
    assert (first.pre, second.pre) == (0, RESULT2)
    k.unregister_kprobes([first.kp, second.kp])


def test_kprobe_missed(k: Kernel) -> None:
    probed = _Probed(k, TARGET2[0])
    k.register_kprobe(probed.kp)
    assert k.call(*TARGET2) == RESULT2
    k.unregister_kprobe(probed.kp)
    assert probed.kp.nmissed == 2
    assert (probed.pre, probed.post) == (RESULT2, RESULT2 + 3)


def test_kretprobes(k: Kernel) -> None:
    seen: list[tuple[str, int]] = []

    def probe(symbol: str) -> Kretprobe:
        return Kretprobe(
            symbol,
            lambda ri, regs: seen.append((symbol, regs.return_value)),
            lambda ri, regs: seen.append((f"-> {symbol}", 0)),
        )

    probes = [probe(TARGET[0]), probe(TARGET2[0])]
    k.register_kretprobes(probes)
    assert (k.call(*TARGET), k.call(*TARGET2)) == (RESULT, RESULT2)
    k.unregister_kretprobes(probes)
    assert seen == [
        ("-> int_sqrt", 0),
        ("int_sqrt", RESULT),
        ("-> int_pow", 0),
        ("int_pow", RESULT2),
    ]


def test_smoke_with_a_jprobe(k: Kernel) -> None:
    seen: list[int] = []
    jp = Jprobe(TARGET[0], entry=lambda x: seen.append(x))
    k.register_jprobe(jp)
    assert k.call(*TARGET) == RESULT
    k.unregister_jprobe(jp)
    assert seen == [RAND1]


def test_insn_boundary(k: Kernel) -> None:
    """kprobe_insn_boundary.tc: a probe on every offset; those between instructions are refused."""
    symbol = k.symbols["vsnprintf"]
    probes, reasons = [], set()
    hits: list[int] = []
    for offset in range(min(256, symbol.size)):
        p = Kprobe(symbol.name, offset=offset, pre_handler=lambda p, regs: hits.append(p.offset))
        try:
            k.register_kprobe(p)
        except KprobeError as error:
            reasons.add(error.reason)
        else:
            probes.append(p)
    before = k.kprobes.read_original(symbol.address, 256)
    buffer = bytearray(32)
    assert k.call("snprintf", buffer, 32, "%s-%d", "ab", 7) == 4
    assert buffer.startswith(b"ab-7\0")
    assert hits
    k.unregister_kprobes(probes)
    assert k.read(symbol.address, 256) == before
    boundary = Reason.UNALIGNED if k.arch == "arm64" else Reason.NOT_INSTRUCTION_BOUNDARY
    assert boundary in reasons


def test_opt_types(k: Kernel) -> None:
    """kprobe_opt_types.tc: soon or later there is an optimised one, where there are such."""
    symbol = k.symbols["vsnprintf"]
    optimized = 0
    for offset in range(min(256, symbol.size)):
        p = Kprobe(symbol.name, offset=offset, pre_handler=lambda p, regs: None)
        try:
            k.register_kprobe(p)
        except KprobeError:
            continue
        k.kprobes.wait_for_optimizer()
        assert k.call("snprintf", bytearray(32), 32, "%s-%d", "ab", 7) == 4
        optimized += "[OPTIMIZED]" in k.kprobes.list()
        k.unregister_kprobe(p)
    assert (optimized > 0) == (k.arch == "x86_64")


def test_multiple_kprobes(k: Kernel) -> None:
    """multiple_kprobes.tc: the first 256 functions that take one."""
    probes: list[Kprobe] = []
    for symbol in k.symbols.functions():
        if k.image.is_kernel_text(symbol.address) and len(probes) < 256:
            p = Kprobe(addr=symbol.address)
            try:
                k.register_kprobe(p)
            except KprobeError:
                continue
            probes.append(p)
    assert len(k.kprobes.list().splitlines()) == 256
    k.kprobes.disarm_all_kprobes()
    k.kprobes.arm_all_kprobes()
    k.unregister_kprobes(probes)
    assert k.kprobes.list() == ""
