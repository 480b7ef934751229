"""ARM64: branches, addresses and registers in the code of functions."""

from __future__ import annotations

from kprobesim.functions.arm64.branches import find_branches
from kprobesim.functions.arm64.references import find_references

__all__ = ["find_branches", "find_references"]
