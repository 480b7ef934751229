"""PSCI, the firmware's interface (ARM DEN 0022D): version, power off, restart."""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.boot.stop import Stop
from kprobesim.sizes import MASK64

__all__ = ["Psci"]

_VERSION, _MIGRATE_INFO_TYPE = 0x8400_0000, 0x8400_0006
_SYSTEM_OFF, _SYSTEM_RESET, _FEATURES = 0x8400_0008, 0x8400_0009, 0x8400_000A
_AFFINITY_INFO = (0x8400_0004, 0xC400_0004)
_CPU_OFF = 0x8400_0002
_KNOWN = (_VERSION, _MIGRATE_INFO_TYPE, _SYSTEM_OFF, _SYSTEM_RESET, _FEATURES, *_AFFINITY_INFO)
_NOT_SUPPORTED = MASK64
_1_0 = 0x1_0000
_NO_TRUSTED_OS = 2


class Psci:
    """``stop(kind)`` ends the guest."""

    def __init__(self, stop: Callable[[Stop], None]) -> None:
        self._stop = stop

    def call(self, function: int, argument: int) -> int:
        """What the firmware returns in x0 for function ``function`` with first ``argument``."""
        if function == _VERSION:
            return _1_0
        if function == _MIGRATE_INFO_TYPE:
            return _NO_TRUSTED_OS
        if function == _FEATURES:
            return 0 if argument & 0xFFFF_FFFF in _KNOWN else _NOT_SUPPORTED
        if function in _AFFINITY_INFO:
            return 0 if argument & 0xFFFF_FFFF == 0 else 1  # CPU 0 is on
        if function == _SYSTEM_OFF:
            self._stop(Stop.POWER_OFF)
        elif function == _SYSTEM_RESET:
            self._stop(Stop.RESTART)
        elif function == _CPU_OFF:
            self._stop(Stop.HALT)
        else:
            return _NOT_SUPPORTED
        return 0
