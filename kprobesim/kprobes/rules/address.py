"""Whether a probe may be at an address, before the instruction there is looked at.

Order and errnos follow ``check_kprobe_address_safe()`` of kernel/kprobes.c (5.10 to 7.3).
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from kprobesim.errors import KprobeError, Reason
from kprobesim.image import KernelImage
from kprobesim.kprobes.model import Model
from kprobesim.kprobes.rules.blacklist import Blacklist
from kprobesim.kprobes.rules.site import Site

__all__ = ["check_address_safe"]

_FTRACE_SIZE = 5  # bytes that ftrace patches on x86


def check_address_safe(
    image: KernelImage,
    blacklist: Blacklist,
    site: Site,
    model: Model,
    *,
    init_freed: bool,
) -> None:
    """Refuse what is not core text, blacklisted, or a BUG (``check_kprobe_address_safe()``).

    ``init_freed``: the kernel has booted, and ``__init`` functions are no text any more.
    """
    for errno_, reason, message in _objections(image, blacklist, site, model, init_freed):
        raise KprobeError(errno_, reason, message, symbol=str(site), address=site.address)


def _objections(
    image: KernelImage, blacklist: Blacklist, site: Site, model: Model, init_freed: bool
) -> Iterator[tuple[int, Reason, str]]:
    address = site.address
    freed = image.init if init_freed else None
    # With the code of init its ftrace records have gone (ftrace_free_init_mem()).
    traced = freed is None or not freed[0] <= address < freed[1]
    rules = model.of(image.arch)
    if traced and rules.refuse_ftrace_sites and address in image.ftrace_sites:
        yield (
            errno.EINVAL,
            Reason.FTRACE_SITE,
            f"{site} is the place that ftrace patches; probe {site.symbol} itself",
        )
    if traced and rules.refuse_inside_ftrace:
        inside = (address - distance in image.ftrace_sites for distance in range(1, _FTRACE_SIZE))
        if any(inside):
            yield (
                errno.EILSEQ,
                Reason.FTRACE_SITE,
                f"{site} lies inside what ftrace patches; probe {site.symbol} itself",
            )
    if not image.is_kernel_text(address):
        init = image.init_text
        initial = init is not None and init[0] <= address < init[1]
        if init_freed or not initial:
            text = f"{site} is not in the kernel's text; probe a function"
            if initial:
                text = f"{site} runs at boot only: it is __init, and its code is freed then"
            yield errno.EINVAL, Reason.NOT_KERNEL_TEXT, text
    rule = blacklist.rule(site.address, site.symbol)
    if rule is not None:
        yield (
            errno.EINVAL,
            Reason.BLACKLISTED,
            f"{site} must not be probed: {rule}; probe a caller instead",
        )
    if model.refuse_jump_labels and address in image.jump_labels:
        yield (
            errno.EINVAL,
            Reason.JUMP_LABEL,
            f"{site} is in a jump label, which the kernel patches; probe a neighbour",
        )
    if model.refuse_static_calls and address in image.static_calls:
        yield (
            errno.EINVAL,
            Reason.STATIC_CALL,
            f"{site} is in a static call, which the kernel patches; probe a neighbour",
        )
    if model.refuse_bugs and image.bug_table.at(address) is not None:
        yield (
            errno.EINVAL,
            Reason.BUG_TABLE,
            f"{site} is a BUG() or WARN() trap; probe the instruction before it",
        )
    if model.refuse_cfi_preambles and site.symbol.startswith(("__cfi_", "__pfx_")):
        yield (
            errno.EINVAL,
            Reason.CFI_PREAMBLE,
            f"{site} lies in front of a function and is no code of its own; probe the function",
        )
