"""How ``kprobesim demo`` tells what happens, and checks what it claims."""

from __future__ import annotations

from rich.console import Console

from kprobesim.cli.console import styled
from kprobesim.disasm import disassemble
from kprobesim.kernel.called import CalledKernel
from kprobesim.kprobes.ctlblk import KprobeStatus
from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.machine.registers import PtRegs

__all__ = ["ARGUMENTS", "Story"]

#: The registers that carry a function's first arguments.
ARGUMENTS = {"x86_64": ("di", "si", "dx"), "arm64": ("x0", "x1", "x2")}
_CODE_WIDTH = 30  # of the bytes of a slot with a jump behind a long NOP
_WIDTH = 54  # of what happens; the status stands behind


class Story:
    """Prints the scenes of one kernel; ``failures`` counts the claims that did not hold."""

    def __init__(self, console: Console, kernel: CalledKernel) -> None:
        self._console = console
        self._kernel = kernel
        can_tick = console.encoding.lower().startswith("utf")
        self._marks = ("✓", "✗") if can_tick else ("ok", "FAILED")
        self.failures = 0
        self.claims = 0

    def title(self, text: str) -> None:
        """The start of an architecture or a scene."""
        self._console.print()
        self._console.print(styled((text, "bold")))

    def line(self, label: str, text: str, note: str = "", style: str = "") -> None:
        """One fact."""
        self._console.print(
            styled((f"  {label:<13}", "cyan"), (text, style), (f"  {note}" if note else "", "dim"))
        )

    def code(self, label: str, address: int, size: int, note: str = "") -> None:
        """Guest memory as it is now, as bytes and as instructions."""
        raw = self._kernel.read(address, size)
        instructions = disassemble(self._kernel.arch, raw, address)
        text = "; ".join(insn.text(self.name) for insn in instructions)
        self.line(label, f"{raw.hex(' '):<{_CODE_WIDTH}} {text}", note, "magenta")

    def state(self, label: str, what: str, status: int) -> None:
        """A change of the probe's state."""
        name = KprobeStatus(status).name if status else None
        self._console.print(
            styled((f"  {label:<13}", "cyan"), f"{what:<{_WIDTH}} ", (name or "-", "yellow"))
        )

    def handler(self, name: str, text: str) -> None:
        """What a handler saw or did."""
        self._console.print(styled((f"    {name:<14}", "green"), text))

    def claim(self, text: str, holds: bool) -> None:
        """Something that the scene just showed, and whether it is so."""
        self.claims += 1
        self.failures += not holds
        mark, style = (self._marks[0], "green") if holds else (self._marks[1], "bold red")
        self._console.print(styled("  ", (mark, style), f" {text}"))

    def name(self, address: int) -> str:
        """``symbol+0x10``, or the number."""
        found = self._kernel.symbols.at(address)
        if found is None:
            return f"{address:#x}"
        return found.symbol.name + (f"+{found.offset:#x}" if found.offset else "")

    def registers(self, regs: PtRegs, count: int) -> str:
        """Program counter and the first ``count`` arguments, by the kernel's names."""
        shown = [f"ip = {self.name(regs.ip)}"]
        for name in ARGUMENTS[self._kernel.arch][:count]:
            shown.append(f"{name} = {getattr(regs, name):#x}")
        return ", ".join(shown)

    def watch(self, p: Kprobe, event: str, status: int) -> None:
        """``HitPath.observer``: tell each change of state."""
        place = self.name(p.addr or 0)
        stepping = self._kernel.stepping
        if p.ainsn.emulate is not None:
            done = "go on", "behind the instruction"
        elif stepping == "breakpoint":
            done = "trap", "breakpoint behind the copy"
        else:
            done = "trap", "single step"
        label, text = {
            "hit": ("trap", f"breakpoint at {place}"),
            "step": ("go on", "in the slot, interrupts masked"),
            "boost": ("go on", "in the slot, which jumps back by itself"),
            "emulate": ("simulate", p.ainsn.emulate_kind),
            "done": done,
            "fault": ("trap", f"fault in the slot; ip goes back to {place}"),
            "moved": ("go on", "where the handler has said"),
        }.get(event, ("trap", event))
        self.state(label, text, status)
