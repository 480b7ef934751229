"""Whether a function still takes the arguments of its source.

A compiler may change a function that it sees all calls of. gcc then gives it a suffix; clang's
dead argument elimination did not up to clang 21. pahole writes no prototype for a function whose
arguments are not where its declaration puts them (btf_encoder.c, since 1.25), nor for a name with
two declarations; before 1.25 it left out all names with a suffix.
"""

from __future__ import annotations

from typing import NamedTuple

from kprobesim.functions.arguments import Arguments
from kprobesim.functions.clones import split_clone
from kprobesim.functions.declared import Declared
from kprobesim.functions.facts import Evidence
from kprobesim.functions.seen import Seen
from kprobesim.image import Symbol

__all__ = ["Signature", "judge_signature"]

#: Suffixes of functions that take other arguments than those they were made of.
_CHANGED = frozenset(("isra", "constprop", "argprom", "argelim"))


class Signature(NamedTuple):
    """Whether it changed, which parameters it does not get, what it reads instead, and why."""

    changed: bool = False
    lost: tuple[int, ...] = ()
    registers: tuple[str, ...] | None = None
    evidence: tuple[Evidence, ...] = ()


def judge_signature(
    seen: Seen, declared: Declared, arguments: Arguments, *, clones_declared: bool, clang: bool
) -> Signature:
    """What is known of the arguments of the code that calls of ``seen`` run.

    Args:
        seen: The function.
        declared: The kernel's types.
        arguments: Looks for arguments in its code.
        clones_declared: Whether the types have prototypes of clones that kept their arguments.
        clang: Whether clang compiled the kernel.
    """
    in_kernel = [symbol for symbol in seen.bodies if not symbol.module]
    if not in_kernel:
        return Signature()
    plain = [symbol for symbol in in_kernel if "." not in symbol.name]
    if not plain:
        return _clone(seen, declared, arguments, in_kernel[0], clones_declared)
    if not clang or len(plain) > 1 or not declared:
        return Signature()
    return _unmarked(seen, declared, arguments, plain[0])


def _unmarked(seen: Seen, declared: Declared, arguments: Arguments, symbol: Symbol) -> Signature:
    """Of a function that clang may have changed without saying so."""
    if seen.base in declared:
        if seen.taken or not symbol.type.islower() or not seen.calls:
            return Signature()
        lost = arguments.lost(symbol.address, seen.base)
        if not lost:
            return Signature()
        text = (
            f"it does not look for {_parameters(lost)}, and no call of it passes any: what is "
            "declared behind what was taken out has moved forward"
        )
        registers = arguments.read(symbol.address)
        return Signature(True, lost, registers, (Evidence(text, "code", "likely"),))
    if not seen.traceable:
        return Signature()
    text = (
        "it can be traced and has no prototype in BTF, from which functions are left out that "
        "clang has taken arguments from"
    )
    registers = arguments.read(symbol.address)
    return Signature(True, (), registers, (Evidence(text, "btf", "likely"),))


def _clone(
    seen: Seen, declared: Declared, arguments: Arguments, symbol: Symbol, clones_declared: bool
) -> Signature:
    """Of a function that is there under the name of a clone only."""
    if not _CHANGED.intersection(split_clone(symbol.name)[1]):
        return Signature()
    if clones_declared and seen.base in declared:
        text = f"BTF has a prototype that {symbol.name} still follows"
        return Signature(evidence=(Evidence(text, "btf", "exact"),))
    registers = arguments.read(symbol.address)
    evidence = []
    if clones_declared:
        text = f"BTF has no prototype that {symbol.name} follows"
        evidence.append(Evidence(text, "btf", "exact"))
    else:
        text = f"the compiler called it {symbol.name}: it takes other arguments than in the source"
        evidence.append(Evidence(text, "symbols", "likely"))
    if registers is not None:
        text = f"of the argument registers its code reads at most {', '.join(registers) or 'none'}"
        evidence.append(Evidence(text, "code", "likely"))
    return Signature(True, (), registers, tuple(evidence))


def _parameters(numbers: tuple[int, ...]) -> str:
    shown = ", ".join(str(number + 1) for number in numbers)
    return f"{'parameter' if len(numbers) == 1 else 'parameters'} {shown}"
