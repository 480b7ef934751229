"""``memory=`` of a race: which stores other CPUs may see late, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kprobesim.arch.architecture import ARM64, halves
from kprobesim.arch.arm64.dataflow import Dataflow, dataflow
from kprobesim.arch.arm64.ordering import ordering as _arm64
from kprobesim.arch.ordering import Ordering
from kprobesim.arch.x86_64.ordering import ordering as _x86_64
from kprobesim.errors import UsageError

__all__ = ["DATAFLOW", "ORDERINGS", "MemoryOrder"]

DATAFLOW: Mapping[str, Callable[[int], Dataflow] | None] = halves(x86_64=None, arm64=dataflow)
"""What an instruction depends on, by its word, where loads may be done early; by architecture."""
ORDERINGS: Mapping[str, Callable[[bytes], Ordering]] = halves(x86_64=_x86_64, arm64=_arm64)
"""What an instruction does to the order of stores, by its bytes; by architecture."""
_MODELS = "tso", "weak"


@dataclass(frozen=True)
class MemoryOrder:
    """What was asked for.

    Attributes:
        model: "tso" (stores are seen late, in program order) or "weak" (in any order that barriers
            leave open).
        delay: The names of the functions whose stores may be seen late; ``None``: all.
    """

    model: str
    delay: tuple[str, ...] | None = None

    @property
    def fifo(self) -> bool:
        """Whether stores are seen in program order."""
        return self.model == "tso"

    @classmethod
    def of(cls, memory: object, delay: Sequence[str] | str | None, arch: str) -> MemoryOrder | None:
        """What the arguments of a race stand for; ``None``: all see all stores at once.

        Raises:
            UsageError: They make no sense for this architecture.
        """
        if memory is None:
            if delay is not None:
                raise UsageError("delay= says whose stores are late: give memory= with it")
            return None
        if memory not in _MODELS:
            raise UsageError(f"memory={memory!r}: give 'tso' or 'weak'")
        if memory == "weak" and arch != ARM64.name:
            raise UsageError(
                "memory='weak' is for ARM64: of smp_wmb() and smp_store_release() no instruction "
                "is left in a kernel for x86-64, so they would be missing everywhere; "
                "give memory='tso', which is what x86-64 does"
            )
        names = [delay] if isinstance(delay, str) else delay
        if names is not None and (
            not isinstance(names, (list, tuple)) or not all(isinstance(n, str) for n in names)
        ):
            raise UsageError(f"delay={delay!r}: give the names of functions")
        return cls(str(memory), None if names is None else tuple(names))
