"""The board's device tree: what the kernel is told of the hardware."""

from __future__ import annotations

from kprobesim.boot.arm64.fdt import Node, flatten

__all__ = [
    *("GICC_BASE", "GICD_BASE", "GIC_SIZE", "PL011_BASE", "PL011_SIZE"),
    *("TIMER_PPI", "UART_SPI", "device_tree"),
]

GICD_BASE, GICC_BASE, GIC_SIZE = 0x0800_0000, 0x0801_0000, 0x1_0000
PL011_BASE, PL011_SIZE = 0x0900_0000, 0x1000
TIMER_PPI = 14  # the non-secure physical timer, as on most boards
UART_SPI = 1
_SECURE_TIMER_PPI = 13

_GIC, _CLOCK = 1, 2  # phandles
_SPI, _PPI = 0, 1
_HIGH_LEVEL = 4
_CPUS_SHIFT = 8  # of the CPU mask in a PPI's flags


def _pair(value: int) -> tuple[int, int]:
    return value >> 32, value & 0xFFFF_FFFF


def device_tree(
    ram_base: int,
    ram_size: int,
    command_line: str,
    initrd: tuple[int, int] | None,
    cpus: int = 1,
) -> bytes:
    """The blob; ``initrd`` is its physical (start, end), ``cpus`` how many there are.

    The timer has no virtual interrupt, so the kernel uses the registers CNTP_*: those can be
    trapped. (Kernels before 5.13 go by the order of the interrupts, later ones by name.) There is
    no kaslr-seed: the kernel runs where it was linked.
    """
    chosen: Node = {"bootargs": command_line, "stdout-path": f"/pl011@{PL011_BASE:x}"}
    if initrd is not None:
        chosen["linux,initrd-start"] = _pair(initrd[0])
        chosen["linux,initrd-end"] = _pair(initrd[1])
    each_cpu: Node = {f"cpu@{number}": _cpu(number) for number in range(cpus)}
    mine = _HIGH_LEVEL | (1 << cpus) - 1 << _CPUS_SHIFT
    return flatten(
        {
            "#address-cells": 2,
            "#size-cells": 2,
            "compatible": "linux,dummy-virt",
            "model": "kprobesim",
            "interrupt-parent": _GIC,
            "chosen": chosen,
            f"memory@{ram_base:x}": {
                "device_type": "memory",
                "reg": (*_pair(ram_base), *_pair(ram_size)),
            },
            "cpus": {"#address-cells": 1, "#size-cells": 0, **each_cpu},
            "psci": {"compatible": ["arm,psci-1.0", "arm,psci-0.2"], "method": "smc"},
            "timer": {
                "compatible": "arm,armv8-timer",
                "interrupt-names": ["sec-phys", "phys"],
                "interrupts": (
                    *(_PPI, _SECURE_TIMER_PPI, mine),
                    *(_PPI, TIMER_PPI, mine),
                ),
                "always-on": None,
            },
            f"intc@{GICD_BASE:x}": {
                "compatible": "arm,cortex-a15-gic",
                "interrupt-controller": None,
                "#interrupt-cells": 3,
                "#address-cells": 0,
                "reg": (
                    *(*_pair(GICD_BASE), *_pair(GIC_SIZE)),
                    *(*_pair(GICC_BASE), *_pair(GIC_SIZE)),
                ),
                "phandle": _GIC,
            },
            "apb-pclk": {
                "compatible": "fixed-clock",
                "#clock-cells": 0,
                "clock-frequency": 24_000_000,
                "phandle": _CLOCK,
            },
            f"pl011@{PL011_BASE:x}": {
                "compatible": ["arm,pl011", "arm,primecell"],
                "reg": (*_pair(PL011_BASE), *_pair(PL011_SIZE)),
                "interrupts": (_SPI, UART_SPI, _HIGH_LEVEL),
                "clocks": (_CLOCK, _CLOCK),
                "clock-names": ["uartclk", "apb_pclk"],
            },
        }
    )


def _cpu(number: int) -> Node:
    """Its affinity is its number, which is what MPIDR_EL1 says."""
    return {
        "device_type": "cpu",
        "compatible": "arm,cortex-a72",
        "reg": number,
        "enable-method": "psci",
    }
