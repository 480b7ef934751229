"""Several probes at one address, and switching them off and on."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from makers.guest_code import SAMPLES, Code

from kprobesim import Kernel, Kprobe, KprobeError, KprobeFlag, PtRegs, Reason

TARGET = "kprobe_target"


class _Order:
    """Makes probes that note when their handlers run."""

    def __init__(self, k: Kernel, offset: int = 0) -> None:
        self.k, self.offset, self.events = k, offset, ""

    def probe(self, name: str, *, post: bool = True, flags: int = 0, moved: int = 0) -> Kprobe:
        def pre(p: Kprobe, regs: PtRegs) -> int:
            self.events += f"pre{name} "
            return moved

        def after(p: Kprobe, regs: PtRegs, flags: int) -> None:
            self.events += f"post{name} "

        p = Kprobe(TARGET, offset=self.offset, pre_handler=pre, flags=flags)
        p.post_handler = after if post else None
        return p

    def run(self) -> str:
        self.events = ""
        assert self.k.call(TARGET, 12) == 4
        return self.events.rstrip()


@pytest.fixture(params=["entry", "inside"])
def order(stepped: Kernel, request: pytest.FixtureRequest) -> _Order:
    offset = 0
    if request.param == "inside":
        with stepped.probing(TARGET) as p:
            offset = p.ainsn.size * (2 if stepped.arch == "arm64" else 1)
    return _Order(stepped, offset)


def test_the_newest_comes_first(order: _Order) -> None:
    k, probes = order.k, [order.probe(name) for name in "123"]
    k.register_kprobe(probes[0])
    assert order.run() == "pre1 post1"
    k.register_kprobes(probes[1:])
    assert order.run() == "pre3 pre2 pre1 post3 post2 post1"
    k.disable_kprobe(probes[1])
    assert order.run() == "pre3 pre1 post3 post1"
    k.enable_kprobe(probes[1])
    k.unregister_kprobe(probes[0])
    assert order.run() == "pre3 pre2 post3 post2"
    k.unregister_kprobes(probes[1:])
    assert order.run() == ""
    assert len(k.kprobes) == 0
    assert k.kprobes.slots.used == 0


def test_with_and_without_post_handlers(order: _Order) -> None:
    """A handler that joins is called, whatever the first probe's slot was made for."""
    k, plain, both = order.k, order.probe("2", post=False), order.probe("1")
    k.register_kprobe(plain)
    assert order.run() == "pre2"
    k.register_kprobe(both)
    assert order.run() == "pre1 pre2 post1"
    k.unregister_kprobe(plain)
    assert order.run() == "pre1 post1"
    k.unregister_kprobe(both)
    assert order.run() == ""


def test_all_disabled_take_the_breakpoint_out(order: _Order) -> None:
    k, probes = order.k, [order.probe(name) for name in "12"]
    text = k.read(k.symbols[TARGET].address, 32)
    k.register_kprobes(probes)
    for p in probes:
        k.disable_kprobe(p)
        k.disable_kprobe(p)
    assert order.run() == ""
    assert k.read(k.symbols[TARGET].address, 32) == text
    k.enable_kprobe(probes[0])
    k.enable_kprobe(probes[0])
    assert order.run() == "pre1 post1"
    assert [p.disabled for p in probes] == [False, True]
    k.unregister_kprobes(probes)
    assert k.read(k.symbols[TARGET].address, 32) == text


def test_a_disabled_one_does_not_disturb_and_an_enabled_one_arms(order: _Order) -> None:
    k = order.k
    k.register_kprobe(order.probe("1", flags=KprobeFlag.DISABLED))
    assert order.run() == ""
    k.register_kprobe(order.probe("2"))
    assert order.run() == "pre2 post2"
    k.register_kprobe(order.probe("3", flags=KprobeFlag.DISABLED))
    assert order.run() == "pre2 post2"


def test_the_first_that_moves_ends_the_round(guest: Kernel) -> None:
    order = _Order(guest)
    mover = Kprobe(TARGET)

    def move(p: Kprobe, regs: PtRegs) -> int:
        order.events += "move "
        _return(regs, guest, 4)
        return 1

    mover.pre_handler = move
    guest.register_kprobes([order.probe("1"), mover, order.probe("3")])
    assert order.run() == "pre3 move"


def _return(regs: PtRegs, k: Kernel, value: int) -> None:
    regs.return_value = value
    if k.arch == "arm64":
        regs.ip = regs.gpr(30)
    else:
        regs.ip = int.from_bytes(k.read(regs.sp, 8), "little")
        regs.sp += 8


def test_misses_are_each_childs(guest: Kernel) -> None:
    children = [Kprobe("gcd"), Kprobe("gcd", flags=KprobeFlag.DISABLED)]
    guest.register_kprobes(children)

    def nest(p: Kprobe, regs: PtRegs) -> None:
        guest.call("gcd", 4, 6)

    with guest.probing(TARGET, pre_handler=nest):
        guest.call(TARGET, 12)
    assert [p.nmissed for p in children] == [1, 1]


def test_a_fault_goes_to_the_child_whose_handler_runs(guest: Kernel) -> None:
    asked: list[str] = []

    def faulting(p: Kprobe, regs: PtRegs) -> None:
        guest.read(0, 8)

    def answer(name: str) -> Callable[[Kprobe, PtRegs, int], int]:
        def fault_handler(p: Kprobe, regs: PtRegs, trapnr: int) -> int:
            asked.append(name)
            return 1

        return fault_handler

    a = Kprobe(TARGET, pre_handler=faulting, fault_handler=answer("a"))
    b = Kprobe(TARGET, fault_handler=answer("b"))
    guest.register_kprobes([a, b])
    assert guest.call(TARGET, 12) == 4
    assert asked == ["a"]
    assert (a.nmissed, b.nmissed) == (1, 1), "the kernel counts it as a miss, too"


def test_all_disarmed(order: _Order) -> None:
    k, probes = order.k, [order.probe("1"), order.probe("2")]
    text = k.read(k.symbols[TARGET].address, 32)
    k.register_kprobe(probes[0])
    k.kprobes.disarm_all_kprobes()
    k.kprobes.disarm_all_kprobes()
    k.register_kprobe(probes[1])
    assert k.read(k.symbols[TARGET].address, 32) == text
    assert order.run() == ""
    assert "[DISABLED]" not in k.kprobes.list()
    k.kprobes.arm_all_kprobes()
    assert order.run() == "pre2 pre1 post2 post1"


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("behind_a_head", [False, True])
def test_enabling_while_all_are_disarmed(sample: Path, behind_a_head: bool, strict: bool) -> None:
    """The kernel forgets that a lone probe was enabled, or the head of an enabled one."""
    k = Kernel.load(sample, strict=strict)
    hits: list[int] = []
    p = Kprobe(TARGET, pre_handler=lambda p, regs: hits.append(1), flags=KprobeFlag.DISABLED)
    k.register_kprobe(p)
    if behind_a_head:
        k.register_kprobe(Kprobe(TARGET, flags=KprobeFlag.DISABLED))
    k.kprobes.disarm_all_kprobes()
    k.enable_kprobe(p)
    assert p.disabled is (strict and not behind_a_head)
    k.kprobes.arm_all_kprobes()
    assert k.call(TARGET, 12) == 4 and bool(hits) is not strict
    k.enable_kprobe(p)
    assert k.call(TARGET, 12) == 4 and hits


def test_enabling_what_may_be_a_jump_while_all_are_disarmed() -> None:
    """It is behind a head, whether or not it is a jump."""
    k = Kernel.load(SAMPLES / "guest-x86_64.elf", strict=True)
    p = Kprobe("strlen", post_handler=lambda p, regs, flags: None, flags=KprobeFlag.DISABLED)
    k.register_kprobe(p)
    k.kprobes.disarm_all_kprobes()
    k.enable_kprobe(p)
    assert not p.disabled and "[DISABLED]" not in k.kprobes.list()
    k.kprobes.arm_all_kprobes()
    assert k.read(p.addr or 0, 1)[0] != 0xCC
    k.enable_kprobe(p)
    assert k.read(p.addr or 0, 1)[0] == 0xCC


def test_unknown_probes_cannot_be_switched(guest: Kernel) -> None:
    for switch in (guest.enable_kprobe, guest.disable_kprobe):
        with pytest.raises(KprobeError) as caught:
            switch(Kprobe(TARGET))
        assert (caught.value.errno, caught.value.reason) == (errno.EINVAL, Reason.NOT_REGISTERED)


def test_a_probe_whose_code_goes_away(order: _Order) -> None:
    k, p = order.k, order.probe("1")
    k.register_kprobe(p)
    address = p.addr or 0
    k.kprobes.enabled.kill_range(address, address + 1)
    armed = k.read(address, 4)
    assert p.flags & KprobeFlag.GONE
    assert "[GONE]" in k.kprobes.list()
    with pytest.raises(KprobeError) as caught:
        k.enable_kprobe(p)
    assert caught.value.reason is Reason.GONE
    k.unregister_kprobe(p)
    assert k.read(address, 4) == armed, "nobody writes to memory that is gone"
    assert k.kprobes.slots.used == 0


def test_other_code_where_a_probe_is_gone(arch: str) -> None:
    """nop; ret, and then: xor %eax,%eax; ret or mov x0,x0; ret."""
    old, new = {
        "x86_64": ("90 c3", "31c0 c3"),
        "arm64": ("1f2003d5 1f2003d5 1f2003d5 c0035fd6", "1f2003d5 1f2003d5 e00300aa c0035fd6"),
    }[arch]
    code = Code("6.1", old, arch=arch)
    where = code.start + (8 if arch == "arm64" else 0)
    first = Kprobe(addr=where, post_handler=lambda p, regs, flags: None)
    code.k.register_kprobe(first)
    code.k.kprobes.enabled.kill_range(code.start, code.start + 16)
    code.write(new)
    second = Kprobe(addr=where)
    code.k.register_kprobe(second)
    size = 4 if arch == "arm64" else 1
    expected = bytes.fromhex(new.replace(" ", ""))[where - code.start :][:size]
    assert second.opcode.to_bytes(size, "little") == expected
    assert second.ainsn.size == (4 if arch == "arm64" else 2)
    assert code.k.call(code.start, 0) == 0


def test_the_list_of_debugfs(guest: Kernel) -> None:
    address = guest.symbols[TARGET].address
    assert guest.kprobes.list() == ""
    guest.register_kprobes([Kprobe(TARGET), Kprobe(TARGET, flags=KprobeFlag.DISABLED)])
    ftrace = "[FTRACE]" if guest.arch == "x86_64" else ""
    assert guest.kprobes.list() == (
        f"{address:016x}  k  {TARGET}+0x0    [DISABLED]{ftrace}\n"
        f"{address:016x}  k  {TARGET}+0x0    {ftrace}\n"
    )
