"""PCI configuration space with nothing on the bus but the host bridge.

A kernel that finds no bridge reports that as an error (arch/x86/pci/direct.c, pci_sanity_check()).
"""

from __future__ import annotations

import struct

from kprobesim.boot.state import Number, Saved, fields

__all__ = ["PciPorts"]

_ADDRESS, _DATA = 0xCF8, 0xCFC
_ENABLE = 1 << 31

# An i440FX: vendor 8086, device 1237, revision 2, class 0600 (host bridge), one function, no BARs.
_BRIDGE = struct.pack("<HHHHII", 0x8086, 0x1237, 0, 0, 0x0600_0002, 0) + bytes(240)


class PciPorts(Saved):
    """Configuration mechanism 1: the address at port 0xcf8, the data at 0xcfc-0xcff."""

    PORTS = (_ADDRESS, *range(_DATA, _DATA + 4))
    SAVED = fields(_address=Number())

    def __init__(self) -> None:
        self._address = 0

    def read(self, port: int, size: int) -> int:
        """IN."""
        ones = (1 << 8 * size) - 1
        if port == _ADDRESS:
            return self._address & ones if size == 4 else ones
        if not self._address & _ENABLE or self._address & 0x00FF_FF00:
            return ones
        at = (self._address & 0xFC) + port - _DATA
        return int.from_bytes(_BRIDGE[at : at + size], "little")

    def write(self, port: int, size: int, value: int) -> None:
        """OUT. The bridge has no register that can be written."""
        if port == _ADDRESS and size == 4:
            self._address = value & 0xFFFF_FFFC
