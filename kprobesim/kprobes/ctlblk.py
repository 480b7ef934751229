"""``kprobe_ctlblk``: what one CPU knows of the probe that it is handling."""

from __future__ import annotations

import enum
from typing import Any

from kprobesim.kprobes.kprobe import Kprobe

__all__ = ["KprobeCtlblk", "KprobeStatus"]


class KprobeStatus(enum.IntEnum):
    """How far the handling of a hit has come (include/linux/kprobes.h)."""

    KPROBE_HIT_ACTIVE = 1
    KPROBE_HIT_SS = 2
    KPROBE_REENTER = 4
    KPROBE_HIT_SSDONE = 8


class KprobeCtlblk:
    """One CPU's ``current_kprobe``, ``kprobe_instance`` and ``struct kprobe_ctlblk``.

    ``kprobe_instance`` is the probe, of several at an address, whose handler is running.
    ``saved_flags`` are the bits of EFLAGS (IF, TF) or PSTATE (DAIF) that stepping masks.
    ``prev_kprobe`` is the one outer hit that the kernel can remember: (probe, status, saved flags).
    ``nesting_saves_flags``: going back to it brings its saved flags back, too.
    """

    __slots__ = (
        "_nesting_saves_flags",
        "current_kprobe",
        "kprobe_instance",
        "kprobe_saved_flags",
        "kprobe_status",
        "prev_kprobe",
    )

    def __init__(self, *, nesting_saves_flags: bool = True) -> None:
        self._nesting_saves_flags = nesting_saves_flags
        self.current_kprobe: Kprobe | None = None
        self.kprobe_instance: Kprobe | None = None
        self.kprobe_status: int = 0
        self.kprobe_saved_flags = 0
        self.prev_kprobe: tuple[Kprobe, int, int] | None = None

    def __repr__(self) -> str:
        if self.current_kprobe is None:
            return "<KprobeCtlblk idle>"
        return f"<KprobeCtlblk {KprobeStatus(self.kprobe_status).name} {self.current_kprobe!r}>"

    @property
    def is_stepping(self) -> bool:
        """Whether a probed instruction is on its way: between two handlers, or after the only one.

        Boosted copies and detours run by themselves.
        """
        status = self.kprobe_status
        stepping = KprobeStatus.KPROBE_HIT_SS, KprobeStatus.KPROBE_REENTER
        return self.current_kprobe is not None and status in stepping

    def uses(self, slot: int) -> bool:
        """Whether a probe is being handled, or was when another one was hit, with that slot."""
        handled = self.current_kprobe, None if self.prev_kprobe is None else self.prev_kprobe[0]
        return any(p is not None and p.ainsn.insn == slot for p in handled)

    def save(self) -> Any:
        """Everything, for :meth:`restore`."""
        return self.current_kprobe, self.kprobe_status, self.kprobe_saved_flags, self.prev_kprobe

    def restore(self, state: Any) -> None:
        """Back to what :meth:`save` returned."""
        self.current_kprobe, self.kprobe_status, self.kprobe_saved_flags, self.prev_kprobe = state

    def save_previous_kprobe(self) -> None:
        """Remember the running probe: another one was hit inside it."""
        if self.current_kprobe is not None:
            self.prev_kprobe = (self.current_kprobe, self.kprobe_status, self.kprobe_saved_flags)

    def restore_previous_kprobe(self) -> None:
        """Go on with the outer hit."""
        if self.prev_kprobe is not None:
            self.current_kprobe, self.kprobe_status, flags = self.prev_kprobe
            self.prev_kprobe = None
            if self._nesting_saves_flags:
                self.kprobe_saved_flags = flags
