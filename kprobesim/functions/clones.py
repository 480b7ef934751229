"""The names of functions that a compiler derives from others: ``foo.isra.0``."""

from __future__ import annotations

from functools import cache

__all__ = ["ENTRY_PADDING", "IN_STEAD", "split_clone", "without_cold"]

#: What stands behind the dot. gcc: ipa-sra and ipa-cp (isra, constprop), ipa-split (part), bb
#: reordering (cold), lto and symbol tables (lto_priv, localalias); clang: ThinLTO (llvm), unique
#: names (__uniq), dead argument elimination (argprom, argelim, retelim), specialisation
#: (specialized), CFI (cfi, cfi_jt).
_KINDS = frozenset(
    (
        *("isra", "constprop", "part", "cold", "lto_priv", "localalias", "plt", "llvm", "__uniq"),
        *("argprom", "argelim", "retelim", "specialized", "cfi", "cfi_jt"),
    )
)
#: Clones that are called instead of the function; the others run as a part of it, or beside it.
IN_STEAD = frozenset(
    (
        *("isra", "constprop", "lto_priv", "localalias", "llvm", "__uniq"),
        *("argprom", "argelim", "retelim", "specialized"),
    )
)
#: Symbols of the room in front of a function's entry: x86's padding (6.2) and kCFI's type.
ENTRY_PADDING = ("__pfx_", "__cfi_")


@cache
def split_clone(name: str) -> tuple[str, tuple[str, ...]]:
    """The name in the source, and the kinds of clone, in order; none for what is no clone.

    >>> split_clone("do_x.isra.0.cold")
    ('do_x', ('isra', 'cold'))
    >>> split_clone("event_exit__open.1")
    ('event_exit__open.1', ())
    """
    base, dot, rest = name.partition(".")
    if not dot or not base:
        return name, ()
    words = rest.split(".")
    if words[0] not in _KINDS:
        return name, ()
    return base, tuple(word for word in words if word in _KINDS)


def without_cold(name: str) -> str:
    """The function whose unlikely part ``name`` is, or ``name``.

    >>> without_cold("do_x.isra.0.cold")
    'do_x.isra.0'
    """
    hot, cold, _ = name.partition(".cold")
    return hot if cold and "cold" in split_clone(name)[1] else name
