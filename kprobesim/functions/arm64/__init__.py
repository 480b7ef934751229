"""ARM64: branches, addresses and registers in the code of functions."""

from __future__ import annotations

from kprobesim.functions.arm64.branches import find_branches
from kprobesim.functions.arm64.effects import effect
from kprobesim.functions.arm64.references import find_references

__all__ = ["SHOWS_CONSTANTS", "effect", "find_branches", "find_references"]

#: gcc takes the address of a section's anchor, and counts from there (-fsection-anchors), so an
#: address that code takes need not be that of what it uses.
SHOWS_CONSTANTS = False
