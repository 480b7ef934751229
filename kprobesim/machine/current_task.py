"""``CurrentTask``: what leads to the task that runs, for those who read it themselves.

arch/x86/include/asm/current.h: a per-CPU variable. arch/arm64/include/asm/current.h: SP_EL0 while
the kernel runs; what the entry from user mode loads it from is a per-CPU variable, too.
"""

from __future__ import annotations

from kprobesim.hexrepr import HexRepr
from kprobesim.late_dataclasses import dataclass

__all__ = ["CurrentTask"]


@dataclass(frozen=True, repr=False)
class CurrentTask(HexRepr):
    """The way to it, tried in this order; what it leads to must be an address of the kernel.

    Attributes:
        register: The control word that is the task; "": there is none.
        variable: The address of a variable that points to it, without its base; ``None``: none.
        bases: The control words that may hold the base: the first one that makes it an address of
            the kernel. Without any the address is the variable's own.
    """

    register: str = ""
    variable: int | None = None
    bases: tuple[str, ...] = ()
