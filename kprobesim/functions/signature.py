"""Whether a function still takes the arguments of its source.

A compiler may change a function that it sees all calls of. gcc then gives it a suffix; clang's
dead argument elimination did not up to clang 21. pahole writes no prototype for a function whose
arguments are not where its declaration puts them (btf_encoder.c, since 1.25), nor for a name with
two declarations; before 1.25 it left out all names with a suffix.
"""

from __future__ import annotations

from typing import NamedTuple

from kprobesim.functions.clones import split_clone
from kprobesim.functions.declared import Declared
from kprobesim.functions.facts import Evidence
from kprobesim.functions.seen import Seen

__all__ = ["Signature", "judge_signature"]

#: Suffixes of functions that take other arguments than those they were made of.
_CHANGED = frozenset(("isra", "constprop", "argprom", "argelim"))


class Signature(NamedTuple):
    """Whether it changed, which parameters are not where they should be, and why."""

    changed: bool
    lost: tuple[int, ...]
    evidence: tuple[Evidence, ...]


def judge_signature(
    seen: Seen, declared: Declared, *, clones_declared: bool, clang: bool
) -> Signature:
    """What is known of the arguments of the code that calls of ``seen`` run.

    Args:
        seen: The function.
        declared: The kernel's types.
        clones_declared: Whether these have prototypes of clones, too, that kept their arguments.
        clang: Whether clang compiled the kernel.
    """
    in_kernel = [symbol for symbol in seen.bodies if not symbol.module]
    if not in_kernel:
        return Signature(False, (), ())
    plain = [symbol for symbol in in_kernel if "." not in symbol.name]
    if not plain:
        return _clone(seen, declared, in_kernel[0].name, clones_declared)
    if not clang or seen.base in declared or not declared or not seen.traceable or len(plain) > 1:
        return Signature(False, (), ())
    text = (
        "it can be traced and has no prototype in BTF, from which functions are left out that "
        "clang has taken arguments from"
    )
    return Signature(True, (), (Evidence(text, "btf", "likely"),))


def _clone(seen: Seen, declared: Declared, name: str, clones_declared: bool) -> Signature:
    """Of a function that is there under the name of a clone only."""
    kinds = _CHANGED.intersection(split_clone(name)[1])
    if not kinds:
        return Signature(False, (), ())
    if clones_declared:
        if seen.base in declared:
            text = f"BTF has a prototype that {name} still follows"
            return Signature(False, (), (Evidence(text, "btf", "exact"),))
        text = f"BTF has no prototype that {name} follows"
        return Signature(True, (), (Evidence(text, "btf", "exact"),))
    text = f"the compiler called it {name}: it takes other arguments than in the source"
    return Signature(True, (), (Evidence(text, "symbols", "likely"),))
