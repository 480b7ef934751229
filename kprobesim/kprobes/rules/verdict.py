"""``Verdict``: what the kernel would answer to a probe."""

from __future__ import annotations

from typing import Any

from kprobesim.errno_names import errno_name
from kprobesim.errors import Reason
from kprobesim.hexrepr import HexRepr
from kprobesim.late_dataclasses import dataclass

__all__ = ["Verdict"]


@dataclass(frozen=True, repr=False)
class Verdict(HexRepr):
    """The answer for one point; what follows ``address`` is ``None`` where it was refused.

    Attributes:
        symbol: The symbol, as asked.
        offset: The offset, as asked.
        errno: 0, or the positive number of the refusal.
        reason: Which rule refused it. An event that waits for its module is accepted and has one.
        message: Why, in words.
        address: Where the probe would be; ``None`` if that is unknown.
        on_func_entry: Whether it would be at the entry of a function.
        kind: "int3", "ftrace" or "brk".
        boostable: Whether the slot jumps back by itself.
        emulated: What would be emulated ("jcc", "call", "b_cond" ...), or ``None``.
        optimizable: Whether the breakpoint would become a jump (x86-64).
        slot: The bytes that the slot would hold, if it were where the caller said.
        original: The bytes of the probed instruction.
        same_named: How many symbols have the name: of several, the first is meant.
        module: The module that it lies in, or that the symbol names; ``None``: the kernel.
        release: The kernel's, as ``uname -r`` prints it.
        arch: "x86_64" or "arm64".
        model: The name of the model whose rules these are.
    """

    symbol: str | None
    offset: int
    errno: int
    reason: Reason | None = None
    message: str | None = None
    address: int | None = None
    on_func_entry: bool | None = None
    kind: str | None = None
    boostable: bool | None = None
    emulated: str | None = None
    optimizable: bool | None = None
    slot: bytes | None = None
    original: bytes | None = None
    same_named: int = 0
    module: str | None = None
    release: str = ""
    arch: str = ""
    model: str = ""

    def __bool__(self) -> bool:
        """Whether the probe would be accepted."""
        return self.errno == 0

    def summary(self) -> str:
        """A few words: how the probe would run, or why it is refused."""
        if self and self.kind is None:
            return self.message or "not armed"
        if not self:
            name = errno_name(self.errno)
            which = f"first of {self.same_named}: " if self.same_named > 1 and self.address else ""
            return f"-{name} ({self.reason}): {which}{self.message}"
        how = {
            "ftrace": "through ftrace",
            "brk": "stepped in a slot",
            "int3": "stepped in a slot",
        }[self.kind or "int3"]
        if self.emulated is not None:
            how = f"emulated ({self.emulated})"
        elif self.boostable:
            how = "boosted"
        if self.optimizable:
            how += ", optimizable"
        if self.same_named > 1:
            how += f", first of {self.same_named}"
        return f"{self.kind}, {how}"

    def short(self) -> str:
        """Less than :meth:`summary`: a refusal by its errno and the name of its rule."""
        if self:
            return self.summary()
        return f"-{errno_name(self.errno)} {self.reason}"

    def _repr_html_(self) -> str:
        """For a notebook."""
        from kprobesim import html

        where = self.symbol or ("" if self.address is None else f"{self.address:#x}")
        title = f"{where}+{self.offset:#x}" if self.offset else where
        shown = self.as_dict()
        names = ("address", "kind", "boostable", "emulated", "optimizable", "slot", "original")
        pairs = [("answer", self.summary()), *((name, shown[name]) for name in names)]
        kernel = f"{self.release} {self.arch}, model {self.model}"
        return html.facts(title, [*pairs, ("module", self.module), ("kernel", kernel)])

    def as_dict(self) -> dict[str, Any]:
        """As plain data, for JSON: addresses and bytes as hexadecimal text."""
        data = dict(self.__dict__)
        data["reason"] = None if self.reason is None else self.reason.value
        data["address"] = None if self.address is None else f"{self.address:#x}"
        for name in ("slot", "original"):
            data[name] = None if data[name] is None else data[name].hex()
        return data
