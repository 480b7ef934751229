"""A few ARM64 instructions, and what is made of them: a bare guest, and an init for a real one."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

from kprobesim.image import KernelImage
from kprobesim.image.segment import Segment

SVC, SMC, WFI, BRK = 0xD4000001, 0xD4000003, 0xD503207F, 0xD4200000
LOOP = 0x14000000  # b .
READ_COUNTER = 0xD53BE040  # mrs x0, cntvct_el0
SET_TIMER, START_TIMER = 0xD51BE200, 0xD51BE220  # msr cntp_tval_el0, x0 / cntp_ctl_el0, x0
UART = 0x0900_0000
_BASE = 0xFFFF_8000_0800_0000


def mov(register: int, value: int) -> list[int]:
    """Load 64 bits."""
    return [
        (0xF2800000 if part else 0xD2800000) | part << 21 | (value >> 16 * part & 0xFFFF) << 5
        | register
        for part in range(4)
    ]  # fmt: skip


def store(register: int, base: int) -> int:
    """Str w, [x]."""
    return 0xB9000000 | base << 5 | register


def load(register: int, base: int) -> int:
    """Ldr w, [x]."""
    return 0xB9400000 | base << 5 | register


def say(text: str) -> list[int]:
    """Print on the UART of the board, with no MMU."""
    code = mov(1, UART)
    for char in text:
        code += [*mov(0, ord(char)), store(0, 1)]
    return code


def firmware(function: int) -> list[int]:
    """Call PSCI."""
    return [*mov(0, function), SMC]


POWER_OFF = firmware(0x8400_0008)


def bare_guest(code: Sequence[int], *, flags: int = 0xA) -> KernelImage:
    """A "kernel" of a boot header and ``code``."""
    head = struct.pack("<II3Q24x4sI", LOOP | 16, 0, 0, 0x10000, flags, b"ARM\x64", 0)
    data = head + struct.pack(f"<{len(code)}I", *code)
    segment = Segment(_BASE, 0, memoryview(data), 0x10000, True, True, True, "Image")
    return KernelImage(
        Path("bare"), "arm64", "Image", _BASE, [segment], read_columns=lambda _image: None
    )


# -- user space ----------------------------------------------------------------------------------

_ORIGIN = 0x400000
_HEAD = 64 + 56


class _Program:
    def __init__(self) -> None:
        self.code: list[int] = []
        self.data = bytearray()

    def at_data(self, content: bytes) -> int:
        """Its address: the data lie 4 KiB behind the start."""
        self.data += bytes(-len(self.data) % 8)
        address = _ORIGIN + 0x1000 + len(self.data)
        self.data += content
        return address

    def call(self, number: int, *arguments: int) -> None:
        """A system call."""
        for register, value in enumerate(arguments):
            self.code += mov(register, value)
        self.code += [*mov(8, number), SVC]

    def write(self, text: bytes) -> None:
        """Print."""
        self.call(64, 1, self.at_data(text), len(text))

    def elf(self) -> bytes:
        """A static executable."""
        code = struct.pack(f"<{len(self.code)}I", *self.code)
        assert _HEAD + len(code) <= 0x1000
        size = 0x1000 + len(self.data)
        head = b"\x7fELF\2\1\1" + bytes(9)
        head += struct.pack(
            "<HHIQQQIHHHHHH", 2, 183, 1, _ORIGIN + _HEAD, 64, 0, 0, 64, 56, 1, 0, 0, 0
        )
        head += struct.pack("<IIQQQQQQ", 1, 7, 0, _ORIGIN, _ORIGIN, size, size, 0x1000)
        return (head + code).ljust(0x1000, b"\0") + bytes(self.data)


def hello_init() -> bytes:
    """Says hello and a letter that depends on the time, forks a child that never ends, sleeps and
    then switches the computer off.
    """
    program = _Program()
    letter = program.at_data(bytes(8))
    program.write(b"HELLO FROM USER SPACE\n")
    # and x0, x0, #15; add x0, x0, #65
    program.code += [READ_COUNTER, 0x92400C00, 0x91010400, *mov(1, letter), store(0, 1)]
    program.call(64, 1, letter, 1)
    program.write(b"\n")
    program.call(220, 17)  # clone, SIGCHLD
    program.code += [0xB5000040, LOOP]  # cbnz x0, the parent's way; the child loops
    program.call(101, program.at_data(struct.pack("<QQ", 0, 300_000_000)), 0)  # nanosleep
    program.write(b"slept\n")
    program.call(142, 0xFEE1DEAD, 672274793, 0x4321FEDC)  # reboot: power off
    program.code.append(LOOP)
    return program.elf()


def initrd(init: bytes) -> bytes:
    """A cpio archive (newc) with a console and ``init``."""
    return (
        _member("dev", 0o40755)
        + _member("dev/console", 0o20600, device=(5, 1))
        + _member("init", 0o100755, init)
        + _member("TRAILER!!!", 0)
    )


def _member(name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    fields = (1, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0)
    out = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
    out += bytes(-len(out) % 4) + data
    return out + bytes(-len(out) % 4)
