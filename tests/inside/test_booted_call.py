"""Functions of booted kernels are called in process context, and the guest does not mind."""

from __future__ import annotations

import ctypes
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from makers.boots import Boots

from kprobesim import BootedKernel, Kernel, Kprobe, Stop, UsageError
from kprobesim.boot.faults import GuestEnd
from kprobesim.boot.initramfs import built_in_initramfs
from kprobesim.boot.stop import StopReason
from kprobesim.errors import GuestError, ImageError, SymbolError
from kprobesim.machine.faults import GuestBug, GuestFault, GuestLimit, GuestTimeout

pytestmark = pytest.mark.real_kernel

GFP_KERNEL = 0xCC0
VARYING = ("sched_clock: Marking stable", "Memory: ")  # a time, and how much is free
PRINTED = "17 of 17 steps passed"


def without_times(text: str) -> str:
    lines = re.sub(r"(?m)^\[ *\d+\.\d+\] ", "", text).splitlines()
    return "\n".join(line for line in lines if not line.startswith(VARYING))


def runs_on_as_if_nothing_was(k: BootedKernel, image: Path, boots: Boots) -> None:
    assert k.run().kind in (Stop.POWER_OFF, Stop.HALT)
    assert PRINTED in k.console.text
    assert without_times(k.console.text) == without_times(boots.outcome(image).console)


@pytest.fixture(scope="module")
def k(real_image: Path, boots: Boots) -> BootedKernel:
    """In the middle of a printk: the console is locked, interrupts are off."""
    return boots.at_run_init(real_image)


def kmalloc(k: BootedKernel) -> str:
    return "__kmalloc_noprof" if "__kmalloc_noprof" in k.symbols else "__kmalloc"


# -- what calls do ---------------------------------------------------------------------------------


def test_memory_from_one_call_is_there_in_the_next(k: BootedKernel) -> None:
    p = k.call(kmalloc(k), 64, GFP_KERNEL)
    assert p >> 63
    k.call("memset", p, 0x5A, 64)
    assert k.read(p, 64) == b"\x5a" * 64
    k.call("kfree", p)


@pytest.mark.parametrize("size", [1, 4096, 1 << 20, 5 << 20])
def test_alloc_and_free(k: BootedKernel, size: int) -> None:
    p = k.alloc(size)
    assert k.read(p, size) == bytes(size)
    k.write(p + size - 1, b"x")
    k.free(p)


def test_executable_memory_is_one_page_of_the_guests(k: BootedKernel) -> None:
    p = k.alloc(8, executable=True)
    code = "b82a000000c3" if k.arch == "x86_64" else "400580d2c0035fd6"  # return 42
    k.write(p, bytes.fromhex(code))
    assert k.call(p) == 42
    k.free(p)
    with pytest.raises(UsageError, match="pages of 4096 bytes"):
        k.alloc(4097, executable=True)


def test_arguments_of_every_kind(k: BootedKernel) -> None:
    assert k.call("strlen", "h\N{LATIN SMALL LETTER E WITH ACUTE}llo") == 6
    assert k.call("strcmp", b"a\0", "b") & 0x8000_0000  # an int
    buffer = bytearray(b"hello\0")
    k.call("memset", buffer, ord("y"), 3)
    assert buffer == b"yyylo\0"
    text = bytearray(80)
    # Two more arguments than there are registers for, on both architectures.
    length = k.call("scnprintf", text, 80, "%d %d %d %d %d %d %d", 1, 2, 3, 4, 5, 6, -7)
    assert text[:length] == b"1 2 3 4 5 6 -7"


def test_a_function_that_sleeps_takes_its_time(k: BootedKernel) -> None:
    before = k.time
    assert k.call("msleep", 20) == 0
    assert 0.020 <= k.time - before < 0.1


def test_files_are_read(k: BootedKernel) -> None:
    f = k.call("filp_open", "/init", 0, 0)
    assert f < 2**64 - 4095, "an error pointer"
    content, position = bytearray(16), bytearray(8)
    assert k.call("kernel_read", f, content, 16, position) == 16
    assert content.startswith(b"\x7fELF")
    assert int.from_bytes(position, "little") == 16
    assert k.call("filp_close", f, 0) == 0
    assert k.call("filp_open", "/nothing", 0, 0, signed=True) == -2  # ENOENT


def test_probes_fire_and_see_the_task(k: BootedKernel) -> None:
    seen: list[Any] = []
    with k.probing("strlen", pre_handler=lambda p, regs: seen.append(k.current)):
        assert k.call("strlen", "abc") == 3
    (task,) = seen
    assert task.comm.startswith("kworker/")
    assert task.pid == task.tgid > 2
    assert task == k.current


def test_calls_leave_the_registers_as_they_were(k: BootedKernel) -> None:
    k.call("strlen", "")
    before = k.machine.regs.as_dict()
    k.call("msleep", 1)
    k.call("memset", bytearray(100), 1, 100)
    assert k.machine.regs.as_dict() == before


def test_pure_functions_give_what_a_call_without_a_boot_gives(
    k: BootedKernel, real_image: Path
) -> None:
    data = bytes(range(256)) * 4
    plain = Kernel.load(real_image)
    for function, arguments in (
        ("crc32_le", (0xFFFF_FFFF, data, len(data))),
        ("strnlen", (data[1:], 99)),
        ("int_sqrt", (1 << 40,)),
        ("memcmp", (data, data[:-1] + b"\0", len(data))),
        ("simple_strtoul", ("0x1234", None, 0)),
        ("gcd", (600, 252)),
    ):
        assert k.call(function, *arguments) == plain.call(function, *arguments), function


# -- what goes wrong -------------------------------------------------------------------------------


def test_an_argument_that_is_overrun_is_told(k: BootedKernel) -> None:
    assert k.call("strlen", b"a" * 16) == 16  # zeroes follow
    with pytest.raises(GuestError, match="argument 1 of 4 bytes was overrun by at least 3 bytes"):
        k.call("memset", bytearray(4), 1, 7)
    data = bytearray(4)
    k.call("memset", data, 1, 4, guard=True)
    assert data == b"\1" * 4
    with pytest.raises(GuestFault) as caught:
        k.call("memset", bytearray(4), 1, 5, guard=True)
    assert caught.value.hint == "argument 1 of 4 bytes is overrun by 1 byte"
    address = k.alloc(8, guard=True)
    assert (address + 8) % 4096 == 0
    k.free(address)
    assert k.call("strlen", "still there") == 11


@pytest.mark.parametrize("address", [0x10, 1 << 40, 0xDEAD_0000_0000_0000])
def test_a_bad_pointer_is_a_fault_with_its_place(k: BootedKernel, address: int) -> None:
    with pytest.raises(GuestFault) as caught:
        k.call("strlen", address)
    assert "strlen" in caught.value.place
    assert caught.value.regs.arg(0) == address
    assert "Call trace" in caught.value.oops()
    assert k.call("strlen", "after it") == 8


def test_a_bug_is_told_as_such(k: BootedKernel) -> None:
    bugs = [
        entry.addr
        for entry in k.image.bug_table
        if not entry.is_warning and k.image.is_kernel_text(entry.addr)
    ]
    with pytest.raises(GuestBug) as caught:
        k.call(max(bugs))
    assert caught.value.pc == max(bugs)
    assert "kernel BUG at " in str(caught.value)
    assert k.call("strlen", "after it") == 8


def test_a_call_that_never_returns_is_given_up(real_image: Path, boots: Boots) -> None:
    k = boots.at_run_init(real_image)
    with pytest.raises(GuestLimit) as caught:
        k.call("crc32_le", 0, bytes(1 << 20), 1 << 20, max_instructions=10_000)
    assert caught.value.instructions is None
    assert 10_000 <= (caught.value.nanoseconds or 0) < 20_000
    with pytest.raises(GuestTimeout):
        k.call("__delay", 1 << 40, timeout=0.002)  # twice as long in the guest
    with pytest.raises(GuestLimit):
        k.call("msleep", 200, max_instructions=1_000_000)
    assert k.call("strlen", "after it") == 8
    runs_on_as_if_nothing_was(k, real_image, boots)


def test_a_handlers_exception_comes_out(k: BootedKernel) -> None:
    class Mine(Exception):
        pass

    def explode(p: Kprobe, regs: Any) -> None:
        raise Mine

    with k.probing("strlen", pre_handler=explode), pytest.raises(Mine):
        k.call("strlen", "x")
    assert k.call("strlen", "after it") == 8


def test_wrong_use_is_refused(k: BootedKernel, real_image: Path) -> None:
    for wrong in (
        lambda: k.call("strlen", 1.5),
        lambda: k.call("strlen", 1 << 64),
        lambda: k.call("strlen", "x", timeout=0),
        lambda: k.call("strlen", "x", max_instructions=-1),
        lambda: k.call(0x1000),
        lambda: k.alloc(0),
        lambda: k.alloc(1 << 40),
    ):
        with pytest.raises(UsageError):
            wrong()  # type: ignore[no-untyped-call]
    with pytest.raises(SymbolError):
        k.call("no_such_function")
    with (
        k.probing("strlen", pre_handler=lambda p, regs: k.call("strlen", 0)),
        pytest.raises(UsageError, match="handler"),
    ):
        k.call("strlen", "x")
    assert k.call("strlen", "after it") == 8


def test_a_call_that_ends_the_guest(real_image: Path, boots: Boots) -> None:
    k = boots.at_run_init(real_image)
    with pytest.raises(GuestEnd):
        k.call("kernel_power_off")
    with pytest.raises(UsageError, match="cannot be called any more"):
        k.call("strlen", "x")


def test_without_btf_the_error_names_what_is_missing(real_image: Path) -> None:
    k = Kernel.boot(real_image)
    k.image.__dict__["btf"] = None
    assert not k.tasks.are_known
    with pytest.raises(ImageError, match="CONFIG_DEBUG_INFO_BTF"):
        _ = k.current


# -- from where ------------------------------------------------------------------------------------


def call_and_sleep(k: BootedKernel) -> None:
    assert k.call("strlen", "hello", timeout=100) == 5
    before = k.time
    k.call("msleep", 5, timeout=100)
    assert k.time - before >= 0.005


def test_in_the_middle_of_a_printk(real_image: Path, boots: Boots) -> None:
    k = boots.at_run_init(real_image)
    call_and_sleep(k)
    with pytest.raises(GuestFault):
        k.call("strlen", 0x10)
    runs_on_as_if_nothing_was(k, real_image, boots)


def test_from_the_first_instruction(real_image: Path, boots: Boots) -> None:
    k = Kernel.boot(real_image)
    assert k.current is None
    call_and_sleep(k)
    runs_on_as_if_nothing_was(k, real_image, boots)


def stop_at(k: BootedKernel, address: int) -> Callable[[], None]:
    """End the run before the instruction at ``address``; returns how to switch that off."""
    on = [True]

    def stop(*_: object) -> None:
        if on:
            k.board.stop(StopReason(Stop.REQUESTED, "here"))
            k.machine.engine.stop()

    k.machine.engine.on_code(address, stop)
    return on.clear


def test_in_user_mode(real_image: Path, boots: Boots) -> None:
    k = boots.at_run_init(real_image)
    archive = built_in_initramfs(k.arch)
    (entry,) = struct.unpack_from("<Q", archive, archive.index(b"\x7fELF") + 24)
    go_on = stop_at(k, entry)
    assert k.run().kind is Stop.REQUESTED
    go_on()
    assert k.machine.regs.ip == entry
    assert k.machine.engine.in_user_mode()
    assert k.current is not None
    assert (k.current.pid, k.current.comm) == (1, "init")
    before = ctypes.string_at(ctypes.addressof(k.machine.words), 128)
    assert k.current.pid == 1
    assert ctypes.string_at(ctypes.addressof(k.machine.words), 128) == before
    call_and_sleep(k)
    runs_on_as_if_nothing_was(k, real_image, boots)


def test_when_idle(real_image: Path, boots: Boots) -> None:
    k = boots.at_run_init(real_image)
    while not k.board.halted_at(k.machine.regs.ip):
        if k.run(seconds=1e-4).kind is not Stop.SECONDS:
            pytest.skip("this kernel has something to do all the time")
    assert k.current is not None
    assert (k.current.pid, k.current.comm) == (0, "swapper/0")
    call_and_sleep(k)
    runs_on_as_if_nothing_was(k, real_image, boots)
