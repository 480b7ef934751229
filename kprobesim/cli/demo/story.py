"""How ``kprobesim demo`` tells what happens, and checks what it claims."""

from __future__ import annotations

from textwrap import wrap

from rich.console import Console

from kprobesim.arch.architecture import architecture
from kprobesim.cli.console import styled
from kprobesim.disasm import disassemble
from kprobesim.kernel.called import CalledKernel
from kprobesim.kprobes.ctlblk import KprobeStatus
from kprobesim.kprobes.events import Hit, HitKind
from kprobesim.machine.registers import PtRegs

__all__ = ["Story"]

_LABEL = 13
_INDENT = " " * (_LABEL + 2)
_BYTES = 24  # columns for an instruction's bytes: 8 of them
_ROOM = 80 - len(_INDENT) - _BYTES - 1  # for an instruction in words
_SAYS = 80 - 18  # for what a handler saw
_EQUALS = "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}"
_WIDTH = 44  # of what happens; the status stands behind


class Story:
    """Prints the scenes of one kernel; ``failures`` counts the claims that did not hold."""

    def __init__(self, console: Console, kernel: CalledKernel) -> None:
        self._console = console
        self._kernel = kernel
        can_tick = console.encoding.lower().startswith("utf")
        self._marks = ("✓", "✗") if can_tick else ("ok", "FAILED")
        self.failures = 0
        self.claims = 0
        self.is_quiet = False
        """Tell no further hits: one is like the other."""

    def title(self, text: str) -> None:
        """The start of an architecture or a scene."""
        self._console.print()
        self._console.print(styled((text, "bold")))

    def line(self, label: str, text: str, note: str = "", style: str = "") -> None:
        """One fact."""
        self._console.print(
            styled((f"  {label:<{_LABEL}}", "cyan"), (text, style), (note and f"  {note}", "dim"))
        )

    def code(self, label: str, address: int, size: int, note: str = "") -> None:
        """Guest memory as it is now, as bytes and as instructions."""
        raw = self._kernel.read(address, size)
        if note:
            self._console.print(styled((f"  {label:<{_LABEL}}", "cyan"), (note, "dim")))
            label = ""
        for insn in disassemble(self._kernel.arch, raw, address):
            text = insn.text(self.name)
            cut = len(text)
            if cut > _ROOM:  # what it means goes to a line of its own
                cut = next((at for at in map(text.find, ("  # ", " <")) if at > 0), cut)
            self.line(label, f"{insn.raw.hex(' '):<{_BYTES}} {text[:cut]}", style="magenta")
            if text[cut:]:
                self.line("", f"{'':{_BYTES}} {text[cut:].strip()}", style="magenta")
            label = ""

    def state(self, label: str, what: str, status: int) -> None:
        """A change of the probe's state."""
        if self.is_quiet:
            return
        name = KprobeStatus(status).name if status else None
        if len(what) > _WIDTH:
            self.line(label, what)
            label = what = ""
        self._console.print(
            styled((f"  {label:<{_LABEL}}", "cyan"), f"{what:<{_WIDTH}} ", (name or "-", "yellow"))
        )

    def handler(self, name: str, text: str) -> None:
        """What a handler saw or did."""
        whole = text.replace(" = ", _EQUALS)  # not to be torn
        for part in wrap(whole, _SAYS, break_long_words=False):
            words = part.replace(_EQUALS, " = ")
            self._console.print(styled((f"    {name:<14}", "green"), words))
            name = ""

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
        for name in architecture(self._kernel.arch).abi.arguments[:count]:
            shown.append(f"{name} = {getattr(regs, name):#x}")
        return ", ".join(shown)

    def watch(self, hit: Hit) -> None:
        """Tell a change of state."""
        p = hit.probe
        place = self.name(p.addr or 0)
        stepping = self._kernel.stepping
        if p.ainsn.emulate is not None:
            done = "go on", "behind the instruction"
        elif stepping == "breakpoint":
            done = "trap", "breakpoint behind the copy"
        else:
            done = "trap", "single step"
        label, text = {
            HitKind.HIT: ("trap", f"breakpoint at {place}"),
            HitKind.STEP: ("go on", "in the slot, interrupts masked"),
            HitKind.BOOST: ("go on", "in the slot, which jumps back by itself"),
            HitKind.EMULATE: ("simulate", p.ainsn.emulate_kind),
            HitKind.DONE: done,
            HitKind.FAULT: ("trap", f"fault in the slot; ip goes back to {place}"),
            HitKind.MOVED: ("go on", "where the handler has said"),
        }.get(hit.kind, ("trap", hit.kind.value))
        self.state(label, text, hit.status)
