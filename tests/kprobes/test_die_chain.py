"""Who is asked about an exception: kprobes, the guest's tables, the die chain, and then it ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from guest_code import Code

from kprobesim import (
    DieArgs,
    DieVal,
    GuestFault,
    Kernel,
    Kprobe,
    NotifierBlock,
    Notify,
    PtRegs,
    UsageError,
)

BREAKPOINT = {"x86_64": "90 cc 90 c3", "arm64": "1f2003d5 800020d4 1f2003d5 c0035fd6"}


def test_a_breakpoint_of_nobody_is_offered(arch: str) -> None:
    function = Code("6.1", BREAKPOINT[arch], arch=arch)
    k = function.k
    events: list[tuple[DieVal, int, str]] = []

    def look(nb: NotifierBlock, val: DieVal, args: DieArgs) -> None:
        events.append((val, args.regs.ip - function.start, args.str))

    watcher = NotifierBlock(look)
    k.register_die_notifier(watcher)
    with pytest.raises(GuestFault, match="breakpoint") as caught:
        k.call(function.start)
    where = 1 if arch == "x86_64" else 4
    assert caught.value.pc == function.start + where
    oops = (DieVal.DIE_OOPS, where, "breakpoint")
    assert events == ([(DieVal.DIE_INT3, 2, "int3"), oops] if arch == "x86_64" else [oops])

    def stop(nb: NotifierBlock, val: DieVal, args: DieArgs) -> int:
        if arch == "arm64":
            args.regs.ip += 4
        return Notify.NOTIFY_STOP

    k.register_die_notifier(NotifierBlock(stop, priority=1))
    events.clear()
    k.call(function.start)
    assert events == []  # the higher priority was asked first, and stopped it


def test_kprobes_come_first(guest: Kernel) -> None:
    asked: list[DieVal] = []
    guest.register_die_notifier(NotifierBlock(lambda nb, val, args: asked.append(val)))
    hits: list[int] = []

    def pre(p: Kprobe, regs: PtRegs) -> None:
        hits.append(regs.ip)

    with guest.probing("strlen", pre_handler=pre, post_handler=lambda *a: None):
        assert guest.call("strlen", "abc") == 3
    assert (len(hits), asked) == (1, [])


def test_faults_are_an_oops(guest: Kernel) -> None:
    seen: list[tuple[DieVal, int]] = []
    nb = NotifierBlock(lambda nb, val, args: seen.append((val, args.trapnr)))
    guest.register_die_notifier(nb)
    with pytest.raises(GuestFault):
        guest.call("read_word", 0x10)
    assert seen == [(DieVal.DIE_OOPS, 14 if guest.arch == "x86_64" else 0x25)]
    guest.unregister_die_notifier(nb)
    with pytest.raises(GuestFault):
        guest.call("read_word", 0x10)
    assert len(seen) == 1


@pytest.mark.parametrize(("code", "val"), [("0f0b c3", DieVal.DIE_TRAP), ("31c9 f7f1 c3", None)])
def test_other_exceptions(code: str, val: DieVal | None) -> None:
    function = Code("6.1", code)
    seen: list[DieVal] = []
    function.k.register_die_notifier(NotifierBlock(lambda nb, val, args: seen.append(val)))
    with pytest.raises(GuestFault):
        function.k.call(function.start)
    assert seen == [val or DieVal.DIE_TRAP, DieVal.DIE_OOPS]


def test_priorities_and_refusals(sample: Path) -> None:
    k = Kernel.load(sample)
    order: list[str] = []

    def block(name: str, priority: int) -> NotifierBlock:
        return NotifierBlock(lambda nb, val, args: order.append(name), priority)

    blocks = [block("a", 0), block("b", 5), block("c", 0), block("d", -1)]
    for nb in blocks:
        k.register_die_notifier(nb)
    with pytest.raises(UsageError, match="EEXIST"):
        k.register_die_notifier(blocks[0])
    with pytest.raises(GuestFault):
        k.call("read_word", 0x10)
    assert order == ["b", "a", "c", "d"]
    k.unregister_die_notifier(blocks[1])
    with pytest.raises(UsageError, match="ENOENT"):
        k.unregister_die_notifier(blocks[1])
    with pytest.raises(UsageError):
        k.register_die_notifier(lambda *a: 0)  # type: ignore[arg-type]
