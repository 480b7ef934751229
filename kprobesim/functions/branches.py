"""Branches from one function to the entry of another."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["Branches", "keep_entries"]


class Branches(NamedTuple):
    """Branches as columns, by site: where each is, where it goes, and 1 for a call, 0 for a jump.

    Jumps within one function, even to its own entry, are not among them.
    """

    sites: array[int]
    targets: array[int]
    calls: bytearray


def keep_entries(found: Iterable[tuple[int, int, int]]) -> Branches:
    """The columns of ``(site, target, is a call)``."""
    sites, targets, calls = array("Q"), array("Q"), bytearray()
    for site, target, is_call in found:
        sites.append(site)
        targets.append(target)
        calls.append(is_call)
    return Branches(sites, targets, calls)
