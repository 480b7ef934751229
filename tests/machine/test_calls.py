"""Calling guest functions: arguments, results, limits, faults, and a machine none the worse."""

from __future__ import annotations

import inspect
import struct
import sys
import time
from pathlib import Path

import pytest

from kprobesim import (
    GuestBug,
    GuestFault,
    GuestLimit,
    GuestTimeout,
    Kernel,
    Kprobe,
    KprobeError,
    TrapKind,
    UsageError,
)


def test_arguments_of_every_kind(guest: Kernel) -> None:
    assert guest.call("strlen", b"hello\0") == 5
    assert guest.call("strlen", "hello") == 5
    out = bytearray(8)
    guest.call("memcpy", out, b"12345678", 4)
    assert out == b"1234\0\0\0\0"
    assert guest.call("sum10", *range(1, 11)) == sum(n * n for n in range(1, 11))
    data = bytearray(struct.pack("<4i", 3, 1, 2, -1))
    guest.call("sort", data, 4, 4, guest.symbols["cmp_int"], None)
    assert struct.unpack("<4i", data) == (-1, 1, 2, 3)


def test_results_are_64_bits(guest: Kernel) -> None:
    assert guest.call("negate", 5) == (1 << 64) - 5
    assert guest.call("negate", 5, signed=True) == -5
    assert guest.call("negate", -7) == 7


@pytest.mark.parametrize("argument", [1.5, [1], object(), 1 << 64, -(1 << 63) - 1])
def test_a_wrong_argument_is_refused(guest: Kernel, argument: object) -> None:
    with pytest.raises(UsageError, match="argument"):
        guest.call("strlen", argument)
    assert guest.call("strlen", "ok") == 2


def test_only_code_can_be_called(guest: Kernel) -> None:
    for target in ("init_task", 0, 0xDEAD_0000, guest.alloc(16)):
        with pytest.raises(UsageError, match="not code"):
            guest.call(target)
    assert guest.call(guest.symbols["strlen"].address, "abc") == 3


def test_a_null_read_is_told_as_an_oops(guest: Kernel) -> None:
    with pytest.raises(GuestFault) as caught:
        guest.call("read_word", 8)
    fault = caught.value
    assert fault.trap.kind is TrapKind.PAGE_FAULT
    assert fault.trap.address == 8
    assert fault.place.startswith("read_word+0x")
    assert fault.pc == fault.regs.ip
    oops = fault.oops()
    assert "NULL pointer at 0x8" in oops
    assert "Call trace:" in oops
    assert guest.call("strlen", "ok") == 2


@pytest.mark.parametrize(("name", "access"), [("read_word", "read"), ("write_word", "write")])
def test_faults_repeat(guest: Kernel, name: str, access: str) -> None:
    """The second fault is a page fault like the first, not a double fault."""
    for address in (0x1000, 0x2000, 0xFFFF_0000):
        with pytest.raises(GuestFault) as caught:
            guest.call(name, address, 1)
        assert caught.value.trap.address == address
        assert caught.value.trap.access == access


def test_a_jump_to_null_is_a_fault(guest: Kernel) -> None:
    with pytest.raises(GuestFault) as caught:
        guest.call("sort", bytes(16), 4, 4, None, None)
    assert (caught.value.trap.access, caught.value.trap.address) == ("execute", 0)
    assert caught.value.pc == 0
    assert guest.call("strlen", "ok") == 2


def test_text_is_read_only_and_data_is_not_code(guest: Kernel) -> None:
    with pytest.raises(GuestFault) as caught:
        guest.call("write_word", guest.symbols["strlen"].address, 0)
    assert caught.value.trap.access == "write"
    with pytest.raises(GuestFault) as caught:
        guest.call("sort", bytes(16), 4, 4, guest.alloc(16), None)
    assert caught.value.trap.access == "execute"


def test_the_callers_are_in_the_trace(guest: Kernel) -> None:
    with pytest.raises(GuestFault) as caught:
        guest.call("sort", 0x100, 4, 4, guest.symbols["cmp_int"], None)
    trace = "\n".join(caught.value.trace)
    assert "cmp_int" in trace
    assert "sort" in trace


def test_stack_overflow_hits_the_guard(guest: Kernel) -> None:
    with pytest.raises(GuestFault) as caught:
        guest.call("recurse_forever", 1)
    assert caught.value.trap.access == "write"
    assert guest.call("recurse", 10) == 10


def test_bug_names_file_and_line(guest: Kernel) -> None:
    with pytest.raises(GuestBug) as caught:
        guest.call("trigger_bug", 1)
    assert caught.value.file is not None
    assert caught.value.file.endswith("bug.S")
    assert caught.value.line > 0
    assert "kernel BUG at" in str(caught.value)


def test_warn_is_recorded_and_goes_on(guest: Kernel) -> None:
    assert guest.call("warn_if", 0) == 1
    assert not guest.warnings
    assert guest.call("warn_if", 4) == 5
    (warning,) = guest.warnings
    assert warning.place.startswith("warn_if+")
    assert warning.file is not None


def test_the_exception_table_is_honoured(guest: Kernel) -> None:
    for address in (0, 0x1234, 0xDEAD_0000_0000):
        assert guest.call("probe_read", bytearray(8), address, 8) & 0xFFFFFFFF == (1 << 32) - 14
    out = bytearray(8)
    assert guest.call("probe_read", out, b"12345678", 8) == 0
    assert out == b"12345678"
    assert guest.call("get_user_word", 0x10, bytearray(8)) & 0xFFFFFFFF == (1 << 32) - 14


def test_an_endless_loop_ends_in_time(guest: Kernel) -> None:
    begin = time.monotonic()
    with pytest.raises(GuestTimeout) as caught:
        guest.call("spin_forever", timeout=0.2)
    assert time.monotonic() - begin < 5
    assert caught.value.place.startswith("spin_forever")
    assert guest.call("strlen", "ok") == 2


def test_the_instruction_limit_is_exact(guest: Kernel) -> None:
    def steps(limit: int) -> int:
        with pytest.raises(GuestLimit) as caught:
            guest.call("count_to", 1000, max_instructions=limit)
        assert caught.value.nanoseconds is None
        return caught.value.instructions or 0

    assert guest.call("count_to", 1000) == 499500  # translated uncounted first
    assert steps(1) == 1
    assert steps(100) == 100
    needed = next(n for n in range(1, 100) if _returns(guest, n))
    assert not _returns(guest, needed - 1)
    assert guest.call("count_to", 1000) == 499500


def test_the_limit_is_where_it_was_under_probes_that_step(sample: Path) -> None:
    guest = Kernel.load(sample, arming="hook")

    def ends() -> list[tuple[int | None, int]]:
        found = []
        for limit in range(1, 12):
            with pytest.raises(GuestLimit) as caught:
                guest.call("count_to", 5, max_instructions=limit)
            found.append((caught.value.instructions, caught.value.regs.ip))
        return found

    plain = ends()
    for address in {address for _, address in plain}:
        probe = Kprobe(addr=address, post_handler=lambda p, regs, flags: None)
        try:
            guest.register_kprobe(probe)
        except KprobeError:
            continue
        assert ends() == plain, f"under a probe at {address:#x}"
        guest.unregister_kprobe(probe)


def _returns(guest: Kernel, limit: int) -> bool:
    try:
        guest.call("strlen", "abc", max_instructions=limit)
    except GuestLimit:
        return False
    return True


def test_nested_calls_and_their_limit(guest: Kernel) -> None:
    """A handler calls the guest; the outer call's limit counts what it runs."""
    inner: list[int] = []

    def pre(p: object, regs: object) -> None:
        inner.append(guest.call("gcd", 48, 18))

    plain = min(n for n in range(1, 200) if _returns(guest, n))
    with guest.probing("strlen", pre_handler=pre):
        assert guest.call("strlen", "abc") == 3
        assert guest.call("strlen", "abc", max_instructions=10_000) == 3
        with pytest.raises(GuestLimit):
            guest.call("strlen", "abc", max_instructions=plain + 2)
    assert inner[:2] == [6, 6]


def test_a_wrong_limit_is_refused(guest: Kernel) -> None:
    for wrong in ({"timeout": 0}, {"timeout": -1}, {"max_instructions": -5}):
        with pytest.raises(UsageError):
            guest.call("strlen", "x", **wrong)  # type: ignore[arg-type]


def test_same_calls_same_addresses(sample: object) -> None:
    """Nothing depends on the run: two guests do the same with the same addresses."""
    seen = []
    for _ in range(2):
        k = Kernel.load(sample)  # type: ignore[arg-type]
        log: list[dict[str, int]] = []
        with k.probing("crc32_le", pre_handler=lambda p, regs, log=log: log.append(regs.as_dict())):
            k.call("crc32_le", 0, b"12345", 5)
        seen.append(log)
    assert seen[0] == seen[1]


def test_no_hit_is_lost_where_the_stack_of_python_ends(stepped: Kernel) -> None:
    """A callback that has no frame left cannot tell: so the call is refused before."""
    hits: list[int] = []
    p = Kprobe("kprobe_target", pre_handler=lambda p, regs: hits.append(regs.ip))
    seen = []

    def deep(frames: int) -> None:
        if frames:
            deep(frames - 1)
            return
        try:
            stepped.call("kprobe_target", 21)
            seen.append(len(hits))
        except RecursionError:
            seen.append(-1)
        hits.clear()

    limit, used = sys.getrecursionlimit(), len(inspect.stack(0))
    stepped.register_kprobe(p)
    stepped.call("kprobe_target", 21)  # what is made at a first hit needs frames, too
    hits.clear()
    sys.setrecursionlimit(used + 100)
    try:
        for frames in range(70, 99):
            try:
                deep(frames)
            except RecursionError:
                hits.clear()
    finally:
        sys.setrecursionlimit(limit)
        stepped.unregister_kprobe(p)
    assert set(seen) == {1, -1}
    assert stepped.call("kprobe_target", 21) == 7
