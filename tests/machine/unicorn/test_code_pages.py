"""Code that is written anew runs anew: whoever writes it, through whichever address."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from kprobesim import CalledKernel, Kernel
from kprobesim.machine.memory import Prot, Region
from kprobesim.machine.unicorn import code_pages

FAR = 256
"""Where in the code the instruction is that gives the value: not where the code begins."""
STORE = {"x86_64": bytes.fromhex("8937c3"), "arm64": struct.pack("<2I", 0xB9000001, 0xD65F03C0)}
"""A 32-bit store of the second argument to the first."""


def give(arch: str, value: int) -> bytes:
    """Code that returns ``value``."""
    if arch == "x86_64":
        return b"\xb8" + struct.pack("<I", value) + b"\xc3"
    return struct.pack("<2I", 0x52800000 | value << 5, 0xD65F03C0)


def jump(arch: str, distance: int) -> bytes:
    """A jump over ``distance`` bytes, counted from its own first one."""
    if arch == "x86_64":
        return b"\xe9" + struct.pack("<i", distance - 5)
    return struct.pack("<I", 0x14000000 | distance // 4)


def make_writable(kernel: CalledKernel, address: int) -> Region:
    """Let the guest write its code; where that lies."""
    region = kernel.machine.memory.region(address)
    assert region is not None
    return kernel.machine.protect(region, Prot.RW | Prot.X)


class Code:
    """A page of code, executable at ``at`` and data at ``alias``: it gives a value."""

    def __init__(self, kernel: CalledKernel) -> None:
        self.kernel, self.arch = kernel, kernel.arch
        machine = kernel.machine
        self.at = kernel.alloc(4096, executable=True)
        region = make_writable(kernel, self.at)
        self.alias = machine.isa.page_offset + region.offset + self.at - region.start
        kernel.write(self.at, jump(self.arch, FAR))
        kernel.write(self.at + FAR, give(self.arch, 1))
        self._store = kernel.alloc(16, executable=True)
        kernel.write(self._store, STORE[self.arch])

    def run(self) -> int:
        return int(self.kernel.call(self.at))

    def guest_stores(self, address: int, data: bytes) -> None:
        """Let the guest write, four bytes at a time."""
        data = data.ljust(-(-len(data) // 4) * 4, b"\0")
        for at in range(0, len(data), 4):
            self.kernel.call(self._store, address + at, *struct.unpack_from("<I", data, at))


@pytest.fixture(params=["exact", "slow"])
def code(sample: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Code:
    """Code in a guest; also in one whose stores are all seen, as where no function is put in."""
    if request.param == "slow":
        monkeypatch.setattr(code_pages, "_interposed", lambda suffix: None)
    code = Code(Kernel.load(sample))
    assert code.kernel.machine.engine.code_pages.exact == (request.param == "exact")
    return code


def _through_the_alias(code: Code, new: bytes) -> None:
    code.guest_stores(code.alias + FAR, new)


def _in_place(code: Code, new: bytes) -> None:
    code.guest_stores(code.at + FAR, new)


def _by_the_host(code: Code, new: bytes) -> None:
    code.kernel.write(code.at + FAR, new)


def _by_the_host_through_the_alias(code: Code, new: bytes) -> None:
    code.kernel.write(code.alias + FAR, new)


def _by_words_of_the_host(code: Code, new: bytes) -> None:
    (word,) = struct.unpack("<Q", new.ljust(8, b"\0"))
    code.kernel.machine.memory.write_u64(code.alias + FAR, word)


@pytest.mark.parametrize(
    "write",
    [
        _through_the_alias,
        _in_place,
        _by_the_host,
        _by_the_host_through_the_alias,
        _by_words_of_the_host,
    ],
)
def test_code_written_anew_runs_anew(code: Code, write: Callable[[Code, bytes], None]) -> None:
    elsewhere = FAR * 2, b"\1\2\3\4"  # a store to the page after which it was written unseen
    code.guest_stores(code.alias + elsewhere[0], elsewhere[1])
    assert code.run() == 1
    for value in (2, 3, 4):
        code.guest_stores(code.alias + elsewhere[0], elsewhere[1])
        write(code, give(code.arch, value))
        assert code.run() == value


def test_memory_used_again_holds_new_code(code: Code) -> None:
    kernel = code.kernel
    for value in range(5):
        at = kernel.alloc(4096, executable=True)
        kernel.write(at, jump(code.arch, FAR))
        kernel.write(at + FAR, give(code.arch, value))
        assert kernel.call(at) == value
        kernel.free(at)


def test_a_block_may_write_what_follows_in_itself(code: Code) -> None:
    """At once on x86-64 (SDM volume 3, 9.6 "self-modifying code"), behind an ISB on ARM64."""
    kernel, arch = code.kernel, code.arch
    at = kernel.alloc(64, executable=True)
    make_writable(kernel, at)
    for value in (5, 6):
        if arch == "x86_64":  # mov byte ptr [rip + 1], value; mov eax, 1; ret
            kernel.write(at, b"\xc6\x05\1\0\0\0" + bytes([value]) + give(arch, 1))
            assert kernel.call(at) == value
        else:  # str w1, [x0]; isb; mov w0, #1; ret
            kernel.write(at, struct.pack("<2I", 0xB9000001, 0xD5033FDF) + give(arch, 1))
            (new,) = struct.unpack("<I", give(arch, value)[:4])
            assert kernel.call(at, at + 8, new) == value


def test_data_is_no_code(code: Code) -> None:
    """Only pages that something was translated from are watched, and only as long as they are."""
    pages = code.kernel.machine.engine.code_pages
    memory = code.kernel.machine.memory
    if not pages.exact:
        assert all(pages.code)
        return

    def holds(address: int) -> int:
        region = memory.region(address)
        assert region is not None
        return pages.code[address - region.start + region.offset >> 12]

    data = code.kernel.alloc(4096)
    code.guest_stores(data, bytes(16))
    assert not holds(data)
    assert not holds(code.at)
    code.run()
    assert holds(code.at)
    assert holds(code.alias)
    code.kernel.write(code.at, bytes(4096))
    assert not holds(code.at)


def test_a_host_without_such_functions_is_told_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(code_pages, "find_slots", lambda library, names: {})
    with caplog.at_level(logging.WARNING, "kprobesim"):
        assert code_pages._interposed.__wrapped__("x86_64") is None
    assert "a third of their speed" in caplog.text
