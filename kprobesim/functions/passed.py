"""Where a function's arguments are when it begins: in registers, on the stack, or behind one."""

from __future__ import annotations

from dataclasses import dataclass

from kprobesim.arch.architecture import architecture, halves
from kprobesim.functions.declared import Declared
from kprobesim.types.model import Composite, Float, Function, Parameter

__all__ = ["Passed", "passed"]

_WORD = 8
_LARGEST_IN_REGISTERS = 16
#: Whether a larger struct is passed by the address of a copy (AAPCS64), or itself (psABI).
_LARGE_BY_ADDRESS = halves(x86_64=False, arm64=True)


@dataclass(frozen=True)
class Passed:
    """One parameter, and where its argument is.

    Attributes:
        parameter: Its name and type.
        words: The numbers of its words, as :meth:`PtRegs.arg` counts them: those in registers,
            then those on the stack.
        by_address: The word is the address of what is passed.
    """

    parameter: Parameter
    words: tuple[int, ...]
    by_address: bool


def passed(function: Function, arch: str) -> tuple[Passed, ...]:
    """Where the arguments of ``function`` are, of all that have places of their own.

    Raises:
        TypesError: A type of it is damaged.
    """
    on_stack = len(architecture(arch).abi.arguments)
    found = []
    for parameter, registers in zip(
        function.parameters, Declared(None, arch).places(function), strict=True
    ):
        taken = parameter.type.stripped
        size = taken.size or _WORD
        by_address = (
            isinstance(taken, Composite)
            and size > _LARGEST_IN_REGISTERS
            and _LARGE_BY_ADDRESS[arch]
        )
        words = registers
        if not words and not isinstance(taken, Float):
            count = 1 if by_address else -(-size // _WORD)
            words = tuple(range(on_stack, on_stack + count))
            on_stack += count
        found.append(Passed(parameter, words, by_address))
    return tuple(found)
