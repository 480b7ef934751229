"""``available_filter_functions`` and its kin: where ftrace patches the kernel's code.

t_show() and print_rec() of kernel/trace/ftrace.c (6.12): in the order of their addresses, first the
kernel's, then those of its modules. Where another function took the place of a weak one, whose
symbol is gone, kernels that know how far from an entry a call may be tell the distance instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kprobesim.image import KernelImage
from kprobesim.trace.image_texts import has_text
from kprobesim.trace.tracers.function_filter import Traceable

__all__ = ["FilterFunctions"]

_INVALID = "__ftrace_invalid_address__"
_AT_ENTRY = 4  # bytes of ENDBR before the call: FTRACE_MCOUNT_MAX_OFFSET (arch/x86)


class FilterFunctions:
    """The functions of one kernel that ftrace can trace.

    Args:
        image: The kernel's.
        init_freed: Tells whether the memory of its ``__init`` functions was given back.
    """

    def __init__(self, image: KernelImage, init_freed: Callable[[], bool]) -> None:
        self._image = image
        self._init_freed = init_freed

    def functions(self) -> Iterator[Traceable]:
        """Each function, in the kernel's order."""
        image = self._image
        symbols, init = image.symbols, image.init_text
        hides = init is not None and self._init_freed()
        furthest = _AT_ENTRY if has_text(image, _INVALID) else None
        own: list[Traceable] = []
        of_modules: list[Traceable] = []
        for site in sorted(image.ftrace_sites):
            if hides and init is not None and init[0] <= site < init[1]:
                continue
            found = symbols.at(site)
            if found is None:
                continue
            symbol, offset = found.symbol, site - found.symbol.address
            far = furthest is not None and offset > furthest
            name = f"{_INVALID}_{offset}" if far else symbol.name
            (of_modules if symbol.module else own).append(Traceable(site, name, symbol.module))
        yield from own
        yield from of_modules

    def text(self) -> str:
        """The text of ``available_filter_functions``."""
        return "".join(f"{each}\n" for each in self.functions())

    def text_with_addresses(self) -> str:
        """The text of ``available_filter_functions_addrs``: its address before each function."""
        return "".join(f"{each.site:x} {each}\n" for each in self.functions())
