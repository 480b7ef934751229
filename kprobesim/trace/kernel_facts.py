"""``ImageFacts``: what the grammar of definitions asks, answered by a kernel's image and rules."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Mapping
from functools import cached_property

from kprobesim.dynevent.dialect import Dialect, dialect_of, newest_dialect, texts_of
from kprobesim.dynevent.hashed_pointer import hashed_pointer
from kprobesim.errors import KprobeError
from kprobesim.image import KernelImage
from kprobesim.inside.code_addresses import handed_on
from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.kprobes.rules.own_code import constants_of
from kprobesim.kprobes.rules.rules import Rules
from kprobesim.trace.image_texts import has_text
from kprobesim.types.btf import Btf
from kprobesim.types.composites import Union

__all__ = ["ImageFacts", "event_texts"]

_CREATE = ("trace_kprobe_create", "create_trace_kprobe")
_STACK_BYTES = 16 << 10  # THREAD_SIZE where no type tells: 4 pages of 4 KiB


def event_texts(image: KernelImage) -> dict[str, str]:
    """What a kernel says to each error in definitions, by the error's name."""
    return texts_of(lambda text: has_text(image, text))


class ImageFacts:
    """The facts of the kernel with ``rules``.

    Args:
        rules: Its rules for probes, with the modules that are loaded.
        image: The kernel alone.
        read: Reads its memory; ``None``: it does not run.
        newest_grammar: Its grammar is that of the newest kernels.
        texts: What it says to errors; ``None``: its image is searched for that.
    """

    def __init__(
        self,
        rules: Rules,
        image: KernelImage,
        read: Callable[[int, int], bytes] | None = None,
        *,
        newest_grammar: bool = False,
        texts: Mapping[str, str] | None = None,
    ) -> None:
        self._texts = texts
        self._newest_grammar = newest_grammar
        self._rules = rules
        self._image = image
        self._read = read

    @cached_property
    def dialect(self) -> Dialect:
        """Its grammar."""
        image = self._image

        def has_function(name: str) -> bool:
            return bool(image.symbols.candidates(name))

        # a kernel without kprobe_events gets new ones
        if self._newest_grammar or not any(map(has_function, _CREATE)):
            return newest_dialect(btf=image.btf is not None)
        texts = event_texts(image) if self._texts is None else self._texts
        return dialect_of(
            image.version, texts, has_function, lambda name: constants_of(image, name)
        )

    @cached_property
    def newest(self) -> ImageFacts:
        """The same kernel with the newest grammar."""
        return ImageFacts(self._rules, self._image, self._read, newest_grammar=True)

    @cached_property
    def registers(self) -> Mapping[str, str]:
        """What ``regs_query_register_offset()`` knows: ARM64's ``lr``, too."""
        abi = self._image.isa.abi
        known = {name: name for name in abi.pt_regs}
        return known | ({} if abi.link_register is None else {"lr": abi.link_register})

    @cached_property
    def stack_words(self) -> int:
        """``THREAD_SIZE`` in words: what the stack in ``union thread_union`` has."""
        found = self._image.btf.named("thread_union", Union) if self._image.btf else []
        return ((found[0].size if found else None) or _STACK_BYTES) // 8

    @cached_property
    def types(self) -> tuple[Btf, ...]:
        """The kernel's types."""
        return () if self._image.btf is None else (self._image.btf,)

    def module_is_loaded(self, name: str) -> bool:
        """Whether a module of that name is loaded."""
        return self._rules.image.has_module(name)

    def lookup(self, symbol: str) -> int | None:
        """``kallsyms_lookup_name()``: the first symbol of that name."""
        found = self._rules.candidates(symbol)
        return found[0].address if found else None

    def symbol_errno(self, symbol: str) -> int:
        """What it says to a symbol that is not there, or more than once."""
        model = self._rules.model
        module, colon, _ = symbol.partition(":")
        if colon and not (model.refuse_module_twins and self.module_is_loaded(module)):
            return 0
        if model.events_ambiguous_errno is None:
            return 0  # such a kernel does not look
        count = len(self._rules.candidates(symbol))
        return 0 if count == 1 else errno.EADDRNOTAVAIL if count else errno.ENOENT

    def entry_errno(self, symbol: str, offset: int) -> int:
        """``kprobe_on_func_entry()``."""
        probe = Kprobe(symbol, offset=offset)
        try:
            site = self._rules.site(probe, first=True, suggest=False)
        except KprobeError:
            return errno.ENOENT
        return 0 if site.on_func_entry else errno.EINVAL

    @cached_property
    def _pointer_key(self) -> int | None:
        """Where ``ptr_key`` is: ptr_to_hashval() names it, where kallsyms has no data."""
        symbols = self._image.symbols.candidates("ptr_key")
        found = [symbols[0].address] if symbols else handed_on(self._image, "ptr_to_hashval")
        return found[0] if found else None

    def pointer_text(self, address: int) -> str:
        """What its ``%p`` prints."""
        low = high = 0
        if self._read is not None and self._pointer_key is not None:
            low, high = struct.unpack("<2Q", self._read(self._pointer_key, 16))
        return hashed_pointer(address, (low, high))
