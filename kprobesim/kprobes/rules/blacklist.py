"""What must not be probed because the handling of a probe may itself run it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import accumulate

from kprobesim.arch.architecture import halves
from kprobesim.image import KernelImage
from kprobesim.image.modules.module_image import ModuleImage
from kprobesim.kprobes.model import DEFAULT_MODEL, Model
from kprobesim.late_dataclasses import dataclass

__all__ = ["KRETPROBE_BLACKLIST", "Blacklist"]

_BOUNDS = {
    # section: start symbol, stop symbol
    ".kprobes.text": ("__kprobes_text_start", "__kprobes_text_end"),
    ".noinstr.text": ("__noinstr_text_start", "__noinstr_text_end"),
    ".entry.text": ("__entry_text_start", "__entry_text_end"),
    ".irqentry.text": ("__irqentry_text_start", "__irqentry_text_end"),
    ".idmap.text": ("__idmap_text_start", "__idmap_text_end"),
    ".hyp.text": ("__hyp_text_start", "__hyp_text_end"),
    ".hyp.idmap.text": ("__hyp_idmap_text_start", "__hyp_idmap_text_end"),
}
KRETPROBE_BLACKLIST: Mapping[str, tuple[str, ...]] = halves(x86_64=("__switch_to",), arm64=())
"""``kretprobe_blacklist`` of each architecture: what returns in another task than it was called."""
_MARKED = "it is marked NOKPROBE_SYMBOL"
_OF_MODULES = (".kprobes.text", ".noinstr.text")


@dataclass(frozen=True)
class _Entry:
    """``struct kprobe_blacklist_entry``: a function, and why it is listed."""

    start: int
    end: int
    name: str
    why: str


class Blacklist:
    """``kprobe_blacklist``: areas and functions (NOKPROBE_SYMBOL) that refuse probes.

    Which areas are those of the ``model``.
    """

    def __init__(self, image: KernelImage, model: Model = DEFAULT_MODEL) -> None:
        self._image = image
        self._areas = model.blacklist + model.of(image.arch).blacklist
        self._suffix_rule = model.suffix_rule
        self._modules: list[ModuleImage] = []

    def add_module(self, module: ModuleImage) -> None:
        """A module has come (``add_module_kprobe_blacklist()``)."""
        self._modules.append(module)
        self._forget()

    def remove_module(self, module: ModuleImage) -> None:
        """It goes."""
        self._modules = [other for other in self._modules if other.name != module.name]
        self._forget()

    def _forget(self) -> None:
        for name in ("_module_entries", "_ranges", "_starts", "_reach"):
            self.__dict__.pop(name, None)

    @property
    def _entries(self) -> list[_Entry]:
        return [*self._kernel_entries, *self._module_entries]

    @cached_property
    def _module_entries(self) -> list[_Entry]:
        entries = []
        for module in self._modules:
            marked = (self._entry(address, _MARKED) for address in module.kprobe_blacklist)
            entries += [entry for entry in marked if entry is not None]
            for name in _OF_MODULES:
                bounds = module.section_range(name)
                if bounds is not None:
                    entries += self._area(*bounds, f"it lies in {name}")
        return entries

    @cached_property
    def _kernel_entries(self) -> list[_Entry]:
        """In the kernel's order (``populate_kprobe_blacklist()``)."""
        entries = []
        for address in self._image.kprobe_blacklist:
            entry = self._entry(address, _MARKED)
            if entry is not None:
                entries.append(entry)
        for name in self._areas:
            bounds = self._image.bounds(*_BOUNDS[name])
            if bounds is not None:
                entries += self._area(*bounds, f"it lies in {name}")
        return entries

    def _area(self, start: int, end: int, why: str) -> Iterator[_Entry]:
        """``kprobe_add_area_blacklist()``: one entry a symbol, up to what is none."""
        while start < end:
            entry = self._entry(start, why)
            if entry is None:
                return
            yield entry
            start = max(entry.end, start + 1)

    def _entry(self, address: int, why: str) -> _Entry | None:
        """``kprobe_add_ksym_blacklist()``: as long as the symbol, from ``address`` on."""
        image = self._image
        found, init = image.symbols.at(address), image.init_text
        is_text = image.is_kernel_text(address) or (init and init[0] <= address < init[1])
        if found is None or not is_text:
            return None
        return _Entry(address, address + found.size, found.symbol.name, why)

    @cached_property
    def _ranges(self) -> list[tuple[int, int, str]]:
        ranges = [(entry.start, entry.end, entry.why) for entry in self._entries]
        name = ".kprobes.text"  # arch_within_kprobe_blacklist()
        bounds = self._image.bounds(*_BOUNDS[name])
        if bounds is not None:
            ranges.append((*bounds, f"it lies in {name}"))
        return sorted(ranges)

    @cached_property
    def _starts(self) -> list[int]:
        return [start for start, _, _ in self._ranges]

    @cached_property
    def _reach(self) -> list[int]:
        """How far each range and those before it reach."""
        return list(accumulate((end for _, end, _ in self._ranges), max))

    def text(self) -> str:
        """The text of debugfs' ``kprobes/blacklist``."""
        return "".join(
            f"{entry.start:#018x}-{entry.end:#018x}\t{entry.name}\n" for entry in self._entries
        )

    def rule(self, address: int, symbol: str) -> str | None:
        """Why ``address``, in ``symbol``, must not be probed; ``None`` if it may.

        ``foo.isra.0`` and ``foo.cold`` share the fate of ``foo``.
        """
        found = self._covering(address)
        base, dot, _ = symbol.partition(".")
        if found is None and dot and base and self._suffix_rule:
            for first in self._image.symbols.candidates(base)[:1]:  # kprobe_lookup_name()
                found = self._covering(first.address)
        return found

    def _covering(self, address: int) -> str | None:
        at = bisect_right(self._starts, address) - 1
        while at >= 0 and address < self._reach[at]:
            start, end, why = self._ranges[at]
            if start <= address < end:
                return why
            at -= 1
        return None
