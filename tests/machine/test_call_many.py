"""Many calls of one function: the same as so many single ones, and of which row a fault is told."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

import pytest

from kprobesim import (
    CalledKernel,
    CallStopped,
    GuestFault,
    GuestLimit,
    GuestTimeout,
    Kretprobe,
    UsageError,
)

# The word below the stack pointer.
_RETURN_WORD = {"x86_64": "488b8424f8ffffffc3", "arm64": "e0835ff8c0035fd6"}
_ROWS: dict[str, list[Any]] = {
    "gcd": [(12, 18), [7, 21], (-3, 9), (1 << 63, 1 << 62), (True, 5)],
    "strlen": ["a", b"bcd\0", "", "x" * 4095, b"y" * 5000 + b"\0", bytearray(b"z\0"), "ü", "a"],
    "sum10": [tuple(range(10)), tuple(range(-5, 5))],
    "recurse": [40, 3, 200, 1],
    "negate": [5, None],
}


def _singly(k: CalledKernel, function: str, rows: list[Any]) -> list[int]:
    return [k.call(function, *(row if isinstance(row, (tuple, list)) else (row,))) for row in rows]


@pytest.mark.parametrize("function", _ROWS)
def test_the_same_as_single_calls(guest: CalledKernel, function: str) -> None:
    rows = _ROWS[function] * 3
    many = guest.call_many(function, iter(rows))
    assert many == _singly(guest, function, rows)
    assert guest.call_many(function, []) == []


def test_signed_results_and_arrays(guest: CalledKernel) -> None:
    class Array:  # numpy's has numbers that are no int, and this
        def tolist(self) -> list[int]:
            return [1, 2]

    assert guest.call_many("negate", Array(), signed=True) == [-1, -2]  # type: ignore[arg-type]


def test_data_come_back(guest: CalledKernel) -> None:
    buffers = [bytearray(6) for _ in range(500)]
    rows = [(buffer, 65 + at % 26, at % 7) for at, buffer in enumerate(buffers)]
    guest.call_many("memset", rows)
    expected = [bytes([65 + at % 26]) * (at % 7) + bytes(6 - at % 7) for at in range(500)]
    assert buffers == expected
    one = bytearray(8)
    guest.call_many("memcpy", [(one, b"ab", 2), (one, one, 0), (memory := bytearray(8), one, 8)])
    assert memory == one == b"ab\0\0\0\0\0\0"


def test_each_call_finds_clean_memory(guest: CalledKernel) -> None:
    code = guest.alloc(16, executable=True)
    guest.write(code, bytes.fromhex(_RETURN_WORD[guest.arch]))
    guest.call("recurse", 40)
    assert guest.call_many(code, [()] * 9) == [0] * 9
    seen = []
    with guest.probing("memcmp", pre_handler=lambda p, regs: seen.append(regs.as_dict())):
        guest.call_many("memcmp", [(b"long one", b"x", 1), (b"y", b"z", 1)] * 3)
        guest.call("memcmp", b"y", b"z", 1)
    assert seen[1] == seen[5] == seen[6]


def test_a_fault_tells_its_row(guest: CalledKernel) -> None:
    out = [bytearray(8) for _ in range(10)]
    rows = [(buffer, b"abcd", 5 if at == 7 else 4) for at, buffer in enumerate(out)]
    with pytest.raises(GuestFault, match="argument 2 of 4 bytes is overrun by 1 byte") as caught:
        guest.call_many("memcpy", rows)
    assert caught.value.row == 7  # type: ignore[attr-defined]
    assert len(caught.value.results) == 7  # type: ignore[attr-defined]
    assert [buffer[:4] for buffer in out] == [b"abcd"] * 7 + [bytes(4)] * 3
    with pytest.raises(GuestFault) as single:
        guest.call("memcpy", bytearray(8), b"abcd", 5)
    assert str(single.value) == str(caught.value)
    assert single.value.regs.as_dict() == caught.value.regs.as_dict()
    assert guest.call_many("strlen", ["as", "ever"]) == [2, 4]


@pytest.mark.parametrize("row", [1.5, (1, 2.5), 1 << 64, "\ud800", [object()]])
def test_a_wrong_row_is_told(guest: CalledKernel, row: object) -> None:
    with pytest.raises(UsageError, match="argument") as caught:
        guest.call_many("strlen", ["a", "b", row, "c"])
    assert (caught.value.row, caught.value.results) == (2, [1, 1])  # type: ignore[attr-defined]


def test_wrong_use(guest: CalledKernel) -> None:
    with pytest.raises(UsageError, match="rows"):
        guest.call_many("strlen", 5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="timeout"):
        guest.call_many("strlen", [], timeout=-1)


def test_limits_are_for_each_call(guest: CalledKernel) -> None:
    with pytest.raises(GuestLimit) as limited:
        guest.call_many("count_to", [3, 10_000], max_instructions=1000)
    assert limited.value.row == 1  # type: ignore[attr-defined]
    with pytest.raises(GuestTimeout) as late:
        guest.call_many("count_to", [3, 4, 1 << 40], timeout=0.1)
    assert late.value.row == 2  # type: ignore[attr-defined]
    long = 1 << 19  # more than a slice
    assert guest.call_many("count_to", [long, 5]) == [long * (long - 1) // 2, 10]


def test_probes_are_hit(stepped: CalledKernel) -> None:
    hits: list[object] = []
    rp = Kretprobe("strlen", handler=lambda ri, regs: hits.append(regs.return_value))
    with (
        stepped.probing("strlen", pre_handler=lambda p, regs: hits.append(regs.arg(0) & 0xFFF)),
        stepped.register_kretprobe(rp),
    ):
        assert stepped.call_many("strlen", ["ab", "cde"] * 3) == [2, 3] * 3
    assert hits == [0xFFD, 2, 0xFFC, 3] * 3


def test_handlers_call_and_raise(stepped: CalledKernel) -> None:
    lengths = []

    def pre(p: object, regs: Any) -> None:
        lengths.append(stepped.call_many("strlen", ["inner", "x"]))
        if len(lengths) == 4:
            raise LookupError("enough")

    with (
        stepped.probing("gcd", pre_handler=pre),
        pytest.raises(LookupError, match="enough") as caught,
    ):
        stepped.call_many("gcd", [(12, 18)] * 9)
    assert (caught.value.row, caught.value.results) == (3, [6] * 3)  # type: ignore[attr-defined]
    assert lengths == [[5, 1]] * 4
    assert stepped.call_many("gcd", [(12, 18)]) == [6]


def test_a_signal_ends_it_within_a_row(stepped: CalledKernel) -> None:
    class Alarm(Exception):
        pass

    def ring(*_: object) -> None:
        raise Alarm

    hits: list[int] = []

    def pre(_p: object, regs: Any) -> None:
        hits.append(regs.arg(0))
        if len(hits) == 5:
            signal.raise_signal(signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, ring)
    try:
        with stepped.probing("gcd", pre_handler=pre), pytest.raises(Alarm) as caught:
            stepped.call_many("gcd", [(n, 0) for n in range(9)])
    finally:
        signal.signal(signal.SIGALRM, before)
    assert hits == [*range(5)]
    assert (caught.value.row, caught.value.results) == (4, [*range(4)])  # type: ignore[attr-defined]
    assert stepped.call("gcd", 12, 18) == 6


def test_it_can_be_stopped(guest: CalledKernel) -> None:
    def stop() -> None:
        time.sleep(0.05)
        guest.stop()

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(CallStopped) as caught:
        guest.call_many("count_to", [3, 1 << 40])
    thread.join()
    assert caught.value.row == 1  # type: ignore[attr-defined]
