"""Whatever the code is: with a probe on every instruction it does what it does without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from makers.generated_code import BUFFER_SIZE, functions

from kprobesim import GuestFault, Kernel, Kprobe, KprobeError

PLACE = "xxh32"  # its code makes way
_ENTRY = {"x86_64": 5, "arm64": 8}  # what ftrace needs there
_MASKED = {"x86_64": 1 << 4, "arm64": 0}  # AF is undefined behind many instructions
_STEP = {"x86_64": 1, "arm64": 4}
_SAMPLES = Path(__file__).parents[2] / "samples"


class _Rig:
    """A guest whose function at PLACE is replaced again and again."""

    def __init__(self, arch: str, how: str) -> None:
        options: Any = {"arming": "hook"} if how == "hook" else {"stepping": how}
        self.k = k = Kernel.load(_SAMPLES / f"guest-{arch}.elf", **options)
        symbol = k.symbols[PLACE]
        self.start = symbol.address + _ENTRY[arch]
        self.room = symbol.size - _ENTRY[arch]
        self.buffer = k.alloc(BUFFER_SIZE)
        self.registers: dict[str, int] = {}
        k.machine.engine.on_code(k.machine.return_address, self._returned)
        k.call("gcd", 1, 1)

    def _returned(self, *_: object) -> None:
        self.registers = self.k.machine.regs.as_dict()

    def run(self, arguments: list[int]) -> tuple[str, dict[str, int], bytes]:
        k = self.k
        k.write(self.buffer, bytes(range(256)) * (BUFFER_SIZE // 256))
        try:
            k.call(PLACE, self.buffer, *arguments)
            end, registers = "return", self.registers
        except GuestFault as fault:
            end, registers = f"{fault.trap} at {fault.place}", fault.regs.as_dict()
        name = "flags" if k.arch == "x86_64" else "pstate"
        registers[name] &= ~_MASKED[k.arch]
        return end, registers, k.read(self.buffer, BUFFER_SIZE)

    def probes(self, hits: list[int]) -> list[Kprobe]:
        def pre(p: Kprobe, regs: Any) -> None:
            hits.append(p.addr or 0)

        def post(p: Kprobe, regs: Any, flags: int) -> None:
            assert p.addr in hits

        planted = []
        for address in range(self.start, self.start + self.room, _STEP[self.k.arch]):
            p = Kprobe(addr=address, pre_handler=pre, post_handler=post if address % 3 else None)
            try:
                self.k.register_kprobe(p)
            except KprobeError:
                continue
            planted.append(p)
        return planted


@pytest.mark.parametrize("how", ["breakpoint", "trap", "hook"])
def test_generated_code(arch: str, how: str) -> None:
    rig = _Rig(arch, how)
    filling = b"\x90" if arch == "x86_64" else bytes.fromhex("1f2003d5")

    @settings(
        max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(
        code=functions(arch, rig.room),
        arguments=st.lists(st.integers(0, (1 << 64) - 1), min_size=5, max_size=5),
    )
    def same(code: bytes, arguments: list[int]) -> None:
        rig.k.write(rig.start, (code + filling * rig.room)[: rig.room])
        plain = rig.run(arguments)
        hits: list[int] = []
        planted = rig.probes(hits)
        try:
            assert rig.run(arguments) == plain
        finally:
            rig.k.unregister_kprobes(planted)
        assert hits

    same()
