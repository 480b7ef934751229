"""Runs one instruction under a probe, at the address and with the registers of a recorded run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from kprobesim import CalledKernel, Kprobe, PtRegs
from kprobesim.kprobes.arming.pages import MappedPages
from kprobesim.kprobes.manager import KprobesManager
from kprobesim.kprobes.rules.site import Site
from kprobesim.machine.machine import Machine
from kprobesim.machine.memory import Prot
from kprobesim.sizes import PAGE

MASK = (1 << 64) - 1
FLAGS = {"x86_64": ("fl", 0xCD5 | 0x200), "arm64": ("ps", 0xF << 28 | 0x3C0)}


class Stop(Exception):
    """The post_handler has run, or will not."""


@dataclass
class Outcome:
    """What the handlers saw: ip relative to the instruction, and registers."""

    pre_ip: int = 0
    post_ip: int | None = None
    registers: dict[str, int] = field(default_factory=dict)


class _Pages(MappedPages):
    """Slots go where they were in the recorded run."""

    def __init__(self, machine: Machine, slot_page: int) -> None:
        super().__init__(machine)
        self._slot_page = slot_page

    def new_slots(self) -> int:
        self._machine.memory.map_new(self._slot_page, PAGE, Prot.RX, "slots")
        return self._slot_page


class Replay:
    """A guest with the recorded run's memory map: ``slot_page`` for slots, ``code``, ``data``."""

    def __init__(
        self, kernel: CalledKernel, slot_page: int, code: list[int], data: list[int]
    ) -> None:
        self.k = kernel
        memory = kernel.machine.memory
        for page in code + data:
            prot = Prot.RX if page in code else Prot.RW
            memory.map_new(page, PAGE, prot, "recorded")

        machine = kernel.machine
        traps = machine.vcpu.traps
        traps.breakpoint.clear()
        traps.step.clear()
        traps.faults.remove(kernel.kprobes.faults.fault)
        self.probes = KprobesManager(
            *(
                machine,
                kernel.image,
                kernel.stepping,
                "breakpoint",
                _Pages(kernel.machine, slot_page),
            ),
            model=kernel.model,
            strict=kernel.strict,
        )
        self.launch = Kprobe("strlen", pre_handler=self._go)
        self.probes.register_kprobe(self.launch)
        self._registers: dict[str, int] = {}
        self._address = 0

    def _go(self, p: Kprobe, regs: PtRegs) -> int:
        set_registers(self.k, regs, self._registers)
        regs.ip = self._address
        return 1

    def run(
        self, address: int, code: bytes, registers: dict[str, int], memory: dict[int, int]
    ) -> Outcome:
        """Place ``code``, probe it, run it once."""
        k, probes = self.k, self.probes
        k.write(address, code)
        for where, value in memory.items():
            k.write(where, value.to_bytes(8, "little"))
        self._registers, self._address = registers, address
        outcome = Outcome()

        def pre(p: Kprobe, regs: PtRegs) -> None:
            outcome.pre_ip = regs.ip - address

        def post(p: Kprobe, regs: PtRegs, flags: int) -> None:
            outcome.post_ip = regs.ip - address
            outcome.registers = {name: get_register(k, regs, name) for name in registers}
            raise Stop

        p = Kprobe(addr=address, pre_handler=pre, post_handler=post)
        with_place(probes, p)
        try:
            k.call("strlen", b"\0")
        except Stop:
            pass
        finally:
            probes.unregister_kprobe(p)
        return outcome


def with_place(probes: KprobesManager, p: Kprobe) -> None:
    """Register ``p`` where the image has neither symbol nor text, past the checks of the address.

    What is checked here is how an instruction is prepared and run; a place comes with a symbol.
    """
    site = Site(p.addr or 0, "recorded", p.addr or 0, has_post_handler=p.post_handler is not None)
    with (
        mock.patch.object(probes.rules, "site", lambda p, interface: site),
        mock.patch.object(probes.rules, "check_safe", lambda site, init_freed: None),
    ):
        probes.register_kprobe(p)


def set_registers(k: CalledKernel, regs: Any, values: dict[str, int]) -> None:
    name, mask = FLAGS[k.arch]
    for register, value in values.items():
        if register == name:
            regs.flags = regs.flags & ~mask | value & mask
        elif register.startswith("x") and k.arch == "arm64":
            regs.set_gpr(int(register[1:]), value)
        else:
            setattr(regs, register, value)


def get_register(k: CalledKernel, regs: Any, register: str) -> int:
    name, mask = FLAGS[k.arch]
    if register == name:
        return int(regs.flags) & mask
    if register.startswith("x") and k.arch == "arm64":
        return int(regs.gpr(int(register[1:])))
    return int(getattr(regs, register))
