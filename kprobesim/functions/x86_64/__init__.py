"""x86-64: branches, addresses and registers in the code of functions."""

from __future__ import annotations

from kprobesim.functions.x86_64.branches import find_branches
from kprobesim.functions.x86_64.effects import effect
from kprobesim.functions.x86_64.references import find_references

__all__ = ["SHOWS_CONSTANTS", "effect", "find_branches", "find_references"]

#: An address that code takes is that of what it uses.
SHOWS_CONSTANTS = True
