"""Which address a probe asks for: by symbol, as each interface of the kernel looks one up.

``_kprobe_addr()`` of kernel/kprobes.c, ``kallsyms_lookup_name()`` of kernel/kallsyms.c and the
count of equal names in kernel/trace/trace_kprobe.c (5.10 to 7.3).
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import cached_property

from kprobesim.arch.x86_64.constants import ENDBR_SIZE, ENDBRS
from kprobesim.errors import (
    GuestMemoryError,
    ImageError,
    KprobeError,
    Reason,
    SymbolError,
    UsageError,
)
from kprobesim.image import KernelImage, Symbol
from kprobesim.image.symbols.table import SymbolAt
from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.kprobes.model import Model
from kprobesim.kprobes.rules.place import parse_place
from kprobesim.sizes import MASK64

__all__ = ["Lookup", "check_types"]

_UNSIGNED_INT = (1 << 32) - 1  # of kprobe.offset
_PROMOTED = b".llvm."  # what clang's LTO puts behind the name of a static function


class Lookup:
    """Finds what probes ask for in ``image``, as a kernel of the ``model`` does.

    ``read`` gives the guest's code without probes. ``strict``: ``"symbol+0x10"`` is no symbol's
    name, and of several symbols of one name the first is meant, as in the kernel.
    """

    def __init__(
        self,
        image: KernelImage,
        read: Callable[[int, int], bytes],
        model: Model,
        *,
        strict: bool = False,
    ) -> None:
        self._image = image
        self._read = read
        self._model = model
        self._strict = strict

    def address(
        self,
        p: Kprobe,
        *,
        unresolved: str,
        events: bool = False,
        first: bool = False,
        suggest: bool = True,
    ) -> int:
        """Where ``p`` asks to be, by its symbol or address.

        Args:
            p: The probe.
            unresolved: The name of the errno for an unknown symbol.
            events: Look the symbol up as kprobe_events does, which wants names that are unique.
            first: Of several symbols of that name take the first, as register_kprobe() does.
            suggest: Look for names like an unknown one.

        Raises:
            KprobeError: There is no such place, or not one.
            UsageError: What ``p`` says of its place is of the wrong type.
        """
        if (p.symbol_name is None) == (not p.addr):  # 0 is NULL
            both = p.symbol_name is not None
            raise KprobeError(
                errno.EINVAL,
                Reason.NEITHER_OR_BOTH,
                "give either symbol_name or addr, not both (registration fills addr in: "
                "set it to None to register by symbol again)"
                if both
                else "give symbol_name or addr: the probe has neither",
                symbol=p.symbol_name,
                address=p.addr,
            )
        if p.symbol_name is None:
            base = p.addr or 0
        else:
            name, more = (p.symbol_name, 0) if self._strict else _split(p.symbol_name)
            found = self._symbol(
                name, unresolved, events=events, first=first or self._strict, suggest=suggest
            )
            base = found.address + more
        return (base + (p.offset & _UNSIGNED_INT)) & MASK64

    def same_named(self, p: Kprobe) -> int:
        """How many symbols have the name that ``p`` gives; 0 if it gives none."""
        if p.symbol_name is None:
            return 0
        return len(self.candidates(p.symbol_name.partition("+")[0]))

    def candidates(self, name: str) -> list[Symbol]:
        """The symbols that ``name`` may mean, in the order in which the kernel looks."""
        found = self._image.symbols.candidates(name)
        promoted = self._promoted.get(name) if self._promoted else None
        if promoted is None:
            return found
        symbols = [*found, *(s for full in promoted for s in self._image.symbols.candidates(full))]
        return sorted(symbols, key=lambda symbol: symbol.address)

    @cached_property
    def _promoted(self) -> dict[str, list[str]]:
        """The full names behind each name that ``cleanup_symbol_name()`` gives.

        Only a kernel of clang's LTO has that function do anything: one that has promoted names.
        """
        promoted: dict[str, list[str]] = {}
        symbols = self._image.symbols
        if self._model.lto_suffix and symbols.any_named(_PROMOTED):
            mark = self._model.lto_suffix.encode()
            for name in set(symbols.columns.names):
                clean, suffix, _ = name.partition(mark)
                if suffix and clean:
                    text = name.decode("utf-8", "surrogateescape")
                    promoted.setdefault(clean.decode("utf-8", "surrogateescape"), []).append(text)
        return promoted

    def _symbol(
        self, name: str, unresolved: str, *, events: bool, first: bool, suggest: bool
    ) -> Symbol:
        image, model = self._image, self._model
        module, colon, _ = name.partition(":")
        if colon and not image.has_module(module):
            raise KprobeError(
                getattr(errno, unresolved),
                Reason.MODULE_NOT_LOADED,
                f"the module {module} is not loaded, so nothing is known of {name}",
                symbol=name,
            )
        found = self.candidates(name)
        if not found:
            number = model.events_unknown_errno if events and not colon else unresolved
            raise KprobeError(
                getattr(errno, number),
                Reason.UNKNOWN_SYMBOL,
                self._unknown(name, suggest),
                symbol=name,
            )
        if len(found) == 1:
            return found[0]
        if events:
            unique = model.refuse_module_twins if colon else True
            wanted = model.events_ambiguous_errno if unique else None
        else:
            wanted = None if first else "EADDRNOTAVAIL"
        if wanted is None:
            return found[0]
        raise KprobeError(
            getattr(errno, wanted),
            Reason.AMBIGUOUS_SYMBOL,
            self._ambiguous(name, found),
            symbol=name,
        )

    def _unknown(self, name: str, suggest: bool) -> str:
        if not suggest:
            return f"no symbol {name!r} in this kernel"
        try:
            self._image.symbols[name]
        except SymbolError as error:
            return str(error)
        raise AssertionError(f"{name} is known after all")  # pragma: no cover

    def _ambiguous(self, name: str, found: list[Symbol]) -> str:
        try:
            self._image.symbols.get(name)
        except SymbolError as error:
            return str(error)
        texts = ", ".join(f"{symbol.name}@{symbol.address:#x}" for symbol in found[:8])
        return f"{len(found)} symbols are named {name}; say which: {texts}"

    def enclosing(self, p: Kprobe, address: int, *, outside: int) -> SymbolAt:
        """The symbol that ``address``, which ``p`` asked for, lies in.

        Args:
            p: The probe.
            address: Where it asks to be.
            outside: The errno where that is in no symbol.

        Raises:
            KprobeError: It lies in none that the kernel knows.
        """
        image = self._image
        found = image.symbols.at(address)
        if found is None or not _is_ksym(image, found, address):
            raise KprobeError(
                outside,
                Reason.NO_SYMBOL_AT_ADDRESS,
                f"{address:#x} belongs to no symbol of the kernel; see `kprobesim info`"
                if found is None or image.kallsyms_all
                else f"{found} is data, and this kernel knows symbols of code only "
                "(KALLSYMS_ALL=n)",
                symbol=p.symbol_name,
                address=address,
            )
        return found

    def entry_behind_endbr(self, start: int, offset: int) -> int | None:
        """Where a probe at a function's entry goes if that begins with an ENDBR.

        ``None``: it does not, or ``offset`` is no entry (``arch_adjust_kprobe_addr()``, 5.18).
        """
        skips = self._model.of(self._image.arch).skip_endbr
        if skips and offset in (0, ENDBR_SIZE) and self._is_endbr(start):
            return start + ENDBR_SIZE
        return None

    def _is_endbr(self, address: int) -> bool:
        try:
            return self._read(address, ENDBR_SIZE) in ENDBRS
        except (GuestMemoryError, ImageError):
            return False


def _split(text: str) -> tuple[str, int]:
    """``"symbol+0x10"`` as (symbol, offset)."""
    if not text.partition("+")[1] or text.startswith("+"):
        return text, 0
    try:
        place = parse_place(text)
    except UsageError:
        place = None
    if place is None or place.symbol is None or place.offset > _UNSIGNED_INT:
        raise KprobeError(
            errno.EINVAL,
            Reason.UNKNOWN_SYMBOL,
            f"{text!r} is no symbol with an offset: write symbol+0x10 or symbol+16",
            symbol=text,
        )
    return place.symbol, place.offset


def _is_ksym(image: KernelImage, found: SymbolAt, address: int) -> bool:
    """``is_ksym_addr()``: kallsyms ends at ``_end``; what a file has beyond is of no symbol.

    Nor is data, to a kernel without CONFIG_KALLSYMS_ALL.
    """
    if found.symbol.module or image.is_kernel_text(address):
        return True
    if not image.kallsyms_all:
        return image.is_code(address)
    kernel, init = image.bounds("_stext", "_end"), image.init
    return not kernel or any(area and area[0] <= address < area[1] for area in (kernel, init))


def _fits(value: object, bits: int) -> bool:
    """Whether it is a number that C would keep, signed or not."""
    return isinstance(value, int) and -(1 << bits - 1) <= value < 1 << bits


def check_types(p: Kprobe) -> None:
    """What C's compiler checks in the kernel.

    Raises:
        UsageError: An attribute of ``p`` is of the wrong type.
    """
    if not isinstance(p.symbol_name, (str, type(None))):
        raise UsageError(f"symbol_name {p.symbol_name!r} is no str: name a symbol")
    if not _fits(p.addr, 64) and p.addr is not None:
        raise UsageError(f"addr {p.addr!r} is no integer of 64 bits")
    if not _fits(p.offset, 32):
        raise UsageError(f"offset {p.offset!r} is no integer of 32 bits")
    if not isinstance(p.flags, int):
        raise UsageError(f"flags {p.flags!r} is no KprobeFlag")
    for name in ("pre_handler", "post_handler", "fault_handler"):
        handler = getattr(p, name)
        if handler is not None and not callable(handler):
            raise UsageError(f"{name} {handler!r} cannot be called: give a function")
