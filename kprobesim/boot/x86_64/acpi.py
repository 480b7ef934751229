"""The least of ACPI that lets a kernel find its CPUs, switch off and restart a PC (ACPI 6.4).

RSDP -> RSDT -> MADT, and FADT -> FACS and DSDT. The DSDT holds one object, ``_S5``: the sleep type
of "off".
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable

from kprobesim.boot.state import Number, Saved, fields
from kprobesim.boot.x86_64.madt import MADT_SIGNATURE, madt

__all__ = ["PowerPorts", "write_tables"]

_RSDP = 0xF0000  # kernels search 0xe0000-0xfffff
_RSDT, _FADT, _FACS, _DSDT, _MADT = 0xF0040, 0xF0080, 0xF0200, 0xF0240, 0xF0300

_EVENTS, _CONTROL, _RESET = 0x600, 0x604, 0xCF9
_SCI_IRQ = 9
_SLEEP_OFF = 5
_SLEEP_ENABLE = 1 << 13
_RESET_VALUE = 6
_SCI_ENABLED = 1

# FADT flags: WBINVD works, C1 works, no fixed power and sleep buttons, the reset register is there.
_FLAGS = 1 << 0 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 10
_BOOT_ARCH = 1 << 0 | 1 << 2  # ISA devices; no VGA. (Bit 1 would be a keyboard controller.)
_CENTURY = 0x32  # index of that byte in the clock's RAM

# Name (_S5_, Package (2) {5, 5})
_AML = b"\x08_S5_\x12\x06\x02" + bytes((0x0A, _SLEEP_OFF)) * 2


def _checksum(table: bytes | bytearray) -> int:
    return -sum(table) & 0xFF


def _table(signature: bytes, revision: int, body: bytes) -> bytes:
    header = struct.pack(
        "<4sIBB6s8sI4sI",
        *(signature, 36 + len(body), revision, 0),
        *(b"KPSIM ", b"KPROBSIM", 1, b"KPSM", 1),
    )
    table = bytearray(header + body)
    table[9] = _checksum(table)
    return bytes(table)


def _fadt() -> bytes:
    """Revision 3; the offsets are those of the specification, section 5.2.9."""
    table = bytearray(244)
    put = struct.pack_into
    put("<II", table, 36, _FACS, _DSDT)
    put("<H", table, 46, _SCI_IRQ)
    put("<I", table, 56, _EVENTS)
    put("<I", table, 64, _CONTROL)
    put("<BB", table, 88, 4, 2)  # bytes of the event and the control registers
    put("<HH", table, 96, 0xFFFF, 0xFFFF)  # no C2, no C3
    put("<B", table, 108, _CENTURY)
    put("<H", table, 109, _BOOT_ARCH)
    put("<I", table, 112, _FLAGS)
    put("<BBBBQB", table, 116, 1, 8, 0, 1, _RESET, _RESET_VALUE)
    return _table(b"FACP", 3, bytes(table[36:]))


def write_tables(ram: mmap.mmap, cpus: int = 0) -> None:
    """Put the tables where a PC's firmware has them.

    Args:
        ram: Where to.
        cpus: How many CPUs with local APICs there are; 0: none, but one without.
    """
    places = (_FADT, _MADT) if cpus else (_FADT,)
    rsdp = bytearray(struct.pack("<8sB6sBI", b"RSD PTR ", 0, b"KPSIM ", 0, _RSDT))
    rsdp[8] = _checksum(rsdp)
    for at, table in (
        (_RSDP, bytes(rsdp)),
        (_RSDT, _table(b"RSDT", 1, struct.pack(f"<{len(places)}I", *places))),
        (_FADT, _fadt()),
        (_FACS, struct.pack("<4sI24xB31x", b"FACS", 64, 1)),
        (_DSDT, _table(b"DSDT", 1, _AML)),
        *([(_MADT, _table(MADT_SIGNATURE, 3, madt(cpus)))] if cpus else []),
    ):
        ram[at : at + len(table)] = table


class PowerPorts(Saved):
    """The power management registers and the reset register."""

    PORTS = (*range(_EVENTS, _CONTROL + 2), _RESET)
    SAVED = fields(_enabled=Number(16), _control=Number(16))

    def __init__(self, power_off: Callable[[], None], restart: Callable[[], None]) -> None:
        self._power_off = power_off
        self._restart = restart
        self._enabled = 0
        self._control = _SCI_ENABLED

    def read(self, port: int, size: int) -> int:
        """IN. No event ever happens."""
        if port == _RESET:
            return 0
        block = self._enabled << 16 | self._control << 32
        return block >> 8 * (port - _EVENTS) & (1 << 8 * size) - 1

    def write(self, port: int, size: int, value: int) -> None:
        """OUT."""
        if port == _RESET:
            if value & 4:
                self._restart()
        elif port == _EVENTS + 2:
            self._enabled = value & 0xFFFF
        elif port == _CONTROL and size >= 2:
            if value & _SLEEP_ENABLE and value >> 10 & 7 == _SLEEP_OFF:
                self._power_off()
            self._control = value & 0x1C06 | _SCI_ENABLED
