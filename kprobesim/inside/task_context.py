"""Where a kernel keeps in which context it runs: its counts and flags, by symbols and BTF."""

from __future__ import annotations

from dataclasses import dataclass

from kprobesim.hexrepr import HexRepr
from kprobesim.image import KernelImage
from kprobesim.typed.variables import find_variable
from kprobesim.types.btf import Btf

__all__ = ["ContextPlaces", "InterruptBits", "context_places", "interrupt_bits"]

_OTHER_BITS = 7, 3


@dataclass(frozen=True, repr=False)
class InterruptBits(HexRepr):
    """Where ``preempt_count`` counts interrupts (include/linux/preempt.h): the lowest bits.

    Attributes:
        softirq: Of soft interrupts that are served; those that are only disabled count above.
        hardirq: Of hard interrupts, four bits.
        nmi: Of NMIs, four bits.
    """

    softirq: int
    hardirq: int
    nmi: int

    def name(self, count: int) -> str:
        """What is served, for people, the innermost; "": none."""
        if count // self.nmi & 15:
            return "an NMI"
        if count // self.hardirq & 15:
            return "an interrupt"
        return "a softirq" if count & self.softirq else ""


def interrupt_bits(version: tuple[int, ...]) -> InterruptBits:
    """Those of a kernel of some version."""
    if version < _OTHER_BITS:
        return InterruptBits(1 << 8, 1 << 16, 1 << 20)
    return InterruptBits(1 << 8, 1 << 24, 1 << 28)


@dataclass(frozen=True, repr=False)
class ContextPlaces(HexRepr):
    """Where to look; ``None``: this kernel has none, or does not say.

    Attributes:
        preempt_variable: ``preempt_count`` as a per-CPU variable, without its base (x86-64).
        preempt_bytes: How many bytes that has: 8 since 7.3, else 4. Its highest bit is clear if the
            task is to be rescheduled.
        preempt_member: The same as a member of ``task_struct`` (ARM64).
        flags_member: ``thread_info.flags`` in ``task_struct``.
        migration_member: ``migration_disabled`` in it.
        softirq_member: ``softirq_disable_cnt`` in it, which CONFIG_PREEMPT_RT counts apart.
    """

    preempt_variable: int | None
    preempt_bytes: int
    preempt_member: int | None
    flags_member: int | None
    migration_member: int | None
    softirq_member: int | None


def _size(btf: Btf | None) -> int:
    known = None if btf is None else find_variable("__preempt_count", [btf])
    return 4 if known is None else known.type.size or 4


def context_places(image: KernelImage) -> ContextPlaces:
    """Those of ``image``: ``__preempt_count``, in 6.2-6.14 a member of ``pcpu_hot``."""
    btf = image.btf

    def member(struct: str, path: str) -> int | None:
        return None if btf is None else btf.offset(struct, path)

    named = image.symbols.candidates("__preempt_count")
    found = [symbol.address for symbol in named]
    hot, offset = image.symbols.candidates("pcpu_hot"), member("pcpu_hot", "preempt_count")
    if not found and hot and offset is not None:
        found = [hot[0].address + offset]
    return ContextPlaces(
        found[0] if found else None,
        _size(btf) if named else 4,
        member("task_struct", "thread_info.preempt_count"),
        member("task_struct", "thread_info.flags"),
        member("task_struct", "migration_disabled"),
        member("task_struct", "softirq_disable_cnt"),
    )
