"""``FAULT``: what stands for a value that could not be fetched."""

from __future__ import annotations

from typing import Any

__all__ = ["FAULT", "Fault"]


class Fault(str):
    """The text that kprobe_events prints for one, "(fault)" (kernel/trace/trace_probe.c)."""

    __slots__ = ()

    def __new__(cls) -> Fault:
        return super().__new__(cls, "(fault)")

    def __repr__(self) -> str:
        return "FAULT"

    def __reduce__(self) -> tuple[Any, ...]:
        return Fault, ()


FAULT = Fault()
"""The only one that anybody needs."""
