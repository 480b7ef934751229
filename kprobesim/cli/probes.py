"""The probes of ``-p``: each hit is reported with its registers."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from rich.console import Console

from kprobesim.cli.console import styled
from kprobesim.cli.options import positive_int
from kprobesim.disasm import Instruction, disassemble
from kprobesim.kernel.base import Kernel
from kprobesim.kprobes.events import Hit, HitKind
from kprobesim.kprobes.kprobe import Kprobe, KprobeFlag
from kprobesim.kprobes.rules.place import Place
from kprobesim.machine.registers import PtRegs

__all__ = ["Watch", "add_probe_options", "register_rows"]


def add_probe_options(parser: argparse.ArgumentParser) -> None:
    """``-p`` and ``--max-hits``."""
    parser.add_argument(
        "-p",
        "--probe",
        metavar="PLACE",
        action="append",
        default=[],
        help="probe SYMBOL, SYMBOL+OFFSET, 0xADDRESS or all functions of a pattern ('vfs_*'), and "
        "print each hit; may be repeated",
    )
    parser.add_argument(
        "--max-hits",
        metavar="N",
        type=positive_int,
        default=1000,
        help="print the first N hits of all probes (default 1000); all are counted",
    )


class Watch:
    """Plants a probe at each place and reports its hits, the first ``most`` of all of them."""

    def __init__(
        self, kernel: Kernel, most: int, report: Callable[[dict[str, Any], Instruction], None]
    ) -> None:
        self._kernel = kernel
        self._most = most
        self._report = report
        self._instructions: dict[int, Instruction] = {}
        self.probes: dict[Kprobe, Place] = {}
        self.hits: dict[Kprobe, int] = {}
        kernel.on_hit(self._on_hit)

    @property
    def total(self) -> int:
        """Hits, reported or not."""
        return sum(self.hits.values())

    def plant(self, place: Place) -> None:
        """Arm a probe; raises ``KprobeError``."""
        p = Kprobe(place.symbol, addr=place.address, offset=place.offset)
        self._kernel.register_kprobe(p)
        for one in p.members:
            self.adopt(one)
        if not p.members:
            self._watch(p, place)

    def adopt(self, p: Kprobe) -> None:
        """Report the hits of ``p`` too, which is registered already."""
        if not p.flags & KprobeFlag.GONE:
            text = p.symbol_name or f"{p.addr:#x}"
            text += f"+{p.offset:#x}" if p.offset and p.symbol_name else ""
            self._watch(p, Place(text, p.symbol_name, p.offset, p.addr))

    def _watch(self, p: Kprobe, place: Place) -> None:
        assert p.addr is not None
        code = self._kernel.kprobes.read_original(p.addr, p.ainsn.size)
        self._instructions[p.addr] = next(disassemble(self._kernel.arch, code, p.addr))
        self.probes[p] = place
        self.hits[p] = 0

    def _on_hit(self, hit: Hit) -> None:
        if hit.kind in (HitKind.HIT, HitKind.JUMP):
            for p in hit.probes:
                if p in self.hits:
                    self._count(p, hit.regs)

    def _count(self, p: Kprobe, regs: PtRegs) -> None:
        self.hits[p] += 1
        total = self.total
        if total > self._most:
            return
        address = p.addr or 0
        self._report(
            {
                "hit": total,
                "probe": self.probes[p].text,
                "address": f"{address:#x}",
                "place": self._kernel.machine.symbolize(address),
                "instruction": self._instructions[address].as_dict(),
                "registers": {name: f"{value:#x}" for name, value in regs.as_dict().items()},
            },
            self._instructions[address],
        )

    def summary(self) -> list[dict[str, object]]:
        """Each probe with its hits, as plain data."""
        return [
            {
                "probe": place.text,
                "address": f"{p.addr:#x}",
                "hits": self.hits[p],
                "nmissed": p.nmissed,
            }
            for p, place in self.probes.items()
        ]


def register_rows(console: Console, registers: dict[str, str], indent: str = "    ") -> None:
    """Print registers by name, four a row."""
    cells = list(registers.items())
    for start in range(0, len(cells), 4):
        parts: list[str | tuple[str, str]] = [indent]
        for name, value in cells[start : start + 4]:
            parts += [(f"{name:>7} ", "cyan"), f"{int(value, 16):016x} "]
        console.print(styled(*parts[:-1], str(parts[-1]).rstrip()))
