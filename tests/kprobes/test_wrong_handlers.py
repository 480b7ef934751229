"""Handlers that do what they should not: one clear error, and the guest is as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from kprobesim import GuestStop, Kprobe, Kretprobe, UsageError
from kprobesim.kernel.called import CalledKernel


@pytest.mark.parametrize("answer", ["text", [1], 1.5, {"a": 1}])
@pytest.mark.parametrize("together", [False, True])
def test_an_answer_that_is_none(stepped: CalledKernel, answer: object, together: bool) -> None:
    wrong = Kprobe("negate", pre_handler=lambda p, regs: answer)  # type: ignore[arg-type,return-value]
    probes = [wrong, Kprobe("negate")] if together else [wrong]
    with stepped.register_kprobes(probes):
        with pytest.raises(UsageError, match=r"pre_handler of .*negate.* returned"):
            stepped.call("negate", 5)
        wrong.pre_handler = lambda p, regs: None
        assert stepped.call("negate", 5, signed=True) == -5
    returns = Kretprobe("negate", entry_handler=lambda ri, regs: answer, maxactive=1)  # type: ignore[arg-type,return-value]
    with stepped.register_kretprobe(returns):
        for _ in range(2):
            with pytest.raises(UsageError, match=r"entry_handler of .*negate.* returned"):
                stepped.call("negate", 5)
        assert returns.nmissed == 0
    assert stepped.call("negate", 5, signed=True) == -5


def test_fields_that_make_no_sense() -> None:
    p = Kprobe("negate")
    for name, value in (
        ("pre_handler", 5),
        ("post_handler", "text"),
        ("fault_handler", object()),
        ("flags", "text"),
        ("nmissed", None),
    ):
        with pytest.raises(UsageError, match=name):
            setattr(p, name, value)


def _no_stack(regs: Any) -> None:
    regs.sp = 0x1234


def _no_code(regs: Any) -> None:
    regs.ip = 0xDEAD_0000_0000_0000


def _null(regs: Any) -> None:
    regs.ip = 0


def _all_flags(regs: Any) -> None:
    regs.flags = (1 << 32) - 1


@pytest.mark.parametrize("spoil", [_no_stack, _no_code, _null, _all_flags])
@pytest.mark.parametrize("moves", [0, 1])
def test_impossible_registers(
    stepped: CalledKernel, spoil: Callable[[Any], None], moves: int
) -> None:
    """The guest may fault, and then that is told; nothing of it is left behind."""

    def pre(_p: Kprobe, regs: Any) -> int:
        spoil(regs)
        return moves

    with stepped.probing("negate", pre_handler=pre), contextlib.suppress(GuestStop):
        stepped.call("negate", 5, timeout=0.5)
    assert stepped.call("negate", 5, signed=True) == -5
    assert stepped.call("strlen", "usable") == 6


def test_a_probe_that_its_handler_takes_out(stepped: CalledKernel) -> None:
    seen = []

    def pre(p: Kprobe, _regs: object) -> None:
        seen.append("pre")
        stepped.unregister_kprobe(p)

    stepped.register_kprobe(
        Kprobe("negate", pre_handler=pre, post_handler=lambda p, regs, flags: seen.append("post"))
    )
    for _ in range(2):
        assert stepped.call("negate", 5, signed=True) == -5
    assert seen[0] == "pre" and seen.count("pre") == 1
