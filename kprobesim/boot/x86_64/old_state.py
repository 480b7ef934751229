"""States of boards from before there were local APICs: they go on without."""

from __future__ import annotations

from typing import Any

from kprobesim.boot.state import Saved

__all__ = ["has_apics", "with_apic_parts"]

_POLLED = ("look_at", "soon")
"""What such a board knew of the interrupt that it polled for, which it is now offered."""


def with_apic_parts(state: object, parts: dict[str, Saved]) -> object:
    """``state`` with what it lacks, if it is one of those; it is not looked at any further.

    Args:
        state: What may be a state.
        parts: Those of a board, as they are now.
    """
    if type(state) is not dict:
        return state
    board, saved = state.get("board"), state.get("parts")
    if type(board) is not dict or type(saved) is not dict or "interrupts" in saved:
        return state
    if not all(name in board for name in _POLLED):
        return state
    missing: dict[str, Any] = {n: part.save() for n, part in parts.items() if n not in saved}
    return {
        **state,
        "board": {name: value for name, value in board.items() if name not in _POLLED},
        "parts": {**saved, **missing, "interrupts": {"has_apics": False, "starting": []}},
    }


def has_apics(state: Any) -> bool:
    """Whether the guest of ``state``, which was checked, has local APICs."""
    parts = state["parts"]
    return "interrupts" in parts and bool(parts["interrupts"]["has_apics"])
