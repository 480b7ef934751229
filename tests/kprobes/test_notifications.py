"""Who hears of what: die notifiers, text pokes, call traces in handlers."""

from __future__ import annotations

import re
from typing import Any

import pytest

from kprobesim import (
    DieEvent,
    GuestBug,
    GuestFault,
    Kernel,
    Kprobe,
    Kretprobe,
    Notify,
    PtRegs,
    Trap,
    TrapKind,
    UsageError,
)

BREAK_AND_RETURN_7 = {
    "x86_64": b"\xcc\xb8\x07\x00\x00\x00\xc3",  # int3; mov eax, 7; ret
    "arm64": bytes.fromhex("200020d4e0008052c0035fd6"),  # brk #1; mov w0, #7; ret
}


@pytest.fixture
def breaking(stepped: Kernel) -> int:
    """A function with a breakpoint that is nobody's."""
    code = BREAK_AND_RETURN_7[stepped.arch]
    address = stepped.alloc(len(code), executable=True)
    stepped.write(address, code)
    return address


def test_an_answer_that_is_none(stepped: Kernel, breaking: int) -> None:
    stepped.register_die_notifier(lambda *a: "stop")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="give a Notify"):
        stepped.call(breaking)


def test_a_breakpoint_that_nobody_claims(stepped: Kernel, breaking: int) -> None:
    x86 = stepped.arch == "x86_64"
    seen: list[tuple[int, int, TrapKind]] = []

    def look(event: DieEvent, regs: PtRegs, trap: Trap) -> None:
        seen.append((event, regs.ip, trap.kind))

    def take(event: DieEvent, regs: PtRegs, trap: Trap) -> int:
        seen.append((event, regs.ip, trap.kind))
        if not x86:
            regs.ip += 4
        return Notify.NOTIFY_STOP

    event = DieEvent.DIE_INT3 if x86 else DieEvent.DIE_OOPS
    here = (event, breaking + x86, TrapKind.BREAKPOINT)
    stepped.register_die_notifier(look)
    with pytest.raises(GuestFault) as fault:
        stepped.call(breaking)
    assert fault.value.pc == breaking
    assert seen == [here]
    stepped.register_die_notifier(take)
    assert stepped.call(breaking) == 7
    assert seen == [here] * 3
    stepped.unregister_die_notifier(look)
    stepped.unregister_die_notifier(take)
    with pytest.raises(GuestFault):
        stepped.call(breaking)
    assert len(seen) == 3


def test_order_and_priority(stepped: Kernel, breaking: int) -> None:
    order: list[str] = []

    def notifier(name: str, answer: Notify | None = None) -> Any:
        def call(event: DieEvent, regs: PtRegs, trap: Trap) -> Notify | None:
            order.append(name)
            return answer

        return call

    stepped.register_die_notifier(notifier("a", Notify.NOTIFY_OK))
    stepped.register_die_notifier(notifier("b"))
    stepped.register_die_notifier(notifier("c", Notify.NOTIFY_DONE), priority=5)
    last = notifier("stop", Notify.NOTIFY_BAD)
    stepped.register_die_notifier(last, priority=-1)
    stepped.register_die_notifier(notifier("never"), priority=-2)

    def on(event: DieEvent, regs: PtRegs, trap: Trap) -> None:
        if stepped.arch == "arm64":
            regs.ip += 4

    stepped.register_die_notifier(on)
    assert stepped.call(breaking) == 7
    assert order == ["c", "a", "b", "stop"]


def test_probes_and_exception_tables_come_first(stepped: Kernel) -> None:
    def never(event: DieEvent, regs: PtRegs, trap: Trap) -> None:
        raise AssertionError(event)

    stepped.register_die_notifier(never)
    with stepped.probing("kprobe_target", post_handler=lambda *a: None):
        assert stepped.call("kprobe_target", 12) == 4
    stepped.register_kretprobe(Kretprobe("kprobe_target"))
    assert stepped.call("kprobe_target", 12) == 4
    assert stepped.call("get_user_word", 8, stepped.alloc(8)) & 0xFFFFFFFF == -14 & 0xFFFFFFFF
    assert stepped.call("warn_if", 3) == 4


def test_faults_and_bugs(stepped: Kernel) -> None:
    x86 = stepped.arch == "x86_64"
    events: list[DieEvent] = []
    stepped.register_die_notifier(lambda event, regs, trap: events.append(event))
    with pytest.raises(GuestFault):
        stepped.call("strlen", None)
    with pytest.raises(GuestBug):
        stepped.call("trigger_bug", 3)
    assert events == [DieEvent.DIE_OOPS, DieEvent.DIE_TRAP if x86 else DieEvent.DIE_OOPS]


def test_wrong_use(guest: Kernel) -> None:
    with pytest.raises(UsageError):
        guest.register_die_notifier(5)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        guest.unregister_die_notifier(lambda *a: None)
    with pytest.raises(UsageError):
        guest.on_text_poke(None)  # type: ignore[arg-type]


def test_text_pokes(with_breakpoints: Kernel) -> None:
    guest = with_breakpoints
    pokes: list[tuple[int, bytes, bytes, str]] = []
    end = guest.on_text_poke(lambda *poke: pokes.append(poke))
    address = guest.symbols["strlen"].address
    original = guest.read(address, 4)
    with guest.probing("strlen", post_handler=lambda *a: None):
        armed = guest.read(address, 4)
    width = 1 if guest.arch == "x86_64" else 4
    whats = [what for *_, what in pokes]
    assert whats == ["kprobe slot", "kprobe arm", "kprobe disarm"]
    assert pokes[1][:3] == (address, original[:width], armed[:width])
    assert pokes[2][:3] == (address, armed[:width], original[:width])
    end()
    end()
    with guest.probing("strlen"):
        pass
    assert len(pokes) == 3


def test_no_text_is_poked_by_hooks(sample: Any) -> None:
    k = Kernel.load(sample, arming="hook")
    k.on_text_poke(lambda *poke: pytest.fail(f"poked {poke}"))
    k.register_kretprobe(Kretprobe("strlen"))
    with k.probing("strlen", post_handler=lambda *a: None):
        assert k.call("strlen", "abc") == 3


def test_a_call_trace_at_every_instruction(stepped: Kernel) -> None:
    """Whatever of its frame the function has set up, or undone, by then."""
    symbol = stepped.symbols["alloc_pid"]
    seen: dict[int, list[str]] = {}

    def look(p: Kprobe, regs: Any, *_: Any) -> None:
        seen.setdefault(regs.ip, []).append(stepped.dump_stack())

    probes = []
    at = symbol.address
    while at < symbol.address + symbol.size:
        p = Kprobe(addr=at, pre_handler=look, post_handler=look)
        try:
            stepped.register_kprobe(p)
        except OSError:
            at += 4 if stepped.arch == "arm64" else 1
            continue
        probes.append(p)
        at += p.ainsn.size
    assert stepped.call("do_fork", 17, 0, 0) == 1
    assert len(seen) >= 4
    for trace in (trace for traces in seen.values() for trace in traces):
        places = re.findall(r"^ (\w+)\+0x", trace, re.M)
        if places[0] == "alloc_pid":
            places = places[1:]
        assert places == ["copy_process", "kernel_clone", "_do_fork", "do_fork"], trace


def test_the_first_line_is_the_probed_place(stepped: Kernel) -> None:
    traces: list[str] = []
    with stepped.probing("alloc_pid", pre_handler=lambda p, r: traces.append(stepped.dump_stack())):
        stepped.call("do_fork", 17, 0, 0)
    lines = traces[0].splitlines()
    if stepped.arch == "x86_64":
        assert lines[:2] == ["Call Trace:", " <TASK>"]
        assert lines[-1] == " </TASK>"
        assert re.fullmatch(r" alloc_pid\+0x1/0x[0-9a-f]+", lines[2])
    else:
        assert lines[0] == "Call trace:"
        assert re.fullmatch(r" alloc_pid\+0x0/0x[0-9a-f]+", lines[1])
