"""The clock, the PCI bus and the ACPI tables of the x86-64 board."""

from __future__ import annotations

import mmap
import struct

import pytest

from kprobesim.boot.x86_64.acpi import PowerPorts, write_tables
from kprobesim.boot.x86_64.cmos import Cmos
from kprobesim.boot.x86_64.pci import PciPorts


def test_clock_starts_at_its_epoch_and_goes_on() -> None:
    now = 0
    cmos = Cmos(lambda: now)

    def read(index: int) -> int:
        cmos.write(0x70, 1, index)
        return cmos.read(0x71, 1)

    assert [read(n) for n in (0x32, 9, 8, 7, 4, 2, 0)] == [0x20, 0x25, 1, 1, 0, 0, 0]
    now = (59 * 60 + 58) * 10**9
    assert [read(n) for n in (4, 2, 0)] == [0, 0x59, 0x58]
    cmos.write(0x70, 1, 0x0B)
    cmos.write(0x71, 1, 6)
    assert [read(n) for n in (2, 0)] == [59, 58], "binary"
    assert not read(0x0A) & 0x80, "no update in progress"


def test_only_the_host_bridge_is_on_the_bus() -> None:
    pci = PciPorts()
    pci.write(0xCF8, 4, 0x8000_0000)
    assert pci.read(0xCF8, 4) == 0x8000_0000
    assert pci.read(0xCFC, 4) == 0x1237_8086
    pci.write(0xCF8, 4, 0x8000_0008)
    assert pci.read(0xCFE, 2) == 0x0600
    pci.write(0xCF8, 4, 0x8000_0800)
    assert pci.read(0xCFC, 4) == 0xFFFF_FFFF
    pci.write(0xCF8, 4, 0)
    assert pci.read(0xCFC, 2) == 0xFFFF


def test_acpi_tables_are_linked_and_sum_up_to_zero() -> None:
    ram = mmap.mmap(-1, 1 << 20)
    write_tables(ram)
    rsdp = ram.find(b"RSD PTR ", 0xE0000)
    assert rsdp % 16 == 0
    assert sum(ram[rsdp : rsdp + 20]) % 256 == 0

    def table(at: int, signature: bytes) -> bytes:
        found, length = struct.unpack_from("<4sI", ram, at)
        assert found == signature
        data = ram[at : at + length]
        assert sum(data) % 256 == 0 or signature == b"FACS"
        return data

    (rsdt,) = struct.unpack_from("<I", ram, rsdp + 16)
    (fadt,) = struct.unpack_from("<I", table(rsdt, b"RSDT"), 36)
    facs, dsdt = struct.unpack_from("<II", table(fadt, b"FACP"), 36)
    assert facs % 64 == 0
    assert len(table(facs, b"FACS")) == 64
    assert b"_S5_" in table(dsdt, b"DSDT")


@pytest.mark.parametrize(
    ("port", "size", "value", "what"),
    [
        (0x604, 2, 0x3401, "off"),
        (0x604, 2, 0x2401, ""),  # another sleep type
        (0x604, 2, 0x1401, ""),  # not enabled
        (0xCF9, 1, 6, "restart"),
        (0xCF9, 1, 2, ""),
    ],
)
def test_power_ports(port: int, size: int, value: int, what: str) -> None:
    seen: list[str] = []
    ports = PowerPorts(lambda: seen.append("off"), lambda: seen.append("restart"))
    assert ports.read(0x604, 2) & 1, "ACPI mode"
    ports.write(port, size, value)
    assert "".join(seen) == what
