"""PSCI, the firmware's interface (ARM DEN 0022D): CPUs on and off, power off, restart."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from kprobesim.boot.state import Saved, Tuples, fields
from kprobesim.boot.stop import Stop
from kprobesim.sizes import MASK32, MASK64

__all__ = ["Psci", "Start"]

_VERSION, _MIGRATE_INFO_TYPE = 0x8400_0000, 0x8400_0006
_SYSTEM_OFF, _SYSTEM_RESET, _FEATURES = 0x8400_0008, 0x8400_0009, 0x8400_000A
_CPU_SUSPEND = (0x8400_0001, 0xC400_0001)
_CPU_OFF = 0x8400_0002
_CPU_ON = (0x8400_0003, 0xC400_0003)
_AFFINITY_INFO = (0x8400_0004, 0xC400_0004)
_KNOWN = (
    *(_VERSION, _MIGRATE_INFO_TYPE, _SYSTEM_OFF, _SYSTEM_RESET, _FEATURES, _CPU_OFF),
    *(*_CPU_SUSPEND, *_CPU_ON, *_AFFINITY_INFO),
)
_64_BIT = 1 << 30  # of a function's number: its arguments are that long
_1_0 = 0x1_0000
_NO_TRUSTED_OS = 2
_ON, _OFF, _ON_PENDING = range(3)

_SUCCESS = 0
_NOT_SUPPORTED = MASK64
_INVALID_PARAMETERS = MASK64 - 1
_ALREADY_ON = MASK64 - 3
_PENDING = MASK64 - 4


class Start(NamedTuple):
    """A CPU that is to be switched on.

    Attributes:
        cpu: Its number.
        entry: The physical address where it starts.
        context: What it finds in x0.
    """

    cpu: int
    entry: int
    context: int


class Power(Protocol):
    """What the firmware asks the board."""

    def end(self, kind: Stop) -> None:
        """The guest comes to its end."""

    def is_on(self, cpu: int) -> bool:
        """Whether CPU number ``cpu`` is on."""

    def switch_off(self) -> None:
        """Switch the CPU that runs off."""

    def wait(self) -> None:
        """The CPU that runs waits for an interrupt."""


class Psci(Saved):
    """The firmware of ``cpus`` CPUs, whose affinity is their number.

    Attributes:
        starting: Which CPUs are to be switched on, as soon as the one that runs is at rest.
    """

    SAVED = fields(starting=Tuples(8, (3, 64, 64)))

    def __init__(self, power: Power, cpus: int = 1) -> None:
        self._power = power
        self._cpus = cpus
        self.starting: list[tuple[int, int, int]] = []

    def take_starting(self) -> list[Start]:
        """Who is to be switched on, each told once."""
        starting = [Start(*start) for start in self.starting]
        self.starting.clear()
        return starting

    def call(self, function: int, argument: int, second: int = 0, third: int = 0) -> int:
        """What the firmware returns in x0.

        Args:
            function: Which of its functions.
            argument: x1, and so on.
            second: x2.
            third: x3.
        """
        if not function & _64_BIT:
            argument, second, third = argument & MASK32, second & MASK32, third & MASK32
        if function == _VERSION:
            return _1_0
        if function == _MIGRATE_INFO_TYPE:
            return _NO_TRUSTED_OS
        if function == _FEATURES:
            return _SUCCESS if argument & MASK32 in _KNOWN else _NOT_SUPPORTED
        if function in _AFFINITY_INFO:
            return self._affinity_info(argument)
        if function in _CPU_ON:
            return self._cpu_on(argument, second, third)
        if function == _SYSTEM_OFF:
            self._power.end(Stop.POWER_OFF)
        elif function == _SYSTEM_RESET:
            self._power.end(Stop.RESTART)
        elif function == _CPU_OFF:
            self._power.switch_off()
        elif function in _CPU_SUSPEND:
            self._power.wait()  # any state may be a standby, from which the call returns (5.4)
        else:
            return _NOT_SUPPORTED
        return _SUCCESS

    def _affinity_info(self, cpu: int) -> int:
        if cpu >= self._cpus:
            return _INVALID_PARAMETERS
        if self._is_starting(cpu):
            return _ON_PENDING
        return _ON if self._power.is_on(cpu) else _OFF

    def _cpu_on(self, cpu: int, entry: int, context: int) -> int:
        if cpu >= self._cpus:
            return _INVALID_PARAMETERS
        if self._is_starting(cpu):
            return _PENDING
        if self._power.is_on(cpu):
            return _ALREADY_ON
        self.starting.append((cpu, entry, context))
        return _SUCCESS

    def _is_starting(self, cpu: int) -> bool:
        return any(starting == cpu for starting, _, _ in self.starting)
