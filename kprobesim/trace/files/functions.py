"""``available_filter_functions`` and its kin: where ftrace patches the kernel's code.

t_show() and print_rec() of kernel/trace/ftrace.c (6.12): in the order of their addresses, first the
kernel's, then those of its modules. Where another function took the place of a weak one, whose
symbol is gone, kernels that know how far from an entry a call may be tell the distance instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kprobesim.image import KernelImage
from kprobesim.trace.image_texts import has_text

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

    def places(self) -> Iterator[tuple[int, str]]:
        """Each address that ftrace patches, with how the kernel names it."""
        image = self._image
        symbols, init = image.symbols, image.init_text
        hides = init is not None and self._init_freed()
        furthest = _AT_ENTRY if has_text(image, _INVALID) else None
        own: list[tuple[int, str]] = []
        of_modules: list[tuple[int, str]] = []
        for site in sorted(image.ftrace_sites):
            if hides and init is not None and init[0] <= site < init[1]:
                continue
            found = symbols.at(site)
            if found is None:
                continue
            symbol, offset = found.symbol, site - found.symbol.address
            far = furthest is not None and offset > furthest
            name = f"{_INVALID}_{offset}" if far else symbol.name
            if symbol.module:
                of_modules.append((site, f"{name} [{symbol.module}]"))
            else:
                own.append((site, name))
        yield from own
        yield from of_modules

    def text(self) -> str:
        """The text of ``available_filter_functions``."""
        return "".join(f"{name}\n" for _, name in self.places())

    def text_with_addresses(self) -> str:
        """The text of ``available_filter_functions_addrs``: its address before each function."""
        return "".join(f"{site:x} {name}\n" for site, name in self.places())
