"""``Context``: what is known while the arguments of one definition are parsed.

``struct traceprobe_parse_context`` of kernel/trace/trace_probe.h.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from kprobesim.dynevent.dialect import Dialect
from kprobesim.dynevent.error import ProbeEventError
from kprobesim.dynevent.facts import KernelFacts
from kprobesim.dynevent.fetch import Deref, Fetch
from kprobesim.dynevent.grammar.command import Command
from kprobesim.types.base import Type
from kprobesim.types.functions import Function, FunctionPrototype

__all__ = ["LAST_SLOT", "Context", "Reading"]

#: FETCH_INSN_MAX is 16: what an argument is compiled to ends here.
LAST_SLOT = 15


class Reading(NamedTuple):
    """What was parsed of an argument, and the slot of its last instruction in the kernel."""

    fetch: Fetch
    slot: int = 0


@dataclass
class Member:
    """What the last variable or member is, of which BTF tells: ``last_type`` and its bits."""

    type: Type
    bit_offset: int = 0
    bit_size: int = 0


class Context:
    """For the arguments of a probe in ``function``.

    Attributes:
        command: What was written.
        kernel: Whom to ask.
        function: The function that the place names, as BTF would have it; ``None``: an address.
        at_entry: The probe is where the function begins (TPARG_FL_FENTRY).
        returns: It is hit when the function returns (TPARG_FL_RETURN).
        event: It is on another event, whose fields it reads (TPARG_FL_TEVENT).
        has_registers: ``struct pt_regs`` is at hand, which is so for kprobes alone.
        word: The index of the word that is parsed.
        offset: The column in that word.
        member: What BTF knows of the argument; ``None``: it was not asked.
        depth: How many dereferences and casts are open.
        queried: BTF was asked for the function, and has it.
    """

    def __init__(
        self,
        command: Command,
        kernel: KernelFacts,
        *,
        function: str | None = None,
        at_entry: bool = False,
        returns: bool = False,
        event: bool = False,
        has_registers: bool = True,
    ) -> None:
        self.command = command
        self.kernel = kernel
        self.function = function
        self.at_entry = at_entry
        self.returns = returns
        self.event = event
        self.has_registers = has_registers
        self.word = 0
        self.offset = 0
        self.member: Member | None = None
        self.depth = 0
        self.queried = False

    @property
    def dialect(self) -> Dialect:
        """The kernel's grammar."""
        return self.command.dialect

    def error(self, name: str, at: int = 0, number: int = errno.EINVAL) -> ProbeEventError:
        """A refusal ``at`` characters behind where the parser stands."""
        return self.command.refusal(name, self.word, self.offset + at, number)

    def query(self) -> FunctionPrototype | None:
        """``query_btf_context()``: the probed function's prototype, if BTF has it."""
        self.queried = self.queried or self._prototype is not None
        return self._prototype

    @cached_property
    def _prototype(self) -> FunctionPrototype | None:
        if self.function is None or not self.dialect.btf:
            return None
        for types in self.kernel.types or ():
            found = types.named(self.function, Function)
            if found:
                return found[0].prototype
        return None

    @cached_property
    def parameters(self) -> list[tuple[str, int]]:
        """Name and number of the type of each of its parameters, ``...`` as one without a name."""
        found = self.query()
        if found is None:
            return []
        return [*found.parameter_numbers(), *([("", 0)] if found.is_variadic else [])]

    def dereference(self, reading: Reading, offset: int, *, user: bool = False) -> Reading:
        """One more dereference of what was read.

        Raises:
            ProbeEventError: There is no room for it.
        """
        if reading.slot + 1 == LAST_SLOT:
            raise self.error("TOO_MANY_OPS")
        return Reading(Deref(reading.fetch, _int(offset), user), reading.slot + 1)


def _int(value: int) -> int:
    """What a C int keeps of it."""
    return (value & 0xFFFF_FFFF ^ 0x8000_0000) - 0x8000_0000
