"""Which probes of an x86-64 kernel would be optimised: their breakpoint becomes a jump."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from kprobesim.arch.x86_64.constants import JMP32_SIZE
from kprobesim.arch.x86_64.optimize import Branches, branches, copied_size
from kprobesim.errors import GuestMemoryError
from kprobesim.image import KernelImage

__all__ = ["Optimizable"]

_FTRACE_SIZE = 5
_THUNKS = ("__indirect_thunk_start", "__indirect_thunk_end")
_CACHED_FUNCTIONS = 1024


class Optimizable:
    """Answers for the kernel in ``image``, whose code without probes ``read`` gives.

    ``group_boost``: see :func:`~kprobesim.arch.x86_64.boost.can_boost`.
    """

    def __init__(
        self, image: KernelImage, read: Callable[[int, int], bytes], *, group_boost: bool
    ) -> None:
        self._image = image
        self._read = read
        self._group_boost = group_boost
        self._functions: dict[tuple[int, bytes, tuple[int, int] | None], Branches] = {}

    @cached_property
    def available(self) -> bool:
        """Whether the kernel was built with CONFIG_OPTPROBES; one without kprobes does not tell."""
        symbols = self._image.symbols
        with_kprobes = "register_kprobe" in symbols
        built = "arch_prepare_optimized_kprobe" in symbols or not with_kprobes
        return self._image.isa.optprobes and built

    def size(self, address: int) -> int:
        """Bytes that the detour buffer of a probe there copies; 0: it stays a breakpoint.

        That is ``arch_prepare_optimized_kprobe()``: for a probe that goes through a breakpoint, has
        no post_handler and no other probe in its way.
        """
        if not self.available:
            return 0
        size = copied_size(
            self._read,
            address,
            has_exception_entry=self._has_exception_entry,
            reserved=self._reserved,
            group_boost=self._group_boost,
        )
        try:
            function = self._function(address) if size else None  # the whole of it takes longer
        except GuestMemoryError:
            return 0
        return size if function is not None and function.allow_jump(address) else 0

    def is_entered(self, address: int) -> bool:
        """Whether the cold part of the function jumps into the four bytes behind ``address``.

        The compiler has moved that part away and made a symbol of it. The kernel does not look
        there: with a jump on those bytes it would execute the middle of an instruction.
        """
        found = self._image.symbols.at(address)
        if found is None:
            return False
        for cold in self._image.symbols.candidates(f"{found.symbol.name}.cold"):
            part = self._image.symbols.at(cold.address)
            if part is not None:
                function = self._branches(cold.address, part.size, None)
                if function.lead_into(address + 1, address + JMP32_SIZE - 1):
                    return True
        return False

    def _function(self, address: int) -> Branches | None:
        """What the branches around it forbid; ``None``: something may fault, which forbids all."""
        found = self._image.symbols.at(address)
        if found is None:
            return None
        start, size = found.symbol.address, found.size
        if self._image.exception_table.any_in(start, start + size):
            return None
        return self._branches(start, size, self._thunks)

    def _branches(self, start: int, size: int, thunks: tuple[int, int] | None) -> Branches:
        """Those of one function, which is asked about once for each probe in it."""
        key = start, self._read(start, size), thunks
        known = self._functions.get(key)
        if known is None:
            if len(self._functions) >= _CACHED_FUNCTIONS:
                self._functions.clear()
            known = self._functions[key] = branches(key[1], start, thunks)
        return known

    @cached_property
    def _thunks(self) -> tuple[int, int] | None:
        return self._image.bounds(*_THUNKS)

    def _has_exception_entry(self, address: int) -> bool:
        return self._image.exception_table.search(address) is not None

    def _reserved(self, start: int, end: int) -> bool:
        """Text that ftrace, jump labels and static calls patch.

        LOCK prefixes, too, where they may have to come back: on one CPU of several possible ones
        (alternatives_text_reserved()); nobody has that.
        """
        image = self._image
        if image.jump_labels.any_in(start, end) or image.static_calls.any_in(start, end):
            return True
        return not image.ftrace_sites.isdisjoint(range(start - _FTRACE_SIZE + 1, end))
