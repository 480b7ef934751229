"""What must not be probed because the handling of a probe may itself run it."""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property

from kprobesim.image import KernelImage

__all__ = ["Blacklist"]

_SECTIONS = (
    # start symbol, stop symbol, name
    ("__kprobes_text_start", "__kprobes_text_end", ".kprobes.text"),
    ("__noinstr_text_start", "__noinstr_text_end", ".noinstr.text"),
)
_ARCH_SECTIONS = {
    # arch_populate_kprobe_blacklist() of each architecture
    "x86_64": (("__entry_text_start", "__entry_text_end", ".entry.text"),),
    "arm64": (
        ("__entry_text_start", "__entry_text_end", ".entry.text"),
        ("__irqentry_text_start", "__irqentry_text_end", ".irqentry.text"),
        ("__hyp_text_start", "__hyp_text_end", ".hyp.text"),
        ("__hyp_idmap_text_start", "__hyp_idmap_text_end", ".hyp.idmap.text"),
    ),
}


class Blacklist:
    """``kprobe_blacklist``: sections and functions (NOKPROBE_SYMBOL) that refuse probes."""

    def __init__(self, image: KernelImage) -> None:
        self._image = image

    @cached_property
    def _ranges(self) -> list[tuple[int, int, str]]:
        image = self._image
        ranges = []
        for start, stop, name in _SECTIONS + _ARCH_SECTIONS[image.arch]:
            bounds = image.bounds(start, stop)
            if bounds is not None and bounds[0] < bounds[1]:
                ranges.append((*bounds, f"it lies in {name}"))
        for address in image.kprobe_blacklist:
            found = image.symbols.at(address)
            if found is not None and found.symbol.size:
                begin = found.symbol.address
                ranges.append((begin, begin + found.symbol.size, "it is marked NOKPROBE_SYMBOL"))
        return sorted(ranges)

    @cached_property
    def _starts(self) -> list[int]:
        return [start for start, _, _ in self._ranges]

    def rule(self, address: int, symbol: str) -> str | None:
        """Why ``address``, in ``symbol``, must not be probed; ``None`` if it may.

        ``foo.isra.0`` and ``foo.cold`` share the fate of ``foo``.
        """
        found = self._covering(address)
        base, dot, _ = symbol.partition(".")
        if found is None and dot and base:
            for candidate in self._image.symbols.candidates(base):
                found = found or self._covering(candidate.address)
        return found

    def _covering(self, address: int) -> str | None:
        at = bisect_right(self._starts, address)
        for start, end, why in reversed(self._ranges[:at]):
            if start <= address < end:
                return why
            if address - start > 1 << 20:
                break
        return None
