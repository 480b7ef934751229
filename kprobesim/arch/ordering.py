"""``Ordering``: what an instruction does to the order in which others see a CPU's stores."""

from __future__ import annotations

import enum

__all__ = ["Ordering"]


class Ordering(enum.Enum):
    """The same words for both architectures."""

    PLAIN = "plain"
    """Nothing: a load, a store or neither."""
    STORES = "stores before stores"
    """A barrier for stores alone: none behind it is seen before those in front of it."""
    FULL = "full barrier"
    """Nothing goes on until others see all stores."""
    RELEASE = "store-release"
    """A store that others do not see before all that came before it."""
    ACQUIRE = "load-acquire"
    """A load that waits until others see the store-releases before it."""
    ATOMIC = "atomic"
    """Loads and stores in one, where all see it: never from a buffer."""
    ATOMIC_RELEASE = "atomic release"
    """The same, when others see all that came before it."""
