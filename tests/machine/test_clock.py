"""The guest's clock does not depend on the host's."""

from __future__ import annotations

import struct
from pathlib import Path

from kprobesim import CalledKernel, Kernel

_READ_COUNTER = {
    # rdtsc; shl rdx, 32; or rax, rdx; ret
    "x86_64": bytes.fromhex("0f31 48c1e220 4809d0 c3".replace(" ", "")),
    # mrs x0, cntvct_el0; ret
    "arm64": struct.pack("<2I", 0xD53BE040, 0xD65F03C0),
}


def test_two_guests_read_the_same_times(sample: Path) -> None:
    runs = []
    for _ in range(2):
        k = Kernel.load(sample)
        code = k.alloc(32, executable=True)
        k.write(code, _READ_COUNTER[k.arch])
        times = [k.call(code) for _ in range(3)]
        with_probe = k.symbols["strlen"].address
        saved = k.read(with_probe, 12)
        k.write(with_probe, _READ_COUNTER[k.arch])
        with k.probing("strlen", post_handler=lambda *a: None):
            times.append(k.call("strlen"))  # from a slot
        k.write(with_probe, saved)
        runs.append(times)
    assert runs[0] == runs[1]
    assert runs[0] == sorted(set(runs[0]))


def test_a_called_kernel_tells_its_time_in_seconds(guest: CalledKernel) -> None:
    clock = guest.machine.clock
    before = clock.now()
    assert guest.time == before / 1e9 == clock.now() / 1e9, "looking takes no time"
    assert clock.read() > before
    now = clock.now()
    clock.spend(250)
    assert clock.now() == now + 250
