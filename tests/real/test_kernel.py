"""What a real kernel brings along: its banner, tables and traps."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from real.real_cases import Guest

from kprobesim import GuestBug, GuestFault, GuestTimeout, Kernel, KprobeError, Reason

_WAIT = "native_queued_spin_lock_slowpath|queued_spin_lock_slowpath"


def test_image_tells_what_it_is(real_kernel: Kernel) -> None:
    assert re.match(r"\d+\.\d+\.\d+", real_kernel.version)
    assert {"x86_64": "-amd64", "arm64": "-arm64"}[real_kernel.arch] in real_kernel.version
    assert len(real_kernel.symbols) > 30_000
    strlen = real_kernel.symbols["strlen"]
    assert strlen.is_function
    # Of several names of an address the kernel's own order decides, which puts weak ones last.
    assert "strlen+0x4" in str(real_kernel.symbols.at(strlen.address + 4))


def test_an_elf_kernel_has_its_build_id(real_kernel: Kernel) -> None:
    if real_kernel.image.container.endswith("arm64 Image"):
        assert real_kernel.image.build_id is None
    else:
        assert len(bytes.fromhex(real_kernel.image.build_id or "")) == 20


def test_nothing_has_booted(real_kernel: Kernel) -> None:
    if "system_state" not in real_kernel.symbols:
        pytest.skip("this kernel's kallsyms hold functions only")
    assert real_kernel.read(real_kernel.symbols["system_state"].address, 4) == bytes(4)


def test_a_static_call_is_refused(real_kernel: Kernel) -> None:
    image = real_kernel.image
    if real_kernel.arch == "arm64":
        assert len(image.static_calls) == 0  # CONFIG_HAVE_STATIC_CALL_INLINE is x86-64's
        return
    start = image.symbols["_stext"].address
    sites = (at for at in range(start, start + (1 << 20)) if at in image.static_calls)
    reasons = {real_kernel.check(addr=at, suggest=False).reason for at in islice(sites, 100)}
    assert Reason.STATIC_CALL in reasons
    assert reasons <= {Reason.STATIC_CALL, Reason.BLACKLISTED, Reason.NOT_INSTRUCTION_BOUNDARY}


def test_fault_is_told_as_an_oops(real_kernel: Kernel) -> None:
    with pytest.raises(GuestFault) as caught:
        real_kernel.call("strlen", None)
    fault = caught.value
    strlen = real_kernel.symbols["strlen"]
    assert 0 <= fault.pc - strlen.address < strlen.size
    assert "strlen+0x" in fault.place
    assert fault.trap.address == 0
    assert "strlen+0x" in fault.oops()
    assert real_kernel.call("strlen", b"after\0") == 5


def test_fault_deep_inside_names_the_callers(real_kernel: Kernel) -> None:
    with pytest.raises(GuestFault) as caught:
        real_kernel.call("snprintf", bytearray(32), 32, b"%*ph\0", 4, 0x5000)
    trace = " ".join(caught.value.trace)
    assert "vsnprintf+0x" in trace
    assert "snprintf+0x" in trace.replace("vsnprintf", "")


def test_fault_of_a_stepped_instruction_belongs_to_the_probed_address(
    stepped_kernels: Callable[[str], Kernel], stepping: str
) -> None:
    kernel = stepped_kernels(stepping)
    with pytest.raises(GuestFault) as caught:
        kernel.call("strlen", None)
    bad, seen = caught.value.pc, []

    def give_up(p: Any, regs: Any, trapnr: int) -> int:
        seen.append((regs.ip, regs.arg(0)))
        return 0

    with (
        kernel.probing(addr=bad, fault_handler=give_up),
        pytest.raises(GuestFault) as again,
    ):
        kernel.call("strlen", None)
    assert again.value.pc == bad
    assert again.value.place == caught.value.place
    assert seen == [(bad, 0)]


def test_fault_handler_repairs(stepped_kernels: Callable[[str], Kernel], stepping: str) -> None:
    kernel = stepped_kernels(stepping)
    text = kernel.alloc(16)
    kernel.write(text, b"repaired\0")
    with pytest.raises(GuestFault) as caught:
        kernel.call("strlen", None)

    def repair(p: Any, regs: Any, trapnr: int) -> int:
        setattr(regs, "di" if kernel.arch == "x86_64" else "x0", text)
        regs.ip = kernel.symbols["strlen"].address
        return 1

    with kernel.probing(addr=caught.value.pc, fault_handler=repair) as p:
        assert kernel.call("strlen", None) == len("repaired")
        assert p.nmissed == 0
    kernel.free(text)


def test_bug_names_its_line(real_kernel: Kernel) -> None:
    with pytest.raises(GuestBug) as caught:
        real_kernel.call("usercopy_abort", b"slab\0", b"kmalloc-8\0", 1, 4, 99)
    bug = caught.value
    assert bug.file is not None and bug.file.endswith("mm/usercopy.c")
    assert 0 < bug.line < 1000
    assert bug.place.startswith("usercopy_abort+0x")
    assert real_kernel.call("strlen", b"after\0") == 5


def test_every_bug_entry_is_a_trap(real_kernel: Kernel) -> None:
    table = real_kernel.image.bug_table
    trap = b"\x0f\x0b" if real_kernel.arch == "x86_64" else bytes.fromhex("000021d4")
    entries = list(table)
    assert len(entries) > 3000
    # Since 6.19 a WARN with a message on x86 calls __WARN_trap() instead.
    flagged = 0x10 if "__WARN_trap" in real_kernel.symbols else 0
    assert all(
        real_kernel.read(entry.addr, len(trap)) == trap
        for entry in entries
        if not entry.flags & flagged
    )
    assert all(entry.file and entry.file.endswith((".c", ".h", ".S", ".rs")) for entry in entries)
    assert any(entry.is_warning for entry in entries)


def test_no_probe_on_a_bug(real_kernel: Kernel) -> None:
    bug = next(entry for entry in real_kernel.image.bug_table if entry.addr)
    with pytest.raises(KprobeError) as caught, real_kernel.probing(addr=bug.addr):
        pass
    assert caught.value.reason in (Reason.BUG_TABLE, Reason.NOT_KERNEL_TEXT, Reason.BLACKLISTED)


def test_warning_is_recorded_and_execution_goes_on(real_image: Path) -> None:
    kernel = Kernel.load(real_image)  # WARN_ONCE() remembers
    counter = kernel.alloc(4)
    kernel.call("refcount_warn_saturate", counter, 3)  # REFCOUNT_SUB_UAF
    assert kernel.read(counter, 4) == (0xC000_0000).to_bytes(4, "little")  # REFCOUNT_SATURATED
    [warning] = kernel.warnings
    assert warning.file is not None and warning.file.endswith("lib/refcount.c")
    assert warning.place.startswith("refcount_warn_saturate+0x")
    kernel.call("refcount_warn_saturate", counter, 3)
    assert len(kernel.warnings) == 1


def test_exception_table_turns_faults_into_efault(real_kernel: Kernel) -> None:
    buffer = real_kernel.alloc(16)
    bad = real_kernel.machine.isa.vmalloc_start - 4096
    call = real_kernel.call
    assert call("copy_from_kernel_nofault", buffer, bad, 8, signed=True) == -14
    assert call("strncpy_from_kernel_nofault", buffer, bad, 8, signed=True) == -14
    assert call("strncpy_from_kernel_nofault", buffer, b"fine\0", 8, signed=True) == 5
    assert real_kernel.read_cstr(buffer) == b"fine"
    real_kernel.free(buffer)


def test_deadlock_ends_by_timeout(real_kernel: Kernel) -> None:
    lock = real_kernel.alloc(64)
    real_kernel.write(lock, b"\x01")
    with pytest.raises(GuestTimeout) as caught:
        real_kernel.call(Guest(real_kernel).name(_WAIT), lock, 1, timeout=0.2)  # type: ignore[arg-type]
    assert "queued_spin_lock_slowpath" in caught.value.place
    real_kernel.write(lock, bytes(4))
    real_kernel.free(lock)
    assert real_kernel.call("int_sqrt", 1 << 40) == 1 << 20


def test_handler_calls_guest_functions(
    stepped_kernels: Callable[[str], Kernel], stepping: str
) -> None:
    kernel = stepped_kernels(stepping)
    seen = []

    def pre(p: Any, regs: Any) -> None:
        text = regs.arg(0)
        length = kernel.call("strlen", text)
        seen.append((length, kernel.call("xxh64", text, length, 0)))

    xxh64 = kernel.call("xxh64", b"12345", 5, 0)
    result = kernel.alloc(8)
    with kernel.probing("kstrtoull", pre_handler=pre, post_handler=lambda p, regs, flags: None):
        assert kernel.call("kstrtoull", b"12345\0", 10, result) == 0
    assert int.from_bytes(kernel.read(result, 8), "little") == 12345
    assert seen == [(5, xxh64)]
    kernel.free(result)


def test_handler_changes_argument_and_result(
    stepped_kernels: Callable[[str], Kernel], stepping: str
) -> None:
    kernel = stepped_kernels(stepping)

    def other(p: Any, regs: Any) -> None:
        setattr(regs, "di" if kernel.arch == "x86_64" else "x0", 144)

    with kernel.probing("int_sqrt", pre_handler=other):
        assert kernel.call("int_sqrt", 1 << 40) == 12
    assert kernel.call("int_sqrt", 1 << 40) == 1 << 20
