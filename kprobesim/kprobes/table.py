"""``kprobe_table``: which probe is at an address, and in which order the kernel walks them all."""

from __future__ import annotations

from collections.abc import Iterator

from kprobesim.kprobes.aggregate import AggrKprobe
from kprobesim.kprobes.kprobe import Kprobe, KprobeFlag, ListType
from kprobesim.sizes import MASK64

__all__ = ["KprobeTable", "has_jprobe", "members"]

_HASH_BITS = 6
_GOLDEN_RATIO_64 = 0x61C8864680B583EB  # hash_ptr() of include/linux/hash.h


class KprobeTable:
    """``heads`` has the probe or the aggregate at each address, in order of registration."""

    def __init__(self) -> None:
        self.heads: dict[int, Kprobe] = {}
        self._registered: dict[int, tuple[Kprobe, int]] = {}

    def __len__(self) -> int:
        return len(self._registered)

    def __iter__(self) -> Iterator[Kprobe]:
        """All registered probes, in order of registration."""
        return iter([p for p, _ in self._registered.values()])

    def __contains__(self, p: object) -> bool:
        """Whether this very probe is registered."""
        return id(p) in self._registered

    def head(self, p: Kprobe) -> Kprobe | None:
        """``__get_valid_kprobe()``: ``p`` or the aggregate that it belongs to."""
        found = self._registered.get(id(p))
        return None if found is None else self.heads.get(found[1])

    def add(self, p: Kprobe, head: Kprobe) -> None:
        """``p`` is registered now, behind ``head``."""
        address = head.addr or 0
        self.heads[address] = head
        self._registered[id(p)] = p, address
        p.registered_at = address

    def remove(self, p: Kprobe) -> None:
        """``p`` is no longer registered; its address is free when nobody else is there."""
        _, address = self._registered.pop(id(p))
        p.registered_at = None
        head = self.heads[address]
        if isinstance(head, AggrKprobe):
            head.remove(p)
            if head.children:
                return
        del self.heads[address]

    def in_kernel_order(self) -> Iterator[tuple[Kprobe, Kprobe]]:
        """(head, probe) by bucket, the newest head of a bucket first, then as handlers are called.

        That is the order of debugfs' list, and of whatever is done to all probes.
        """
        newest_first = list(enumerate(self.heads.values()))
        newest_first.sort(key=lambda item: (_bucket(item[1].addr or 0), -item[0]))
        for _, head in newest_first:
            for p in members(head):
                yield head, p


def members(head: Kprobe) -> list[Kprobe]:
    """The probes behind ``head``: its children, or itself."""
    return list(head.children) if isinstance(head, AggrKprobe) else [head]


def has_jprobe(head: Kprobe) -> bool:
    """Whether there is a jprobe behind ``head`` that has not gone."""
    return any(
        p.list_type is ListType.JPROBE and not p.flags & KprobeFlag.GONE for p in members(head)
    )


def _bucket(address: int) -> int:
    return (address * _GOLDEN_RATIO_64 & MASK64) >> 64 - _HASH_BITS
