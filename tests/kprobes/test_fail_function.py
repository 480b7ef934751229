"""Functions that are made to return at once, with and without the kernel's whitelist."""

from __future__ import annotations

import errno
import struct
from typing import Any

import pytest

from kprobesim import Kernel, Kprobe, KprobeError, Kretprobe, Reason, UsageError
from kprobesim.image.tables.error_injection import ErrorInjection, InjectionType

TARGET = "kprobe_target"


def test_a_function_that_fails(stepped: Kernel) -> None:
    with stepped.override_return("alloc_pid", -12) as override:
        assert stepped.call("do_fork", 17, 0, 0, signed=True) == -12
        assert override.hits == 1
        assert not override.kp.ainsn.boostable
        override.value = 77
        assert stepped.call("do_fork", 17, 0, 0) == 77
    assert stepped.call("do_fork", 17, 0, 0) == 1
    override.remove()  # once more does nothing
    assert len(stepped.kprobes) == 0


def test_it_fails_the_third_time(stepped: Kernel) -> None:
    with stepped.override_return(TARGET, -12, skip=2, times=1) as override:
        real = stepped.call(TARGET, 21)
        results = [stepped.call(TARGET, 21, signed=True) for _ in range(3)]
    assert results == [real, -12, real]
    assert override.hits == 4
    with pytest.raises(UsageError, match="numbers of calls"):
        stepped.override_return(TARGET, 1, times=0)


@pytest.mark.parametrize("value", [0, 1, -1, (1 << 64) - 1, 1 << 63])
def test_values(guest: Kernel, value: int) -> None:
    with guest.override_return(guest.symbols[TARGET], value):
        assert guest.call(TARGET, 12) == value % (1 << 64)
    with guest.override_return(guest.symbols[TARGET].address, value):
        assert guest.call(TARGET, 12) == value % (1 << 64)


def test_nothing_of_the_function_runs(stepped: Kernel) -> None:
    inside = Kprobe(TARGET, pre_handler=lambda p, regs: 1 / 0)  # type: ignore[arg-type, return-value]
    with stepped.probing(TARGET) as p:
        inside.offset = p.ainsn.size * (1 if stepped.arch == "x86_64" else 2)
    stepped.register_kprobe(inside)
    with stepped.override_return(TARGET, 5):
        assert stepped.call("kprobe_stacktrace_target", 30) == 5 + 11


def test_with_a_return_probe(stepped: Kernel) -> None:
    """One that was there first is not asked; one that comes later sees the value."""
    seen: list[int] = []
    older = Kretprobe(TARGET, lambda ri, regs: seen.append(-1))
    newer = Kretprobe(TARGET, lambda ri, regs: seen.append(regs.return_value))
    stepped.register_kretprobe(older)
    with stepped.override_return(TARGET, 5):
        stepped.register_kretprobe(newer)
        assert stepped.call(TARGET, 30) == 5
    assert seen == [5]
    assert not stepped.kprobes.returns.pending


def test_in_a_handler_of_your_own(stepped: Kernel) -> None:
    def odd_ones_fail(p: Kprobe, regs: Any) -> int:
        return stepped.override_function_with_return(-5) if regs.arg(0) & 1 else 0

    with stepped.probing(TARGET, pre_handler=odd_ones_fail):
        results = [stepped.call(TARGET, n, signed=True) for n in (30, 31, 32)]
    assert results == [10, -5, 10]


@pytest.mark.parametrize(
    ("function", "value", "result"),
    [
        ("do_sys_openat2", 0, -22),  # what 0 stands for
        ("do_sys_openat2", -2, -2),
        ("do_sys_openat2", -4095, -4095),
        ("do_sys_openat2", -4096, None),
        ("do_sys_openat2", 1, None),
        ("tree_find", 0, 0),
        ("tree_find", -1, None),
        ("copy_process", 0, 0),
        ("copy_process", -11, -11),
        ("copy_process", 0x1000, None),
    ],
)
def test_the_whitelist(guest: Kernel, function: str, value: int, result: int | None) -> None:
    if result is None:
        with pytest.raises(KprobeError) as refused:
            guest.override_return(function, value, check=True)
        assert (refused.value.errno, refused.value.reason) == (
            errno.EINVAL,
            Reason.UNACCEPTABLE_VALUE,
        )
        return
    with guest.override_return(function, value, check=True):
        assert guest.call(function, 0, 0, 0, 0, signed=True) == result


def test_refusals(guest: Kernel) -> None:
    for arguments, number, reason in (
        (("strlen", 0), errno.ERANGE, Reason.NOT_ERROR_INJECTABLE),
        (("do_sys_openat2+4", 0), errno.EINVAL, Reason.NOT_FUNCTION_ENTRY),
        (("no_such_function", 0), errno.ENOENT, Reason.UNKNOWN_SYMBOL),
    ):
        with pytest.raises(KprobeError) as refused:
            guest.override_return(*arguments, check=True)
        assert (refused.value.errno, refused.value.reason) == (number, reason)
    first = guest.override_return("tree_find", check=True)
    with pytest.raises(KprobeError) as refused:
        guest.override_return("tree_find", check=True)
    assert (refused.value.errno, refused.value.reason) == (errno.EBUSY, Reason.ALREADY_INJECTED)
    first.remove()
    guest.override_return("tree_find", check=True)
    for wrong in ((5.5, 0), ("tree_find", "0"), ("tree_find", 1 << 64)):
        with pytest.raises(UsageError):
            guest.override_return(*wrong)  # type: ignore[arg-type]


def test_the_list(guest: Kernel) -> None:
    assert set(guest.kprobes.fault_injection.kinds()) == {
        ("do_sys_openat2", InjectionType.ERRNO),
        ("tree_find", InjectionType.NULL),
        ("copy_process", InjectionType.ERRNO_NULL),
    }


def _table(*records: tuple[int, int]) -> bytes:
    return b"".join(struct.pack("<QI4x", *record) for record in records)


@pytest.mark.parametrize(
    ("numbers", "version", "names", "first"),
    [
        ((1, 2, 4), (6, 5), {}, 1),  # 4 is there only where 0 means nothing
        ((0, 1, 2), (5, 10), {}, 0),
        ((1, 1, 3), (6, 1), {0x10: "__x64_sys_read"}, 0),
        ((2, 2, 3), (6, 5), {0x10: "__arm64_sys_read"}, 1),
        ((1, 2, 3), (6, 1, 20), {}, 1),
        ((1, 2, 3), (6, 3), {}, 0),
    ],
)
def test_numbers_by_kernel(
    numbers: tuple[int, ...], version: tuple[int, ...], names: dict[int, str], first: int
) -> None:
    kinds = list(InjectionType)
    records = [(0x10 * (n + 1), number) for n, number in enumerate(numbers)]
    found = ErrorInjection(_table(*records, (0, 7)) + b"tail", version, names.get)
    assert dict(found) == {address: kinds[number - first] for address, number in records}


def test_true() -> None:
    kind = InjectionType.TRUE
    assert kind.default() == 1
    assert [kind.accepts(n) for n in (0, 1, 2, -1)] == [False, True, False, False]
