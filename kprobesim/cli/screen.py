"""The console of a guest that boots, and the hits of its probes, on one terminal."""

from __future__ import annotations

import codecs
import sys
from typing import Any

from kprobesim.cli.console import make_console, styled
from kprobesim.kernel.booted import BootedKernel

__all__ = ["Screen"]

_ARGUMENTS = 4
_WHEN = "[{:12.6f}] "


class Screen:
    """Shows what ``kernel`` prints as it comes, and lines of ours between its lines.

    A terminal that is the guest's (``raw``) gets it as it is, others get lines of text. With
    ``stamps`` each line tells the guest's own time (``k.time``) before it: the same clock as that
    of the hits between them, which the guest's own stamps are not.
    """

    def __init__(self, kernel: BootedKernel, *, raw: bool = False, stamps: bool = False) -> None:
        self._kernel = kernel
        self._raw = raw
        self._stamps = stamps and not raw
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._console = make_console()
        self._at_start = True
        kernel.console.listeners.append(self._show)

    def _show(self, data: bytes) -> None:
        text = self._decode(data)
        if not self._raw:
            text = text.replace("\r", "")
        if text:
            sys.stdout.write(self._stamped(text) if self._stamps else text)
            self._at_start = text.endswith("\n")
            if self._at_start:
                sys.stdout.flush()

    def _stamped(self, text: str) -> str:
        when = _WHEN.format(self._kernel.time)
        first = when if self._at_start else ""
        return first + text[:-1].replace("\n", "\n" + when) + text[-1]

    def _new_line(self) -> None:
        if not self._at_start:
            sys.stdout.write("\n")
            self._at_start = True

    def hit(self, hit: dict[str, Any]) -> None:
        """One line: when, where, and the registers that carry arguments."""
        self._new_line()
        regs = self._kernel.machine.regs
        values = " ".join(f"{regs.arg(n):#x}" for n in range(_ARGUMENTS))
        when = _WHEN.format(hit["time"])
        who = "" if hit["comm"] is None else f"{hit['comm']}-{hit['pid']}  "
        self._console.print(
            styled((when, "dim"), (f"hit {hit['hit']} ", "bold"), f"{hit['place']}  {who}", values)
        )

    def end(self, outcome: dict[str, Any]) -> None:
        """What the probes counted, why it ended unless that is an error, and where it is kept."""
        self._new_line()
        for row in outcome["probes"]:
            count = row["hits"]
            self._console.print(f"probe {row['probe']}: {count} hit{'s' * (count != 1)}")
        if outcome["fault"] is None:
            text = f"{outcome['reason']}, at {outcome['time']:.6f} s"
            self._console.print(styled((text, "dim")))
        if outcome["snapshot"] is not None:
            self._console.print(styled((f"the guest is in {outcome['snapshot']}", "dim")))
