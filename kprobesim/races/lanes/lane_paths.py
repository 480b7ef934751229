"""``LanePaths``: the addresses of all instructions that each CPU executes in a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kprobesim.arch.architecture import architecture
from kprobesim.machine.unicorn.every_instruction import EveryInstruction

if TYPE_CHECKING:
    from kprobesim.machine.system import System

__all__ = ["LanePaths"]

_MOST = 1 << 20  # instructions; later ones are not noted


class LanePaths:
    """Those of one run, as a context manager around it."""

    def __init__(self, machine: System) -> None:
        """Have noted nothing yet."""
        abi = architecture(machine.arch).abi
        sp = abi.number(abi.stack_pointer)
        self._noted = EveryInstruction(machine.engine, 1, _MOST, sp)
        self._noted.enough = lambda: setattr(self._noted, "on", False)
        self._marks: list[tuple[int, int, int]] = []

    def __enter__(self) -> LanePaths:
        self._noted.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._noted.__exit__()

    def mark(self, cpu: int, executed: int) -> None:
        """CPU ``cpu``, which has executed so many instructions of its lane, goes on."""
        self._marks.append((len(self._noted), cpu, executed))

    def of(self, cpu: int) -> list[int]:
        """The addresses of what ``cpu`` has executed, in order."""
        found: list[int] = []
        ends = [first for first, _, _ in self._marks[1:]] + [len(self._noted)]
        for (first, number, executed), end in zip(self._marks, ends, strict=True):
            if number == cpu:
                del found[executed:]  # where a call has returned to, which is none of the lane's
                found += self._noted.addresses_of(first, end)
        return found
