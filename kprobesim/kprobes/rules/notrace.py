"""Which functions kprobe_events takes: those that ftrace can trace.

within_notrace_func() of kernel/trace/trace_kprobe.c (6.1), CONFIG_KPROBE_EVENTS_ON_NOTRACE=n.
"""

from __future__ import annotations

from bisect import bisect_left

from kprobesim.image import KernelImage

__all__ = ["Traceable"]


class Traceable:
    """Answers for the functions of ``image``, by their ftrace sites."""

    def __init__(self, image: KernelImage) -> None:
        self._image = image
        self._of: frozenset[int] = frozenset()
        self._sorted: list[int] = []

    @property
    def _sites(self) -> list[int]:
        sites = self._image.ftrace_sites
        if sites is not self._of:  # modules have come or gone
            self._of, self._sorted = sites, sorted(sites)
        return self._sorted

    def __contains__(self, address: object) -> bool:
        """Whether the function around ``address`` is traced; ``foo.cold`` is if ``foo`` is."""
        if not isinstance(address, int) or not self._sites:
            return True  # a kernel without ftrace asks nobody
        if self._has_site(address):
            return True
        found = self._image.symbols.at(address)
        base, dot, _ = (found.symbol.name if found else "").partition(".")
        if not dot:
            return False
        first = self._image.symbols.candidates(base)[:1]  # kprobe_lookup_name()
        return any(self._has_site(symbol.address) for symbol in first)

    def _has_site(self, address: int) -> bool:
        found = self._image.symbols.at(address)
        if found is None:
            return False
        start, sites = found.symbol.address, self._sites
        at = bisect_left(sites, start)
        return at < len(sites) and sites[at] < start + found.size
