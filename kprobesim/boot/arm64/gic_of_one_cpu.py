"""States of a GIC from before it had several interfaces, as they are in older snapshots.

All 96 interrupts were kept together then.
"""

from __future__ import annotations

from typing import Any

from kprobesim.boot.arm64.gic_interface import BANKED, GicInterface
from kprobesim.boot.state import (
    Block,
    Flag,
    Number,
    Numbers,
    Parts,
    Tuples,
    fields,
    parse_fields,
    save_fields,
)

__all__ = ["divide"]

_LINES = 96
_BANK = (1 << BANKED) - 1

_BITS = {name: Number(_LINES) for name in ("enabled", "latched", "active", "lines")}
_SHARED = fields(
    **_BITS,
    priority=Block(_LINES),
    targets=Block(_LINES),
    config=Numbers(_LINES // 16, 64),
    group=Numbers(_LINES // 32, 64),
)
_OLD = fields(
    **_SHARED,
    level=Flag(),
    distributor_on=Number(2),
    interface_on=Number(64),
    mask=Number(8),
    binary_point=Number(3),
    running=Tuples(_LINES, (10, 9)),
)


class _OldGic:
    def __init__(self) -> None:
        self.enabled = self.latched = self.active = self.lines = 0
        self.priority, self.targets = bytearray(_LINES), bytearray(_LINES)
        self.config, self.group = [0] * (_LINES // 16), [0] * (_LINES // 32)
        self.level = False
        self.distributor_on = self.interface_on = self.mask = self.binary_point = 0
        self.running: list[tuple[int, int]] = []


def divide(state: object, where: str) -> dict[str, Any]:
    """``state`` as one with one interface; raises :class:`UsageError` for a damaged one."""
    old, own = _OldGic(), GicInterface()
    parse_fields(old, _OLD, state, where)()
    for name in _BITS:
        bits = getattr(old, name)
        setattr(own, name, bits & _BANK)
        setattr(old, name, bits & ~_BANK)
    own.senders[:] = [own.latched >> interrupt & 1 for interrupt in range(16)]
    own.priority[:] = old.priority[:BANKED]
    own.config[:] = old.config[:2]
    own.group, own.running = old.group[0], old.running
    own.level, own.on = old.level, old.interface_on
    own.mask, own.binary_point = old.mask, old.binary_point
    return {
        **save_fields(old, _SHARED),
        "on": old.distributor_on,
        "interfaces": Parts(GicInterface.SAVED).plain(own),
    }
