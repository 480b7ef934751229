"""Instructions that are done here instead of by Unicorn, with probes on them."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from kprobesim import CalledKernel, Kernel, Kprobe, PtRegs
from kprobesim.arch.architecture import architecture

CODE = {
    "x86_64": {
        "rdrand": bytes.fromhex("480fc7f0 488d4001 c3"),  # rdrand rax; lea rax, [rax + 1]; ret
        "blsi": bytes.fromhex("c4e2f8f3df 488d4001 c3"),  # blsi rax, rdi
    },
    "arm64": {
        "counter": struct.pack("<3I", 0xD53B_E040, 0x9100_0400, 0xD65F_03C0),  # mrs x0, cntvct_el0
    },
}
BEHIND_ENTRY = {"x86_64": 9, "arm64": 8}  # ftrace's place, and what sets up a frame


def _call(kernel: CalledKernel, code: bytes, *, probed: bool) -> tuple[list[int], list[object]]:
    """What three calls return, and what a probe on the first instruction saw."""
    offset = BEHIND_ENTRY[kernel.arch]
    place = kernel.symbols["negate"].address + offset
    kernel.write(place, code)
    seen: list[object] = []

    def pre(p: Kprobe, regs: PtRegs) -> None:
        seen.append(regs.ip - place)
        regs.return_value = 0

    def post(p: Kprobe, regs: PtRegs, flags: int) -> None:
        seen.append((regs.ip - place, regs.return_value != 0))

    if probed:
        p = Kprobe("negate", offset=offset, pre_handler=pre, post_handler=post)
        kernel.register_kprobe(p)
    return [kernel.call(place, 12) for _ in range(3)], seen


@pytest.mark.parametrize("name", ["rdrand", "blsi", "counter"])
def test_a_probe_on_it_changes_nothing(stepped: CalledKernel, sample: Path, name: str) -> None:
    """It is stepped like any other: the pre_handler before it, the trap behind it, and once."""
    code = CODE[stepped.arch].get(name)
    if code is None:
        pytest.skip("another architecture's")
    size = code.index(b"\x48\x8d") if stepped.arch == "x86_64" else 4
    plain, _ = _call(Kernel.load(sample), code, probed=False)
    results, seen = _call(stepped, code, probed=True)
    assert results == plain
    trapped = architecture(stepped.arch).breakpoint_offset
    assert seen == [trapped, (size, True)] * 3
