"""``Verdicts``: asking a kernel's rules for probes, whether it runs or is only read."""

from __future__ import annotations

from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.kprobes.rules.rules import Rules
from kprobesim.kprobes.rules.verdict import Verdict

__all__ = ["Verdicts"]


class Verdicts:
    """Who has rules, and answers by them."""

    def check(
        self,
        symbol_name: str | None = None,
        *,
        addr: int | None = None,
        offset: int = 0,
        kretprobe: bool = False,
        events: bool = False,
        slot_at: int | None = None,
        suggest: bool = True,
    ) -> Verdict:
        """What this kernel would answer to a probe there once it has booted; nothing is planted.

        Args:
            symbol_name: The symbol, with an offset or not, or ``"module:symbol"``; or
            addr: the address.
            offset: Bytes from there.
            kretprobe: Ask for a return probe.
            events: Ask as a write into ``kprobe_events``, which refuses what ftrace cannot trace.
            slot_at: The address of a slot, whose bytes the verdict then tells.
            suggest: Tell names like an unknown one, and modules that have it: that takes a while.

        Raises:
            UsageError: Something is of the wrong type.
            ImageError: The module that is named is none for this kernel.
        """
        self._look_for(symbol_name)
        verdict = self._rules().check(
            Kprobe(symbol_name, addr=addr, offset=offset),
            kretprobe=kretprobe,
            events=events,
            slot_at=slot_at,
            suggest=suggest,
        )
        return verdict if verdict else self._explained(verdict, suggest=suggest)

    def _rules(self) -> Rules:
        """The pipeline that judges."""
        raise NotImplementedError

    def _look_for(self, symbol_name: str | None) -> None:
        """Get what the name is in, if it must be got."""

    def _explained(self, verdict: Verdict, *, suggest: bool) -> Verdict:
        """A refusal with what else is known of it."""
        return verdict
