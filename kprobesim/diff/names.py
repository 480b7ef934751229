"""The functions of one kernel by their names in the source, as probes ask for them."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from functools import cached_property

from kprobesim.functions.clones import ENTRY_PADDING, IN_STEAD, split_clone
from kprobesim.functions.code import Code
from kprobesim.survey.known import KnownKernel

__all__ = ["FunctionNames"]

_CODE_LETTERS = b"tTwWi"
#: What is made for every tracepoint, and is told by it; and the linker's marks, that name no code.
_MADE = re.compile(
    rb"__SCT__|__SCK__|__traceiter_|__probestub_|__bpf_trace_|trace_event_raw_event_"
    rb"|do_trace_event_raw_event_|do_perf_trace_|trace_raw_output_|perf_trace_|trace_event_get_offsets_|__event_|__tracepoint_"
    rb"|\w*_text_(?:start|end)$|_s?e?text$|"
    + b"|".join(prefix.encode() for prefix in ENTRY_PADDING)
)


class FunctionNames:
    """The functions of a kernel that are there after boot: those of init are gone by then.

    What the kernel's macros make for each tracepoint is left out: it is told by the tracepoints.
    """

    def __init__(self, kernel: KnownKernel) -> None:
        self.kernel = kernel

    @cached_property
    def addresses(self) -> Mapping[str, tuple[int, ...]]:
        """Where the functions of each plain name begin; several have a name that is not unique."""
        found: dict[str, tuple[int, ...]] = {}
        for name, places in self._all.items():
            if "." not in name:
                found[name] = places
        return found

    @cached_property
    def clones(self) -> Mapping[str, tuple[str, ...]]:
        """What the compiler derived from each function, and calls instead of it."""
        found: dict[str, tuple[str, ...]] = {}
        for name in self._all:
            if "." in name:
                base, kinds = split_clone(name)
                if any(kind in IN_STEAD for kind in kinds) and "cold" not in kinds:
                    found[base] = (*found.get(base, ()), name)
        return found

    @cached_property
    def _all(self) -> Mapping[str, tuple[int, ...]]:
        names, addresses, _, kinds, _ = self.kernel.symbols.columns
        is_there = self.kernel.image.is_kernel_text
        found: dict[str, tuple[int, ...]] = {}
        for name, address, kind in zip(names, addresses, kinds, strict=True):
            if kind in _CODE_LETTERS and not _MADE.match(name) and is_there(address):
                text = name.decode("utf-8", "surrogateescape")
                found[text] = (*found[text], address) if text in found else (address,)
        return found

    @cached_property
    def code(self) -> Code:
        """The code as it runs once booted."""
        return Code(self.kernel.image, self.kernel.rules.read)

    @cached_property
    def traced(self) -> frozenset[str]:
        """The names of which at least one function can be traced."""
        starts = sorted({place for places in self._all.values() for place in places})
        found = set()
        for site in self.kernel.image.ftrace_sites:  # behind the entry's landing pad, or at it
            at = bisect_right(starts, site) - 1
            if at >= 0:
                found.add(starts[at])
        return frozenset(
            name for name, places in self._all.items() if any(place in found for place in places)
        )

    @cached_property
    def injected(self) -> frozenset[str]:
        """The names of functions whose return value may be overridden."""
        found = self.kernel.error_injection
        return frozenset(
            name for name, places in self.addresses.items() if any(at in found for at in places)
        )
