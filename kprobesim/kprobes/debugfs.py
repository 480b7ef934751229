"""The texts of debugfs: ``kprobes/list`` and ``kprobes/blacklist`` (kernel/kprobes.c, 6.1)."""

from __future__ import annotations

from kprobesim.image import KernelImage
from kprobesim.kprobes.kprobe import Kprobe, KprobeFlag
from kprobesim.kprobes.table import KprobeTable

__all__ = ["list_kprobes", "probes_as_html"]


def list_kprobes(table: KprobeTable, image: KernelImage) -> str:
    """One line a probe, in the kernel's order; ``""`` if there is none."""
    return "".join(_line(head, p, image) for head, p in table.in_kernel_order())


def _line(head: Kprobe, p: Kprobe, image: KernelImage) -> str:
    address = p.addr or 0
    found = image.symbols.at(address)
    tags = "".join(
        f"[{flag.name}]"
        for flag, shown in (
            (KprobeFlag.GONE, p.flags & KprobeFlag.GONE),
            (KprobeFlag.DISABLED, p.disabled and not p.flags & KprobeFlag.GONE),
            (KprobeFlag.OPTIMIZED, head.flags & KprobeFlag.OPTIMIZED),
            (KprobeFlag.FTRACE, head.flags & KprobeFlag.FTRACE),
        )
        if shown
    )
    if found is None:
        return f"{address:016x}  {p.list_type.value}  {address:#018x} {tags}\n"
    place = f"{found.symbol.name}+{address - found.symbol.address:#x}"
    module = found.symbol.module or " "
    return f"{address:016x}  {p.list_type.value}  {place}  {module} {tags}\n"


def probes_as_html(table: KprobeTable, title: str) -> str:
    """The registered probes as a table for a notebook."""
    from kprobesim import html

    rows = ((p.place, KprobeFlag(p.flags).name or "", p.nmissed) for p in table)
    return html.table(["place", "flags", "nmissed"], rows, caption=title, total=len(table))
