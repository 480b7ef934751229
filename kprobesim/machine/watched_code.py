"""Code that is looked through wherever it comes from, for instructions whose result is ours."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from kprobesim.arch.x86_64 import Undecodable, read_insn
from kprobesim.errors import GuestMemoryError
from kprobesim.machine.code_watch import INSTRUCTIONS
from kprobesim.machine.system import System
from kprobesim.machine.text import TextPoke

__all__ = ["DoneHere", "WatchedCode"]


class WatchedCode(ABC):
    """Hooks places in code: in the image, in a slot, in what the host writes; each once."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._hooked: dict[int, Callable[[], object]] = {}

        def see(poke: TextPoke) -> None:
            self.see_code(poke.address, poke.new)

        system.text.listeners.append(see)

    @abstractmethod
    def see_code(self, address: int, code: bytes | memoryview) -> None:
        """Hook what is of interest in ``code``, which was put at ``address``."""

    @abstractmethod
    def _install(self, place: int) -> Callable[[], object]:
        """Hook one place; returns what undoes it."""

    def forget_code(self, start: int, end: int) -> None:
        """What was seen in [``start``, ``end``) has gone."""
        for place in [place for place in self._hooked if start <= place < end]:
            self._hooked.pop(place)()

    def _hook(self, place: int) -> None:
        if place not in self._hooked:
            self._hooked[place] = self._install(place)


class DoneHere(WatchedCode):
    """Instructions of x86-64 that are done here instead of by Unicorn, if nobody else goes on.

    As a CPU it traps behind one that is single-stepped.
    """

    def _install(self, place: int) -> Callable[[], object]:
        watch = self._system.code_watch.watch(place, self._arrived, INSTRUCTIONS)
        return lambda: self._system.code_watch.unwatch(watch)

    @abstractmethod
    def _do(self, address: int, code: bytes) -> bool:
        """Do the instruction ``code`` at ``address``; false: it is another one."""

    def _arrived(self, address: int) -> bool:
        system = self._system
        try:
            insn = read_insn(system.memory.read, address)
            code = system.memory.read(address, insn.length)
        except (GuestMemoryError, Undecodable):
            return False
        if not self._do(address, code):
            return False
        vcpu = system.vcpu
        pc = vcpu.engine.layout.pc
        vcpu.words[pc] = address + len(code)
        if vcpu.cpu.single_steps():
            vcpu.traps.stepped()
        vcpu.engine.write_pc(vcpu.words[pc])
        return True
