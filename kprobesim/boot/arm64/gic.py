"""GICv2: the distributor, and the interfaces of up to eight CPUs (ARM IHI 0048B). Level lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kprobesim.boot.arm64.gic_interface import BANKED, SGIS, GicInterface
from kprobesim.boot.arm64.gic_of_one_cpu import divide
from kprobesim.boot.state import Block, Number, Numbers, Parts, Put, Saved, fields, parse_fields

__all__ = ["SPURIOUS", "Gic"]

LINES = 96
SPURIOUS = 1023

_WORDS = LINES // 32
_ALL = (1 << LINES) - 1
_BANK = (1 << BANKED) - 1
_IIDR = 0x0200_043B  # an implementation of Arm's
_PIDR2 = 0x2B  # architecture version 2
_TO_OTHERS, _TO_ITSELF = 1, 2  # GICD_SGIR's filter


class Gic(Saved):
    """``output(cpu, level)`` is the line to a CPU; ``set_line`` are the devices' lines.

    The state of interrupt n from 32 on is bit n of ``enabled``, ``latched`` (software made it
    pending), ``active`` and ``_lines``; that of the others is in ``interfaces``, for each CPU.
    """

    SAVED = fields(
        enabled=Number(LINES),
        latched=Number(LINES),
        active=Number(LINES),
        _lines=Number(LINES),
        _priority=Block(LINES),
        _targets=Block(LINES),
        _config=Numbers(LINES // 16, 64),
        _group=Numbers(_WORDS, 64),
        _on=Number(2),
    )

    def __init__(
        self,
        output: Callable[[int, bool], None],
        cpus: int = 1,
        current: Callable[[], int] = lambda: 0,
        taken: Callable[[int], None] = lambda cpu: None,
    ) -> None:
        """A GIC after its reset.

        Args:
            output: Told of a CPU's number, and whether it is being interrupted, when that changes.
            cpus: How many there are, from 1 to 8.
            current: Says which one accesses a register.
            taken: Called with a CPU that has acknowledged an interrupt.
        """
        self._output = output
        self._current = current
        self._taken = taken
        self._parts = Parts(GicInterface.SAVED, cpus)
        self.interfaces = [GicInterface() for _ in range(cpus)]
        self.enabled = self.latched = self.active = self._lines = 0
        self._priority = bytearray(LINES)
        self._targets = bytearray(LINES)
        self._config = [0] * (LINES // 16)
        self._group = [0] * _WORDS
        self._on = 0

    def save(self) -> dict[str, Any]:
        """The state as plain data, that of the interfaces in it."""
        return {**super().save(), "interfaces": self._parts.plain(self.interfaces)}

    def parse(self, state: object, where: str) -> Put:
        """Check ``state``; from before there were interfaces, it is that of a board with one."""
        if isinstance(state, dict) and "interface_on" in state and len(self.interfaces) == 1:
            state = divide(state, where)
        kinds = {**self.SAVED, "interfaces": self._parts}
        return parse_fields(self, kinds, state, where)

    def level(self, cpu: int) -> bool:
        """Whether CPU number ``cpu`` is being interrupted."""
        return self.interfaces[cpu].level

    def set_line(self, interrupt: int, level: bool, cpu: int = 0) -> None:
        """A device raises or lowers its line; one below 32 is that of the device of ``cpu``."""
        bit = 1 << interrupt
        if interrupt < BANKED:
            own = self.interfaces[cpu]
            lines = own.lines | bit if level else own.lines & ~bit
            if lines != own.lines:
                own.lines = lines
                self._tell(cpu)
            return
        lines = self._lines | bit if level else self._lines & ~bit
        if lines != self._lines:
            self._lines = lines
            self._update()

    def _best(self, cpu: int) -> int:
        """The interrupt that CPU number ``cpu`` should take now, or SPURIOUS."""
        own = self.interfaces[cpu]
        if not (self._on & 1 and own.on & 1):
            return SPURIOUS
        waiting = own.waiting | (self.latched | self._lines) & self.enabled & ~self.active
        best, limit = SPURIOUS, own.threshold
        while waiting:
            low = waiting & -waiting
            interrupt = low.bit_length() - 1
            priority = (own.priority if interrupt < BANKED else self._priority)[interrupt]
            if priority < limit and self._goes_to(cpu, interrupt):
                best, limit = interrupt, priority
            waiting ^= low
        return best

    def _goes_to(self, cpu: int, interrupt: int) -> bool:
        """Whether it is one for that CPU; where there is only one, nothing is asked."""
        one = interrupt < BANKED or len(self.interfaces) == 1
        return one or bool(self._targets[interrupt] >> cpu & 1)

    def _update(self) -> None:
        for cpu in range(len(self.interfaces)):
            self._tell(cpu)

    def _tell(self, cpu: int) -> None:
        level = self._best(cpu) != SPURIOUS
        own = self.interfaces[cpu]
        if level != own.level:
            own.level = level
            self._output(cpu, level)

    # -- the distributor's registers ---------------------------------------------------------------

    def read_distributor(self, offset: int, size: int) -> int:
        """A register, or some bytes of those that can be read by the byte."""
        own = self.interfaces[self._current()]
        if 0x400 <= offset < 0x400 + LINES:
            at = offset - 0x400
            return _bytes_of(own.priority if at < BANKED else self._priority, at, size)
        if 0x800 <= offset < 0x800 + LINES:
            at = offset - 0x800
            itself = bytes([1 << self._current()]) * BANKED
            return _bytes_of(itself if at < BANKED else self._targets, at, size)
        if 0xF10 <= offset < 0xF30:
            return int.from_bytes(bytes(own.senders[offset & 15 :][:size]), "little")
        if offset == 0:
            return self._on
        if offset == 4:
            return LINES // 32 - 1 | len(self.interfaces) - 1 << 5  # no security extensions
        if offset == 8:
            return _IIDR
        if offset == 0xFE8:
            return _PIDR2
        bank, word = offset & ~0x7F, (offset & 0x7C) // 4
        if bank == 0xC00 or bank == 0xC80:
            index = (offset - 0xC00) // 4
            config = own.config if index < len(own.config) else self._config
            return config[index] if index < len(config) else 0
        if word >= _WORDS:
            return 0
        if bank == 0x80:
            return self._group[word] if word else own.group
        bits = {
            0x100: self.enabled | own.enabled,
            0x180: self.enabled | own.enabled,
            0x200: self.latched | self._lines | own.latched | own.lines,
            0x280: self.latched | self._lines | own.latched | own.lines,
            0x300: self.active | own.active,
            0x380: self.active | own.active,
        }.get(bank, 0)
        return bits >> 32 * word & _BANK

    def write_distributor(self, offset: int, size: int, value: int) -> None:
        """Write a register; what this board does not have ignores it, as the manual wants."""
        own = self.interfaces[self._current()]
        bank, word = offset & ~0x7F, (offset & 0x7C) // 4
        if 0x400 <= offset < 0x400 + LINES:
            at = offset - 0x400
            _put_bytes(own.priority if at < BANKED else self._priority, at, size, value)
        elif 0x820 <= offset < 0x800 + LINES:
            _put_bytes(self._targets, offset - 0x800, size, value)
        elif offset == 0:
            self._on = value & 3
        elif offset == 0xF00:
            self._send(value)
        elif 0xF10 <= offset < 0xF30:
            change = own.cancel if offset < 0xF20 else own.pend
            for index in range(size):
                change((offset + index) & 15, value >> 8 * index & 0xFF)
        elif 0xC00 <= offset < 0xC00 + 4 * len(self._config):
            index = (offset - 0xC00) // 4
            (own.config if index < len(own.config) else self._config)[index] = value
        elif word < _WORDS and bank == 0x80:
            if word:
                self._group[word] = value
            else:
                own.group = value
        elif word < _WORDS:
            bits = (value & _BANK) << 32 * word & _ALL
            _set_or_clear(self if word else own, bank, bits)
        self._update()

    def _send(self, value: int) -> None:
        """GICD_SGIR: an interrupt from software, to a list of CPUs, to all others or to itself."""
        sender = self._current()
        to, targets, interrupt = value >> 24 & 3, value >> 16 & 0xFF, value & 0xF
        if to == _TO_ITSELF:
            targets = 1 << sender
        elif to == _TO_OTHERS:
            targets = ~(1 << sender)
        for cpu, interface in enumerate(self.interfaces):
            if to <= _TO_ITSELF and targets >> cpu & 1:
                interface.pend(interrupt, 1 << sender)

    # -- the CPU interface's registers -------------------------------------------------------------

    def read_interface(self, offset: int, _size: int) -> int:
        """A register; reading the acknowledge register takes the interrupt."""
        cpu = self._current()
        own = self.interfaces[cpu]
        if offset == 0x0C:
            return self._acknowledge(cpu, own)
        if offset == 0:
            return own.on
        if offset == 4:
            return own.mask
        if offset == 8:
            return own.binary_point
        if offset == 0x14:
            return own.running[-1][1] if own.running else 0xFF
        if offset == 0x18:
            best = self._best(cpu)
            return best | own.next_sender(best) << 10
        return 0x0002_043B if offset == 0xFC else 0

    def write_interface(self, offset: int, _size: int, value: int) -> None:
        """Write a register; the end-of-interrupt register ends the newest interrupt."""
        own = self.interfaces[self._current()]
        if offset == 0x10:
            own.drop(value & 0x3FF)
            if not own.on & 0x200:  # EOImodeNS: GICC_DIR does it
                self._deactivate(own, value & 0x3FF)
        elif offset == 0x1000:
            self._deactivate(own, value & 0x3FF)
        elif offset == 0:
            own.on = value
        elif offset == 4:
            own.mask = value & 0xFF
        elif offset == 8:
            own.binary_point = value & 7
        self._update()

    def _acknowledge(self, cpu: int, own: GicInterface) -> int:
        interrupt = self._best(cpu)
        if interrupt == SPURIOUS:
            return interrupt
        self._taken(cpu)
        sender = own.next_sender(interrupt)
        if interrupt < BANKED:
            own.take(interrupt, sender)
        else:
            self.active |= 1 << interrupt
            self.latched &= ~(1 << interrupt)
            own.running.append((interrupt, self._priority[interrupt]))
        self._update()
        return interrupt | sender << 10

    def _deactivate(self, own: GicInterface, interrupt: int) -> None:
        if interrupt < BANKED:
            own.active &= ~(1 << interrupt)
        else:
            self.active &= ~(1 << interrupt)


def _bytes_of(array: bytes | bytearray, at: int, size: int) -> int:
    return int.from_bytes(array[at : at + size], "little")


def _put_bytes(array: bytearray, at: int, size: int, value: int) -> None:
    for index in range(min(size, len(array) - at)):
        array[at + index] = value >> 8 * index & 0xFF


def _set_or_clear(whose: Gic | GicInterface, bank: int, bits: int) -> None:
    """Write one of the registers that set bits, or one of those that clear them.

    SGIs stay enabled, and pending until they are taken or GICD_CPENDSGIR says so.
    """
    if bank == 0x100:
        whose.enabled |= bits
    elif bank == 0x180:
        whose.enabled &= ~bits | SGIS
    elif bank == 0x200:
        whose.latched |= bits & ~SGIS
    elif bank == 0x280:
        whose.latched &= ~bits | SGIS
    elif bank == 0x300:
        whose.active |= bits
    elif bank == 0x380:
        whose.active &= ~bits
