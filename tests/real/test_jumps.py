"""Optimised probes on a real kernel, where its compiler and its optimizer disagree."""

from __future__ import annotations

from pathlib import Path

import pytest

from kprobesim import Kernel, Kprobe, KprobeFlag
from kprobesim.arch.x86_64.boundary import boundaries

pytestmark = pytest.mark.real_kernel


def _entered(k: Kernel) -> int:
    """A place that would be optimised, and whose cold part jumps right behind it."""
    optimizable = k.kprobes.rules.optimizable
    for cold in k.symbols.functions():
        if cold.name.endswith(".cold"):
            for function in k.symbols.candidates(cold.name.removesuffix(".cold")):
                for address in boundaries(
                    k.kprobes.read_original, function.address, function.address + function.size
                ):
                    if optimizable.is_entered(address) and optimizable.size(address):
                        return address
    raise AssertionError("no cold part jumps into bytes that a probe may overwrite")


@pytest.mark.parametrize("strict", [False, True])
def test_no_jump_where_a_cold_part_comes_back_to(real_image: Path, strict: bool) -> None:
    """The kernel writes one, and executes the middle of it; its list says OPTIMIZED."""
    k = Kernel.load(real_image, strict=strict, arming="breakpoint")
    if k.arch == "arm64":
        pytest.skip("there are no jumps")
    address = _entered(k)
    p = Kprobe(addr=address)
    before = k.read(address, 5)
    k.register_kprobe(p)
    k.kprobes.wait_for_optimizer()
    head = k.kprobes.get_kprobe(address)
    assert head is not None and head.flags & KprobeFlag.OPTIMIZED
    assert k.read(address, 1) == (b"\xe9" if strict else b"\xcc")
    k.unregister_kprobe(p)
    assert k.read(address, 5) == before
