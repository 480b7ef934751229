"""Guest memory from the host's side: allocation, regions, text that stays coherent."""

from __future__ import annotations

import struct

import pytest

from kprobesim import GuestMemoryError, Kernel, UsageError

_RETURN = {
    # mov eax, imm32; ret
    "x86_64": lambda value: b"\xb8" + struct.pack("<I", value) + b"\xc3",
    # mov w0, #imm16; ret
    "arm64": lambda value: struct.pack("<2I", 0x52800000 | value << 5, 0xD65F03C0),
}


def test_alloc_write_read_free(guest: Kernel) -> None:
    a, b = guest.alloc(64), guest.alloc(64)
    assert abs(a - b) >= 64
    guest.write(a, b"abc\0def")
    assert guest.read(a, 7) == b"abc\0def"
    assert guest.read_cstr(a) == b"abc"
    guest.free(a)
    assert guest.alloc(64) == a
    assert guest.read(a, 64) == bytes(64)


def test_wrong_addresses_are_named(guest: Kernel) -> None:
    for action in (
        lambda: guest.read(0x10, 4),
        lambda: guest.write(0xDEAD_0000_0000, b"x"),
        lambda: guest.read_cstr(0),
    ):
        with pytest.raises(GuestMemoryError, match="nothing is mapped"):
            action()
    with pytest.raises(UsageError):
        guest.free(0x1234)
    for size in (0, -1):
        with pytest.raises(UsageError):
            guest.alloc(size)
    with pytest.raises(UsageError, match="integer"):
        guest.alloc("64")  # type: ignore[arg-type]


def test_wrong_types_are_refused(guest: Kernel) -> None:
    address = guest.alloc(8)
    for action in (
        lambda: guest.read("0x1000", 4),  # type: ignore[arg-type]
        lambda: guest.read(address, 4.0),  # type: ignore[arg-type]
        lambda: guest.read(address, -1),
        lambda: guest.write(address, 5),  # type: ignore[arg-type]
        lambda: guest.write(address, "text"),  # type: ignore[arg-type]
        lambda: guest.read_cstr(None),  # type: ignore[arg-type]
        lambda: guest.call("strlen", "x", timeout="soon"),  # type: ignore[arg-type]
        lambda: guest.call("strlen", "x", max_instructions=1.5),  # type: ignore[arg-type]
        lambda: guest.call(1.5),  # type: ignore[arg-type]
        lambda: guest.call("strlen", "x", max_instructions=1 << 70),
        lambda: guest.free("x"),  # type: ignore[arg-type]
        lambda: guest.alloc(1 << 40),
        lambda: guest.symbols[5],  # type: ignore[index]
        lambda: guest.symbols.at("strlen"),  # type: ignore[arg-type]
        lambda: guest.unregister_kprobe(None),  # type: ignore[arg-type]
        lambda: guest.register_kprobes([None]),  # type: ignore[list-item]
        lambda: Kernel.load(None),  # type: ignore[arg-type]
        lambda: Kernel.load("x", symbols=3),  # type: ignore[arg-type]
        lambda: Kernel.load(guest.image.path, memory=[]),  # type: ignore[arg-type]
        lambda: Kernel.load(guest.image.path, stepping=["trap"]),  # type: ignore[arg-type]
    ):
        with pytest.raises(UsageError):
            action()


def test_reads_across_regions(guest: Kernel) -> None:
    """The image's text and constants are neighbours with different protection."""
    end = guest.image.text_ranges[0][1]
    joined = guest.read(end - 8, 8)
    assert guest.read(end - 8, 4) + guest.read(end - 4, 4) == joined


def test_executable_memory_runs_and_can_be_rewritten(guest: Kernel) -> None:
    code = guest.alloc(16, executable=True)
    for value in (1, 77, 500):
        guest.write(code, _RETURN[guest.arch](value))
        assert guest.call(code) == value


def test_pokes_are_recorded(with_breakpoints: Kernel) -> None:
    guest = with_breakpoints
    code = guest.alloc(16, executable=True)
    guest.machine.text.log.clear()
    heard: list[object] = []
    guest.machine.text.listeners.append(heard.append)
    with guest.probing("strlen") as p:
        pass
    who = [poke.who for poke in guest.machine.text.log if poke.address == p.addr]
    assert who == ["kprobe arm", "kprobe disarm"]
    guest.write(code, b"\0\0\0\0")
    poke = guest.machine.text.log[-1]
    assert (poke.address, poke.new, poke.who) == (code, b"\0\0\0\0", "host")
    assert heard == list(guest.machine.text.log)


def test_memory_is_configurable(sample: object) -> None:
    assert Kernel.load(sample, memory="512M").machine.memory.size == 512 << 20  # type: ignore[arg-type]
    for wrong in ("12", "lots", "1T", 4096, 1 << 30 | 1):
        with pytest.raises(UsageError):
            Kernel.load(sample, memory=wrong)  # type: ignore[arg-type]
