"""Noticing that a kernel panics: on its console, in its functions, in its call trace."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kprobesim.boot.board_clock import BoardClock
from kprobesim.boot.console import Console
from kprobesim.boot.state import Maybe, Number, Saved, Tuples, fields
from kprobesim.image import KernelImage
from kprobesim.machine.code_watch import INSIDE, CodeWatch

__all__ = ["PanicWatch", "panic_in_trace", "panic_line", "panic_reason"]

_SECOND = 1_000_000_000
_LAST_WORDS = _SECOND // 4  # for what a panic prints
_SILENCE = _SECOND  # by then a kernel has its console
_FUNCTIONS = "panic", "vpanic"
_MOST = 8
_IN_TRACE = rf"(\? )?({'|'.join(_FUNCTIONS)})\+"
_FIRST_LINE = "Kernel panic - not syncing: "
_LAST_LINE = "---[ end Kernel panic"


class PanicWatch(Saved):
    """Notices a panic that no console shows, by the kernel's own function for that.

    The function is looked for only when a kernel has been silent for a while: the symbols of most
    boots need not be read.
    """

    SAVED = fields(_at=Maybe(Number(63)), _functions=Tuples(_MOST, (64,)))

    def __init__(self, code_watch: CodeWatch, clock: BoardClock) -> None:
        self._code_watch = code_watch
        self._clock = clock
        self._at: int | None = None
        self._functions: list[tuple[int, ...]] = []
        self._watched: set[int] = set()
        self._looked = False

    @property
    def panicking(self) -> bool:
        """Whether the function has been entered."""
        return self._at is not None

    @property
    def is_over(self) -> bool:
        """Whether a panic has had the time to say why."""
        return self._at is not None and self._clock.now() - self._at > _LAST_WORDS

    def forget(self) -> None:
        """The panic was told."""
        self._at = None

    def is_suspicious(self, console: Console) -> bool:
        """Whether the guest has been silent for so long that :meth:`look_for` should be called."""
        return not self._looked and not console.output and self._clock.now() > _SILENCE

    def look_for(self, image: KernelImage) -> None:
        """Find the functions of ``image``, and hook them."""
        self._looked = True
        if image.has_symbols:
            found = [symbol for name in _FUNCTIONS for symbol in image.symbols.candidates(name)]
            self._functions = [(symbol.address,) for symbol in found[:_MOST]]
        self.watch()

    def watch(self) -> None:
        """Hook what is known and not hooked yet; also after a state was loaded."""
        for (address,) in self._functions:
            if address not in self._watched:
                self._watched.add(address)
                self._code_watch.watch(address, self._entered, INSIDE)

    def _entered(self, _address: int) -> None:
        if self._at is None:
            self._at = self._clock.now()
            self._clock.hasten(self._at + _LAST_WORDS)


def panic_reason(console: Console) -> str:
    """What the kernel said when it panicked; empty if it did not say so lately."""
    for line in reversed(console.tail(200).splitlines()):
        _, found, reason = line.partition(_FIRST_LINE)
        if found and _LAST_LINE not in line:
            return reason
    return ""


def panic_line(console: Console) -> str:
    """A headline for the error."""
    reason = panic_reason(console)
    return f"kernel panic: {reason}" if reason else "kernel panic, which the console does not show"


def panic_in_trace(trace: Sequence[str]) -> int | None:
    """The number of the entry of a call trace that is the panic."""
    return next((n for n, entry in enumerate(trace) if re.match(_IN_TRACE, entry)), None)
