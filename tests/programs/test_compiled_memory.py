"""Memory read by compiled code is what the host reads, wherever a pointer leads."""

from __future__ import annotations

import ctypes
import random
from pathlib import Path

import pytest

pytest.importorskip("llvmlite")

from llvmlite import ir
from makers.boots import Boots
from programs.compiled import I64, Compiled, new_function

from kprobesim import BootedKernel, CalledKernel, GuestMemoryError, Kprobe
from kprobesim.machine.memory import Prot
from kprobesim.machine.registers import PtRegs
from kprobesim.programs.compiler.memory import GuestMemoryCode
from kprobesim.programs.guest import guest_of
from kprobesim.sizes import MASK64, PAGE

_SIZES = (1, 2, 4, 8)
_BOUND = 64
# The ends of both halves, and addresses that no CPU takes, or that only differ in their top byte.
_EDGES = (0, 1, MASK64, MASK64 - 3, 1 << 47, (1 << 47) - 4, 0xFFFF_8000_0000_0000 - 3)
_WILD = (0xDEAD_BEEF_DEAD_BEEF, 0x00FF_0000_0000_0000, 0x6B6B_6B6B_6B6B_6B6B, 0x7FFF_FFFF_FFFF)


class Reader:
    """What compiled code reads of ``k``, and what the host does."""

    def __init__(self, k: CalledKernel | BootedKernel) -> None:
        self.memory = k.machine.memory
        module = ir.Module()
        self._guest = guest_of(k.machine, k.tasks, k.image)
        code = GuestMemoryCode(module, self._guest)
        for user in (False, True):
            for size in _SIZES:
                b, address, out = new_function(module, f"{size} {user}")
                value, fault = code.read(b, address, size, user=user)
                b.store(value, b.bitcast(out, I64.as_pointer()))
                b.ret(b.zext(fault, I64))
            b, address, out = new_function(module, f"string {user}")
            b.ret(code.read_string(b, address, out, _BOUND, user=user))
        self._compiled = Compiled(module)
        self._word = ctypes.c_uint64()
        self._text = ctypes.create_string_buffer(_BOUND)

    def number(self, address: int, size: int, *, user: bool = False) -> int | None:
        """A number; ``None`` for a fault."""
        fault = self._compiled[f"{size} {user}"](address, ctypes.addressof(self._word))
        assert fault in (0, 1)
        return None if fault else self._word.value

    def string(self, address: int, *, user: bool = False) -> bytes | None:
        """A string; ``None`` for a fault."""
        self._text.raw = b"x" * _BOUND
        length = self._compiled[f"string {user}"](address, ctypes.addressof(self._text))
        assert not any(self._text.raw[max(length, 0) :])
        return None if length < 0 else self._text.raw[:length]

    def compare(self, addresses: list[int]) -> int:
        """Read all of them both ways; how many numbers there are."""
        there = 0
        for address in addresses:
            for size in _SIZES:
                try:
                    expected = int.from_bytes(self.memory.read(address, size), "little")
                except GuestMemoryError:
                    assert self.number(address, size) is None, f"{size} bytes at {address:#x}"
                else:
                    there += 1
                    assert self.number(address, size) == expected, f"{size} bytes at {address:#x}"
            try:
                text = self.memory.read_cstr(address, _BOUND)
            except GuestMemoryError:
                assert self.string(address) is None, f"string at {address:#x}"
            else:
                assert self.string(address) == text, f"string at {address:#x}"
        return there


def _addresses(k: CalledKernel | BootedKernel, count: int) -> list[int]:
    """Of symbols and of RAM, beside them, at the ends of pages, and of nothing."""
    draw = random.Random(count)
    starts = [symbol.address for symbol in draw.sample(list(k.symbols), min(len(k.symbols), 100))]
    direct, size = k.machine.isa.page_offset, k.machine.memory.size
    kinds = (
        lambda: draw.getrandbits(64),
        lambda: draw.getrandbits(47),
        lambda: draw.choice(starts) + draw.randrange(-5000, 5000),
        lambda: (draw.choice(starts) & -PAGE) + PAGE - draw.randrange(_BOUND),
        lambda: direct + draw.randrange(size),
        lambda: direct + size + draw.randrange(-_BOUND, _BOUND),
    )
    return [*_EDGES, *_WILD, *(draw.choice(kinds)() & MASK64 for _ in range(count))]


def test_the_same_as_the_host_reads(guest: CalledKernel) -> None:
    assert Reader(guest).compare(_addresses(guest, 1000)) > 1000


def test_pages_come_and_go(guest: CalledKernel) -> None:
    reader, machine = Reader(guest), guest.machine
    region = machine.memory.map_new(machine.isa.vmalloc_start + (1 << 30), PAGE, Prot.RW, "page")
    machine.memory.write(region.start, b"here\0")
    assert reader.string(region.start) == b"here"
    machine.unmap(region)
    assert reader.string(region.start) is None
    assert reader.number(region.start, 8) is None


def test_a_string_ends_at_its_nul_at_its_bound_or_by_a_fault(guest: CalledKernel) -> None:
    reader = Reader(guest)
    end = guest.alloc(PAGE, guard=True) + PAGE
    for length in range(_BOUND + 20):
        text = bytes(1 + n % 255 for n in range(length))
        guest.write(end - length - 1, text + b"\0")
        assert reader.string(end - length - 1) == text[:_BOUND]
        guest.write(end - max(length, 1), text or b"\0")
        assert reader.string(end - length) == (text[:_BOUND] if length >= _BOUND else None)


def test_user_reads_take_no_address_of_the_kernel(guest: CalledKernel) -> None:
    reader = Reader(guest)
    address = guest.alloc(16)
    guest.write(address, b"kernel\0")
    assert reader.string(address) == b"kernel"
    assert reader.string(address, user=True) is None
    assert reader.number(address, 4, user=True) is None


def test_a_booted_guest_with_users(boots: Boots, real_image: Path) -> None:
    k = boots.at_run_init(real_image)
    reader = Reader(k)
    assert reader.compare(_addresses(k, 500)) > 500
    texts: list[bytes | None] = []

    def at_write(_p: Kprobe, regs: PtRegs) -> int:
        """What somebody writes, read with the page tables of that moment."""
        buffer = regs.arg(1)
        reader.compare([buffer + offset & MASK64 for offset in (-1, 0, PAGE - 4, 1 << 30)])
        if not buffer >> 55:
            texts.append(reader.string(buffer, user=True))
        return 0

    with k.probing("vfs_write", pre_handler=at_write):
        k.run(seconds=0.5)
    assert texts and None not in texts
