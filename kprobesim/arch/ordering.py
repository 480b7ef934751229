"""``Ordering``: what an instruction does to the order in which CPUs see each other's accesses."""

from __future__ import annotations

import enum

__all__ = ["Ordering"]


class Ordering(enum.Flag):
    """The same words for both architectures; an instruction may be several of them."""

    PLAIN = 0
    """Nothing: a load, a store or neither."""
    STORES = enum.auto()
    """A barrier for stores alone: none behind it is seen before those in front of it."""
    LOADS = enum.auto()
    """A barrier behind loads: what is behind it is done after the loads in front of it."""
    FULL = enum.auto()
    """Nothing goes on until others see all stores, and all loads are done."""
    RELEASE = enum.auto()
    """A store that others do not see before all that came before it."""
    ACQUIRE = enum.auto()
    """A load that all behind it waits for; it waits until others see the store-releases before."""
    ACQUIRE_PC = enum.auto()
    """The same, but it does not wait for store-releases."""
    ATOMIC = enum.auto()
    """A load and a store in one, where all see it: never from a buffer, never of an old value."""
    EXCLUSIVE = enum.auto()
    """A load for which a store will ask whether it is still true."""
    STREAMING = enum.auto()
    """A store past the caches, which those behind it do not wait for."""
    CONTEXT = enum.auto()
    """Instructions behind it are fetched anew: it waits for the branches before it."""
