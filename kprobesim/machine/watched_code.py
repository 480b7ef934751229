"""Code that is looked through wherever it comes from, for instructions whose result is ours."""

from __future__ import annotations

from abc import ABC, abstractmethod

from kprobesim.machine.text import KernelText, TextPoke
from kprobesim.machine.unicorn.engine import Engine

__all__ = ["WatchedCode"]


class WatchedCode(ABC):
    """Hooks places in code: in the image, in a slot, in what the host writes; each once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._hooked: dict[int, int] = {}

    @abstractmethod
    def see_code(self, address: int, code: bytes | memoryview) -> None:
        """Hook what is of interest in ``code``, which was put at ``address``."""

    @abstractmethod
    def _install(self, place: int) -> int:
        """Hook one place; returns the handle to unhook it by."""

    def forget_code(self, start: int, end: int) -> None:
        """What was seen in [``start``, ``end``) has gone."""
        for place in [place for place in self._hooked if start <= place < end]:
            self._engine.hooks.unhook(self._hooked.pop(place))

    def _see_pokes(self, text: KernelText) -> None:
        """From now on also what is written."""

        def see(poke: TextPoke) -> None:
            self.see_code(poke.address, poke.new)

        text.listeners.append(see)

    def _hook(self, place: int) -> None:
        if place not in self._hooked:
            self._hooked[place] = self._install(place)
