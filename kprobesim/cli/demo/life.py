"""One probe's whole life, told while it happens."""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.arch.architecture import architecture
from kprobesim.cli.demo.story import Story
from kprobesim.disasm import Instruction, disassemble
from kprobesim.kernel.base import Kernel
from kprobesim.kprobes.ctlblk import KprobeStatus
from kprobesim.kprobes.events import Hit, HitKind
from kprobesim.kprobes.kprobe import Kprobe

__all__ = ["Life", "instructions_of"]

#: The events at which the probe's state has changed.
_STATES = (HitKind.HIT, HitKind.STEP, HitKind.DONE, HitKind.FAULT, HitKind.REENTER)


def instructions_of(kernel: Kernel, function: str) -> list[Instruction]:
    """The instructions of ``function`` as they are in memory now."""
    symbol = kernel.symbols[function]
    code = kernel.read(symbol.address, symbol.size)
    return list(disassemble(kernel.arch, code, symbol.address))


class Life:
    """Plants ``p``, calls a function and takes ``p`` out again; each step is told.

    ``statuses`` are the probe's states in order. ``slot`` is the copy as the guest has it,
    decoded, and ``None`` if the instruction is simulated.
    """

    def __init__(self, story: Story, kernel: Kernel, p: Kprobe) -> None:
        self._story, self._kernel, self._probe = story, kernel, p
        self.statuses: list[KprobeStatus] = []
        self.slot: Instruction | None = None
        self.restored = False
        self.result = 0

    def run(self, call: str, action: Callable[[], int]) -> None:
        """``action`` calls the guest, ``call`` says for people how."""
        story, kernel, p = self._story, self._kernel, self._probe
        place = kernel.symbols[p.symbol_name or ""].address + p.offset
        original = kernel.read(place, 16)
        size = len(next(disassemble(kernel.arch, original, place)).raw)
        story.code("original", place, size, f"at {story.name(place)} [{place:#x}]")
        kernel.register_kprobe(p)
        try:
            story.code("patched", place, len(architecture(kernel.arch).breakpoint))
            self._show_slot()
            story.line("call", call)
            with kernel.on_hit(self._observe):
                self.result = action()
            story.line("result", f"{self.result:#x} = {self.result}", style="bold")
        finally:
            kernel.unregister_kprobe(p)
        story.code("unregistered", place, size)
        self.restored = kernel.read(place, 16) == original

    def _show_slot(self) -> None:
        p = self._probe
        slot = p.ainsn.insn
        if slot is None:
            self._story.line("slot", f"none: {p.ainsn.emulate_kind} is simulated", style="magenta")
            return
        code = self._kernel.read(slot, len(p.ainsn.slot_bytes))
        self.slot = next(disassemble(self._kernel.arch, code, slot))
        self._story.code("slot", slot, len(code), f"at {slot:#x}")

    def _observe(self, hit: Hit) -> None:
        self._story.watch(hit)
        if hit.kind in _STATES and hit.probe is self._probe:
            self.statuses.append(KprobeStatus(hit.status))
