"""``k.watch()``: who writes and reads some bytes."""

from __future__ import annotations

import pytest

from kprobesim import CalledKernel, GuestMemoryError, UsageError
from kprobesim.kernel.watchpoint import MemoryAccess


def test_each_write_is_told_with_its_instruction_and_values(guest: CalledKernel) -> None:
    buffer = guest.alloc(16)
    guest.write(buffer, b"\x11" * 16)
    with guest.watch(buffer, 2) as watch:
        guest.call("strscpy", buffer, "abc", 16)
    assert [(a.address, a.size, a.before, a.value) for a in watch] == [
        (buffer, 1, 0x11, ord("a")),
        (buffer + 1, 1, 0x11, ord("b")),
    ]
    assert {a.function for a in watch} == {"strscpy"}
    start = guest.symbols["strscpy"].address
    assert all(start <= access.ip < start + 0x80 for access in watch)
    guest.call("strscpy", buffer, "xyz", 16)
    assert watch.hits == len(watch) == 2  # the block is over


def test_reads_are_told_if_asked_for(guest: CalledKernel) -> None:
    buffer = guest.alloc(16)
    guest.write(buffer, b"ab\0")
    told: list[MemoryAccess] = []
    with guest.watch(buffer, 3, reads=True, writes=False, callback=told.append) as watch:
        guest.call("strlen", buffer)
    assert [access.value for access in told] == [ord("a"), ord("b"), 0]
    assert watch.by_function() == {"strlen": 3}
    assert not any(access.writes for access in told)


def test_there_is_no_limit_of_four(guest: CalledKernel) -> None:
    buffer = guest.alloc(64)
    watches = [guest.watch(buffer + at, 1, name=f"byte {at}") for at in range(12)]
    guest.call("strscpy", buffer, "0123456789a", 64)
    for watch in watches:
        watch.end()
    assert [watch.hits for watch in watches] == [1] * 12
    assert "byte 3" in repr(watches[3])


def test_a_wide_store_over_a_watched_byte(guest: CalledKernel) -> None:
    result = guest.alloc(8)
    with guest.watch(result + 5, 1) as watch:
        guest.call("kstrtoull", "77", 10, result)
    (access,) = watch
    assert (access.address, access.size, access.value) == (result, 8, 77)


def test_as_many_are_kept_as_asked_for(guest: CalledKernel) -> None:
    buffer = guest.alloc(16)
    with guest.watch(buffer, 8, most=2) as watch:
        guest.call("strscpy", buffer, "abcdef", 16)
    assert (len(watch), watch.hits) == (2, 7)


def test_what_a_callback_raises_ends_the_call(guest: CalledKernel) -> None:
    buffer = guest.alloc(16)

    def refuse(access: MemoryAccess) -> None:
        raise ValueError("seen")

    with guest.watch(buffer, 1, callback=refuse), pytest.raises(ValueError, match="seen"):
        guest.call("strscpy", buffer, "abc", 16)
    assert guest.call("strscpy", buffer, "abc", 16) == 3


def test_bad_input(guest: CalledKernel) -> None:
    with pytest.raises(UsageError, match="positive"):
        guest.watch(guest.alloc(8), -1)
    with pytest.raises(UsageError, match="neither reads nor writes"):
        guest.watch(guest.alloc(8), writes=False)
    with pytest.raises(GuestMemoryError):
        guest.watch(0x10, 8)
