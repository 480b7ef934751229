"""Where a probe goes, and whether it may go there: the checks before an instruction is looked at.

Order and errnos follow kernel/kprobes.c of 6.1 (kprobe_addr, check_kprobe_address_safe).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kprobesim.arch.x86_64.constants import ENDBR_SIZE, ENDBRS
from kprobesim.errors import (
    GuestMemoryError,
    ImageError,
    KprobeError,
    Reason,
    SymbolError,
    UsageError,
)
from kprobesim.image import KernelImage
from kprobesim.image.symbols.table import SymbolAt
from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.kprobes.model import DEFAULT_MODEL, Model
from kprobesim.kprobes.rules.blacklist import Blacklist

__all__ = [
    "Place",
    "check_address_safe",
    "check_model",
    "check_types",
    "parse_place",
    "resolve",
]

_UNSIGNED_INT = (1 << 32) - 1  # of kprobe.offset
_POINTER = (1 << 64) - 1
_FTRACE_SIZE = 5  # bytes that ftrace patches on x86


@dataclass(frozen=True)
class Place:
    """An address as symbol and offset: ``symbol_start`` is where the enclosing symbol begins.

    ``on_func_entry``: nothing of the function has run there, but perhaps an ENDBR.
    """

    address: int
    symbol: str
    symbol_start: int
    on_func_entry: bool

    @property
    def offset(self) -> int:
        """Bytes from the symbol's start."""
        return self.address - self.symbol_start

    def __str__(self) -> str:
        return f"{self.symbol}+{self.offset:#x}" if self.offset else self.symbol


def parse_place(text: str) -> tuple[str, int]:
    """``"symbol"`` or ``"symbol+0x10"`` as (symbol, offset); raises :class:`KprobeError`."""
    name, plus, offset = text.partition("+")
    if not plus:
        return name, 0
    try:
        number = int(offset, 0)
    except ValueError:
        number = -1
    if not 0 <= number <= _UNSIGNED_INT:
        raise KprobeError(
            errno.EINVAL,
            Reason.UNKNOWN_SYMBOL,
            f"{offset!r} is no offset: write symbol+0x10 or symbol+16",
            symbol=text,
        )
    return name, number


def resolve(
    image: KernelImage,
    p: Kprobe,
    read: Callable[[int, int], bytes],
    model: Model = DEFAULT_MODEL,
    *,
    strict: bool = False,
    suggest: bool = True,
) -> Place:
    """The address that ``p`` asks for, by symbol or address (``_kprobe_addr()``).

    ``read`` gives the guest's code without probes. Behind an ENDBR the entry is four bytes on
    (``arch_adjust_kprobe_addr()``). ``strict``: ``"symbol+0x10"`` is no symbol's name. ``suggest``:
    look for names like an unknown one (0.3 s).
    """
    check_types(p)
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
        name, more = (p.symbol_name, 0) if strict else parse_place(p.symbol_name)
        base = _look_up(image, name, model, suggest=suggest) + more
    address = (base + (p.offset & _UNSIGNED_INT)) & _POINTER
    found = image.symbols.at(address)
    if found is None or not _is_ksym(image, found, address):
        raise KprobeError(
            errno.ENOENT if model.place_needs_symbol else errno.EINVAL,
            Reason.NO_SYMBOL_AT_ADDRESS,
            f"{address:#x} belongs to no symbol of the kernel; see `kprobesim info`"
            if found is None or image.kallsyms_all
            else f"{found} is data, and this kernel knows symbols of code only (KALLSYMS_ALL=n)",
            symbol=p.symbol_name,
            address=address,
        )
    start, offset = found.symbol.address, found.offset
    entry = offset == 0
    skips = image.arch == "x86_64" and model.x86.skip_endbr
    if skips and offset in (0, ENDBR_SIZE) and _is_endbr(start, read):
        address, entry = start + ENDBR_SIZE, True
    return Place(address, found.symbol.name, start, entry)


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


def _is_endbr(address: int, read: Callable[[int, int], bytes]) -> bool:
    try:
        return read(address, ENDBR_SIZE) in ENDBRS
    except (GuestMemoryError, ImageError):
        return False


def _fits(value: object, bits: int) -> bool:
    """Whether it is a number that C would keep, signed or not."""
    return isinstance(value, int) and -(1 << bits - 1) <= value < 1 << bits


def check_types(p: Kprobe) -> None:
    """What C's compiler checks in the kernel."""
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


def _look_up(image: KernelImage, name: str, model: Model, *, suggest: bool) -> int:
    module, colon, _ = name.partition(":")
    reason = Reason.UNKNOWN_SYMBOL
    try:
        if colon and not image.has_module(module):
            reason, ambiguous = Reason.MODULE_NOT_LOADED, False
            problem = f"the module {module} is not loaded, so nothing is known of {name}"
        elif colon and not model.refuse_module_twins and name in image.symbols:
            return image.symbols.candidates(name)[0].address
        elif suggest or name in image.symbols:
            return image.symbols[name].address
        else:
            problem, ambiguous = f"no symbol {name!r} in this kernel", False
    except SymbolError as error:
        problem, ambiguous = str(error), name in image.symbols
    raise KprobeError(
        errno.EADDRNOTAVAIL if ambiguous else getattr(errno, model.unresolved_errno),
        Reason.AMBIGUOUS_SYMBOL if ambiguous else reason,
        problem,
        symbol=name,
    )


def check_model(p: Kprobe, model: Model) -> None:
    """Refuse what ``struct kprobe`` of the ``model`` does not have."""
    if p.fault_handler is not None and not model.fault_handlers:
        raise KprobeError(
            errno.EINVAL,
            Reason.NOT_IN_THIS_KERNEL,
            f"kernels like {model.name} know no fault_handler: it was removed in 5.14; "
            "strict=False allows one all the same",
            symbol=p.symbol_name,
            address=p.addr,
        )


def check_address_safe(
    image: KernelImage,
    blacklist: Blacklist,
    place: Place,
    model: Model = DEFAULT_MODEL,
    *,
    init_freed: bool = False,
) -> None:
    """Refuse what is not core text, blacklisted, or a BUG (``check_kprobe_address_safe()``).

    ``init_freed``: the kernel has booted, and ``__init`` functions are no text any more.
    """
    for errno_, reason, message in _objections(image, blacklist, place, model, init_freed):
        raise KprobeError(errno_, reason, message, symbol=str(place), address=place.address)


def _objections(
    image: KernelImage, blacklist: Blacklist, place: Place, model: Model, init_freed: bool
) -> Iterator[tuple[int, Reason, str]]:
    address = place.address
    if image.arch == "arm64" and address in image.ftrace_sites:
        yield (
            errno.EINVAL,
            Reason.FTRACE_SITE,
            f"{place} is the place that ftrace patches; probe {place.symbol} itself",
        )
    if image.arch == "x86_64" and model.x86.refuse_inside_ftrace:
        inside = (address - distance in image.ftrace_sites for distance in range(1, _FTRACE_SIZE))
        if any(inside):
            yield (
                errno.EILSEQ,
                Reason.FTRACE_SITE,
                f"{place} lies inside what ftrace patches; probe {place.symbol} itself",
            )
    if not image.is_kernel_text(address):
        init = image.init_text
        if init_freed or init is None or not init[0] <= address < init[1]:
            yield (
                errno.EINVAL,
                Reason.NOT_KERNEL_TEXT,
                f"{place} is not in the kernel's text; probe a function",
            )
    rule = blacklist.rule(place.address, place.symbol)
    if rule is not None:
        yield (
            errno.EINVAL,
            Reason.BLACKLISTED,
            f"{place} must not be probed: {rule}; probe a caller instead",
        )
    if model.refuse_jump_labels and address in image.jump_labels:
        yield (
            errno.EINVAL,
            Reason.JUMP_LABEL,
            f"{place} is in a jump label, which the kernel patches; probe a neighbour",
        )
    if model.refuse_static_calls and address in image.static_calls:
        yield (
            errno.EINVAL,
            Reason.STATIC_CALL,
            f"{place} is in a static call, which the kernel patches; probe a neighbour",
        )
    if model.refuse_bugs and image.bug_table.at(address) is not None:
        yield (
            errno.EINVAL,
            Reason.BUG_TABLE,
            f"{place} is a BUG() or WARN() trap; probe the instruction before it",
        )
    if model.refuse_cfi_preambles and place.symbol.startswith(("__cfi_", "__pfx_")):
        yield (
            errno.EINVAL,
            Reason.CFI_PREAMBLE,
            f"{place} lies in front of a function and is no code of its own; probe the function",
        )
