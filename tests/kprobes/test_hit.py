"""The life of a hit: states, nesting, faults and what an exception leaves behind."""

from __future__ import annotations

from typing import Any

import pytest

from kprobesim import (
    GuestFault,
    GuestLimit,
    GuestMemoryError,
    GuestTimeout,
    Kernel,
    Kprobe,
    KprobeStatus,
    Kretprobe,
    PtRegs,
    UsageError,
)

ACTIVE, SS, SSDONE = (
    KprobeStatus.KPROBE_HIT_ACTIVE,
    KprobeStatus.KPROBE_HIT_SS,
    KprobeStatus.KPROBE_HIT_SSDONE,
)


def test_pre_and_post_around_one_instruction(stepped: Kernel) -> None:
    entry = stepped.symbols["kprobe_target"].address
    log: list[tuple[str, int, int]] = []
    ctl = stepped.kprobes.ctlblk[0]

    def pre(p: Kprobe, regs: Any) -> None:
        assert ctl.current_kprobe is p
        log.append(("pre", regs.ip - entry, ctl.kprobe_status))

    def post(p: Kprobe, regs: Any, flags: int) -> None:
        assert flags == 0
        log.append(("post", regs.ip - entry, ctl.kprobe_status))

    with stepped.probing("kprobe_target", pre_handler=pre, post_handler=post) as p:
        assert stepped.call("kprobe_target", 9) == 3
        size = p.ainsn.size
    ip = 1 if stepped.arch == "x86_64" else 0
    assert log == [("pre", ip, ACTIVE), ("post", size, SSDONE)]
    assert ctl.current_kprobe is None


def test_memory_of_an_armed_probe(stepped: Kernel) -> None:
    address = stepped.symbols["strlen"].address
    original = stepped.read(address, 16)
    with stepped.probing("strlen", post_handler=lambda *a: None) as p:
        if p.ainsn.insn == address:  # a hook: nothing is written, nothing is copied
            assert stepped.read(address, 16) == original
            assert stepped.kprobes.slots.used == 0
            return
        breakpoint = b"\xcc" if stepped.arch == "x86_64" else bytes.fromhex("800020d4")
        assert stepped.read(address, len(breakpoint)) == breakpoint
        assert p.opcode == int.from_bytes(original[: len(breakpoint)], "little")
        slot = stepped.read(p.ainsn.insn, p.ainsn.size)
        assert slot == original[: p.ainsn.size]
        assert p.ainsn.insn in stepped.kprobes.slots
    assert stepped.read(address, 16) == original
    assert stepped.kprobes.slots.used == 0


def test_interrupts_are_masked_only_while_stepping(stepped: Kernel) -> None:
    mask = 0x200 if stepped.arch == "x86_64" else 0x3C0
    seen: list[int] = []
    with stepped.probing(
        "strlen",
        pre_handler=lambda p, regs: seen.append(regs.flags & mask),
        post_handler=lambda p, regs, flags: seen.append(regs.flags & mask),
    ):
        stepped.call("strlen", "abc")
    assert seen[0] == seen[1]


def test_every_call_hits_once(stepped: Kernel) -> None:
    hits = [0]

    def pre(p: Kprobe, regs: Any) -> None:
        hits[0] += 1

    with stepped.probing("fib", pre_handler=pre):
        assert stepped.call("fib", 10) == 55
    assert hits[0] == 177  # calls of the naive recursion: 2 * fib(11) - 1


def test_a_probe_hit_by_a_handler_is_missed_but_runs(stepped: Kernel) -> None:
    """The kernel's own test_kprobe_missed: once from pre, once from post."""
    ran: list[str] = []

    def pre(p: Kprobe, regs: Any) -> None:
        ran.append("pre")
        assert stepped.call("kprobe_recursed_target", 30) == 10

    def post(p: Kprobe, regs: Any, flags: int) -> None:
        ran.append("post")
        assert stepped.call("kprobe_recursed_target", 60) == 20

    with stepped.probing("kprobe_recursed_target", pre_handler=pre, post_handler=post) as p:
        assert stepped.call("kprobe_recursed_target", 90) == 30
        assert ran == ["pre", "post"]
        assert p.nmissed == 2


def test_another_probe_hit_by_a_handler_is_missed(guest: Kernel) -> None:
    def pre(p: Kprobe, regs: Any) -> None:
        guest.call("gcd", 12, 8)

    inner: list[object] = []
    with (
        guest.probing("strlen", pre_handler=pre) as outer,
        guest.probing("gcd", pre_handler=lambda *a: inner.append(a)) as missed,
    ):
        guest.call("strlen", "abc")
        assert (outer.nmissed, missed.nmissed, inner) == (0, 1, [])
        guest.call("gcd", 12, 8)
        assert len(inner) == 1


def test_a_stepped_fault_asks_the_fault_handler(stepped: Kernel) -> None:
    """The handler mends the register, the instruction is executed again."""
    cell = stepped.alloc(8)
    stepped.write(cell, (4711).to_bytes(8, "little"))
    entry = stepped.symbols["read_word"].address
    log: list[Any] = []

    def fault(p: Kprobe, regs: Any, trapnr: int) -> int:
        log.append((regs.ip - entry, trapnr))
        regs.set_gpr(7 if stepped.arch == "x86_64" else 0, cell)
        return 1

    hits: list[int] = []
    with stepped.probing(
        "read_word", pre_handler=lambda p, regs: hits.append(regs.arg(0)), fault_handler=fault
    ):
        assert stepped.call("read_word", 0x10) == 4711
    assert log == [(0, 14 if stepped.arch == "x86_64" else 0x25)]
    assert hits == [0x10, cell]  # the retry hits the breakpoint again


def test_an_unhandled_stepped_fault_names_the_probed_address(stepped: Kernel) -> None:
    asked: list[int] = []

    def fault(p: Kprobe, regs: Any, trapnr: int) -> int:
        asked.append(trapnr)
        return 0

    text = stepped.read(stepped.symbols["read_word"].address, 4)
    with stepped.probing("read_word", fault_handler=fault):
        with pytest.raises(GuestFault) as caught:
            stepped.call("read_word", 0x10)
        assert caught.value.pc == stepped.symbols["read_word"].address
        assert len(asked) == 1
        assert stepped.call("read_word", stepped.alloc(8)) == 0
    assert stepped.read(stepped.symbols["read_word"].address, 4) == text


def test_the_exception_table_sees_the_probed_address(stepped: Kernel) -> None:
    """A probe elsewhere in the function does not keep a foreseen fault from its fix-up."""
    name = "probe_read"
    hits: list[int] = []
    probes = []
    for offset in range(stepped.symbols[name].size):
        p = Kprobe(name, offset=offset, pre_handler=lambda p, regs: hits.append(1))
        try:
            stepped.register_kprobe(p)
        except OSError:
            continue
        probes.append(p)
    assert stepped.call(name, bytearray(8), 0, 8) & 0xFFFFFFFF == (1 << 32) - 14
    assert hits
    stepped.unregister_kprobes(probes)


def test_a_handlers_bad_access_asks_the_fault_handler(guest: Kernel) -> None:
    asked: list[int] = []
    reached: list[str] = []

    def pre(p: Kprobe, regs: Any) -> None:
        guest.read(0x10, 8)
        reached.append("after the bad read")

    def fault(p: Kprobe, regs: Any, trapnr: int) -> int:
        asked.append(trapnr)
        return answer[0]

    answer = [1]
    with guest.probing("strlen", pre_handler=pre, fault_handler=fault) as p:
        assert guest.call("strlen", "abc") == 3
        assert asked == [14 if guest.arch == "x86_64" else 0x25]
        assert (len(asked), p.nmissed, reached) == (1, 1, [])
        answer = [0]
        with pytest.raises(GuestMemoryError):
            guest.call("strlen", "abc")
        assert len(asked) == 2
    assert guest.call("strlen", "abc") == 3


def test_a_fault_of_a_function_called_by_a_handler(guest: Kernel) -> None:
    """It goes to the fault_handler of the running probe, with the registers of the fault."""
    cell = guest.alloc(8)

    def pre(p: Kprobe, regs: Any) -> None:
        assert guest.call("read_word", 0x10) == 0

    def fault(p: Kprobe, regs: Any, trapnr: int) -> int:
        regs.set_gpr(7 if guest.arch == "x86_64" else 0, cell)
        return 1

    with guest.probing("strlen", pre_handler=pre, fault_handler=fault) as p:
        assert guest.call("strlen", "abc") == 3
        assert p.nmissed == 1


@pytest.mark.parametrize("where", ["pre_handler", "post_handler"])
def test_an_exception_reaches_the_caller(stepped: Kernel, where: str) -> None:
    class Mine(Exception):
        pass

    def explode(*_: object) -> None:
        raise Mine("from a handler")

    with stepped.probing("strlen", **{where: explode}):  # type: ignore[arg-type]
        for _ in range(3):
            with pytest.raises(Mine, match="from a handler"):
                stepped.call("strlen", "abc")
        assert stepped.kprobes.ctlblk[0].current_kprobe is None
        assert stepped.call("gcd", 12, 8) == 4
    assert stepped.call("strlen", "abc") == 3


def test_a_handler_that_never_moves_on_times_out(guest: Kernel) -> None:
    """pre_handler returns 1 and leaves ip on the probe: the hit repeats for ever."""

    def stay(p: Kprobe, regs: Any) -> int:
        regs.ip = p.addr
        return 1

    with guest.probing("strlen", pre_handler=stay), pytest.raises(GuestTimeout):
        guest.call("strlen", "abc", timeout=0.2)
    assert guest.call("strlen", "abc") == 3


def test_unregistering_from_inside_a_handler(stepped: Kernel) -> None:
    """The step that is under way still finds its copy in the slot."""
    others = [Kprobe("crc32_le"), Kprobe("memcpy"), Kprobe("memset")]

    def pre(p: Kprobe, regs: Any) -> None:
        stepped.unregister_kprobe(p)
        stepped.register_kprobes(others)

    stepped.register_kprobe(Kprobe("kprobe_target", pre_handler=pre))
    assert stepped.call("kprobe_target", 30) == 10
    assert stepped.call("kprobe_target", 33) == 11
    stepped.unregister_kprobes(others)


def test_a_timeout_inside_a_nested_call(guest: Kernel) -> None:
    def pre(p: Kprobe, regs: Any) -> None:
        with pytest.raises(GuestTimeout):
            guest.call("spin_forever", timeout=0.1)

    with guest.probing("strlen", pre_handler=pre):
        assert guest.call("strlen", "abc") == 3


def test_hooks_are_called_behind_a_nested_call_that_failed(stepped: Kernel) -> None:
    """At every place, and the returns that were being followed are."""
    k, events = stepped, []

    def nest(p: Kprobe, regs: PtRegs) -> None:
        with pytest.raises(GuestFault):
            k.call("strlen", 8)
        events.append("failed")

    k.register_kretprobe(Kretprobe("fib", lambda ri, regs: events.append(regs.return_value)))
    k.register_kprobes([Kprobe("gcd", pre_handler=nest), Kprobe("fib"), Kprobe("lcm")])
    k.register_kprobe(Kprobe("fib", pre_handler=lambda p, regs: regs.arg(0) == 2 and nest(p, regs)))
    for _ in range(2):
        assert k.call("fib", 3) == 2
        assert events == ["failed", 1, 0, 1, 1, 2]
        events.clear()
        assert k.call("gcd", 8, 6) == 2
        assert events == ["failed"]
        events.clear()


@pytest.mark.parametrize("outer", [0, 100_000])
def test_a_limit_inside_a_nested_call(stepped: Kernel, outer: int) -> None:
    """Hooks can have it in a call that is limited, too; breakpoints always."""
    k, refused = stepped, stepped.kprobes.arming == "hook" and not outer

    def nest(p: Kprobe, regs: PtRegs) -> None:
        with pytest.raises(UsageError if refused else GuestLimit):
            k.call("fib", 15, max_instructions=50)

    with k.probing("gcd", pre_handler=nest) as p:
        for _ in range(2):
            assert k.call("gcd", 8, 6, max_instructions=outer) == 2
    assert p.nmissed == 0
