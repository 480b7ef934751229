"""Where a kernel keeps in which context it runs: its counts and flags, by symbols and BTF."""

from __future__ import annotations

from dataclasses import dataclass

from kprobesim.hexrepr import HexRepr
from kprobesim.image import KernelImage

__all__ = ["ContextPlaces", "context_places"]


@dataclass(frozen=True, repr=False)
class ContextPlaces(HexRepr):
    """Where to look; ``None``: this kernel has none, or does not say.

    Attributes:
        preempt_variable: ``preempt_count`` as a per-CPU variable, without its base (x86-64).
        preempt_member: The same as a member of ``task_struct`` (ARM64).
        flags_member: ``thread_info.flags`` in ``task_struct``.
        migration_member: ``migration_disabled`` in it.
    """

    preempt_variable: int | None
    preempt_member: int | None
    flags_member: int | None
    migration_member: int | None


def context_places(image: KernelImage) -> ContextPlaces:
    """Those of ``image``: ``__preempt_count``, in 6.2-6.14 a member of ``pcpu_hot``."""
    btf = image.btf

    def member(struct: str, path: str) -> int | None:
        return None if btf is None else btf.offset(struct, path)

    found = [symbol.address for symbol in image.symbols.candidates("__preempt_count")]
    hot, offset = image.symbols.candidates("pcpu_hot"), member("pcpu_hot", "preempt_count")
    if not found and hot and offset is not None:
        found = [hot[0].address + offset]
    return ContextPlaces(
        found[0] if found else None,
        member("task_struct", "thread_info.preempt_count"),
        member("task_struct", "thread_info.flags"),
        member("task_struct", "migration_disabled"),
    )
