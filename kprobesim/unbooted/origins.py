"""Which variable a register's NULL was loaded from, by the instructions before.

Registers are followed from the start of a function on, forward: what is known at a branch may be so
where it goes to. What a register held close before a call, on some path, is a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from kprobesim.sizes import MASK64

__all__ = ["Effect", "Origins", "Place", "Reader", "find_origins", "plus"]

_CLOSE = 96  # bytes


class Place(NamedTuple):
    """An instruction's address, or behind a call; or all jumps to ``target``: calls at the end."""

    at: int
    target: int | None = None


@dataclass
class Origins:
    """What is known of registers at one place in a function.

    Attributes:
        unset: Answers the address that it is given if there is a variable that is 0, else ``None``.
        read: The word at an address.
        per_cpu: What is added to the address of a per-CPU variable.
        held: For registers with a NULL from a variable, that one's address; ``~n`` for argument n.
        constants: Registers with an address.
    """

    unset: Callable[[int], int | None]
    read: Callable[[int], int]
    per_cpu: int = 0
    held: dict[str, int] = field(default_factory=dict)
    constants: dict[str, int] = field(default_factory=dict)
    _loads: dict[str, tuple[int, int]] = field(default_factory=dict)
    _branches: dict[int, tuple[dict[str, int], dict[str, int]]] = field(default_factory=dict)
    _falls: bool = True
    _at: int = 0

    def enter(self, arguments: Sequence[str]) -> None:
        """A function begins: its arguments are known as ``~0``, ``~1`` ..."""
        self.held = {register: ~number for number, register in enumerate(arguments)}

    def arrive(self, at: int) -> None:
        """The next instruction is the one at ``at``."""
        self._at = at
        if not self._falls:
            self.held, self.constants = {}, {}
            self._falls = True
        held, constants = self._branches.get(at, ({}, {}))
        self.held = held | self.held
        self.constants = constants | self.constants

    def branch(self, to: int | None, *, always: bool) -> None:
        """It may go on elsewhere (``None``: who knows where), or must."""
        if to is not None:
            held, constants = self._branches.get(to, ({}, {}))
            self._branches[to] = self.held | held, self.constants | constants
        self._falls = not always

    def forget(self, registers: set[str]) -> None:
        """They have been written to."""
        for register in registers:
            self.held.pop(register, None)
            self.constants.pop(register, None)

    def learn(self, register: str, origin: int | None, constant: int | None) -> None:
        """What has been written to ``register``, as far as it is known."""
        if origin is not None:
            self.held[register] = origin
            if origin >= 0:
                self._loads[register] = origin, self._at
        elif constant is not None:
            self.constants[register] = constant & MASK64

    def of(self, registers: list[str]) -> Iterator[tuple[int, bool]]:
        """The variables that NULLs in ``registers`` come from, and whether that is sure."""
        yield from ((self.held[register], True) for register in registers if register in self.held)
        for register in registers:
            if register in self._loads and register not in self.held:
                origin, at = self._loads[register]
                if self._at - at < _CLOSE:
                    yield origin, False


class Effect(NamedTuple):
    """The register that an instruction writes to, and its new origin or constant, if known."""

    target: str = ""
    origin: int | None = None
    constant: int | None = None


def plus(constant: int | None, amount: int) -> int | None:
    """A constant with something added, if it is one."""
    return None if constant is None else constant + amount


class Reader(Protocol):
    """An architecture's instructions, as capstone has them."""

    @property
    def arguments(self) -> Sequence[str]:
        """The registers that carry a function's."""

    @property
    def call_changes(self) -> Collection[str]:
        """What a call may have written to when it returns."""

    @property
    def leaves(self) -> Collection[str]:
        """Mnemonics behind which nothing goes on."""

    def instructions(self, code: bytes, start: int) -> Iterator[Any]:
        """Those of ``code``, which lies at ``start``, until something is none."""

    def register(self, insn: Any, number: int) -> str:
        """The 64-bit register that capstone's register ``number`` is a part of."""

    def is_call(self, insn: Any) -> bool:
        """Whether it calls a function."""

    def leads(self, insn: Any) -> bool:
        """Whether it may go on elsewhere: a jump, or a return."""

    def goes_to(self, insn: Any) -> int | None:
        """Where a jump goes to, if it says so."""

    def effect(self, insn: Any, origins: Origins) -> Effect:
        """What it does to registers."""

    def pointers(self, insn: Any, origins: Origins, *, call: bool) -> Iterator[tuple[int, bool]]:
        """Where the pointers come from that it uses: of a ``call`` the function's."""


def find_origins(
    reader: Reader,
    code: bytes,
    start: int,
    place: Place,
    wanted: Collection[int] | None,
    origins: Origins,
) -> Iterator[tuple[int, bool]]:
    """The variables that pointers of the instruction at ``place`` were loaded from.

    Args:
        reader: Of the architecture.
        code: That of the function from ``start`` on, with the instruction at ``place``.
        start: Where the function begins.
        place: What faulted, or behind a call, or where a jump goes to.
        wanted: ``place`` is behind a call, of which these arguments count (from 0); none of them:
            the function that is called. ``None``: ``place`` faulted.
        origins: New ones.

    Yields:
        An address, or ``~n`` for an argument ``n`` of the function itself; and whether it is sure.
    """
    arguments = [reader.arguments[number] for number in wanted or ()]
    origins.enter(reader.arguments)
    for insn in reader.instructions(code, start):
        origins.arrive(insn.address)
        is_call = wanted is not None and insn.address + insn.size == place.at
        if is_call and arguments:
            yield from origins.of(arguments)
            return
        if is_call or insn.address == place.at:
            yield from reader.pointers(insn, origins, call=wanted is not None)
            return
        written = {reader.register(insn, number) for number in insn.regs_access()[1]}
        if reader.is_call(insn):
            written |= set(reader.call_changes)
        effect = reader.effect(insn, origins)
        origins.forget(written)
        if effect.target:
            origins.learn(*effect)
        if reader.leads(insn):
            to = reader.goes_to(insn)
            origins.branch(to, always=insn.mnemonic in reader.leaves)
            if to is not None and to == place.target:
                yield from origins.of(arguments)
