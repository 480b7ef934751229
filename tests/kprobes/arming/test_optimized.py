"""Optimised probes of x86-64: the jump, what it leads to, and when there is none."""

from __future__ import annotations

from typing import Any

import pytest
from makers.guest_code import SAMPLES, Code

from kprobesim import (
    GuestFault,
    Jprobe,
    Kernel,
    Kprobe,
    KprobeFlag,
    Kretprobe,
    UsageError,
)

#: push %rbp; mov %rsp,%rbp; mov $7,%eax; lea 1(%rdi,%rax),%rax; add $2,%rax; pop %rbp; ret
CODE = "55 4889e5 b807000000 488d440701 4883c002 5d c3"
PUSH, MOV, SEVEN, LEA, ADD, POP = 0, 1, 4, 9, 14, 18
JUMP = 0xE9


@pytest.fixture
def code() -> Code:
    return Code("6.1", CODE)


def _optimized(k: Kernel) -> list[int]:
    """The addresses that debugfs' list calls optimised."""
    return [int(line[:16], 16) for line in k.kprobes.list().splitlines() if "[OPTIMIZED]" in line]


def _probe(code: Code, offset: int, pre: Any = lambda p, regs: None, **options: Any) -> Kprobe:
    p = Kprobe(addr=code.start + offset, pre_handler=pre, **options)
    code.k.register_kprobe(p)
    return p


def test_a_jump_takes_the_place_of_five_bytes(code: Code) -> None:
    k, before = code.k, code.k.read(code.start, 20)
    p = _probe(code, MOV)
    assert _optimized(k) == [code.start + MOV]
    assert k.read(code.start, 3) == b"\x55\xcc\x89", "the jump comes later"
    k.kprobes.wait_for_optimizer()
    jump = k.read(code.start + MOV, 5)
    buffer = code.start + MOV + 5 + int.from_bytes(jump[1:], "little", signed=True)
    assert jump[0] == JUMP
    assert k.read(buffer, 4) == b"\x6a\x18\x54\x9c"
    assert k.read(buffer + 100, 8) == before[MOV : MOV + 8], "two instructions are overwritten"
    assert k.read(buffer + 108, 1)[0] == JUMP
    assert k.kprobes.read_original(code.start, 20) == before
    k.unregister_kprobe(p)
    assert k.read(code.start, 20) == before
    assert p.flags == KprobeFlag.DISABLED


def test_handlers_see_what_they_see_at_a_breakpoint(code: Code) -> None:
    k = code.k
    seen: list[dict[str, int]] = []
    kept: list[Any] = []

    def pre(p: Kprobe, regs: Any) -> None:
        seen.append(regs.as_dict())
        kept.append(regs)
        k.read(regs.sp, 8)

    p = _probe(code, MOV, pre)
    assert k.call(code.start, 5) == 15
    k.kprobes.wait_for_optimizer()
    assert k.call(code.start, 5) == 15
    assert seen[0] == seen[1]
    assert seen[1]["ip"] == code.start + MOV + 1
    assert kept[0].as_dict() == kept[1].as_dict() == seen[0]
    assert p.nmissed == 0


def test_registers_may_be_changed_but_not_where_it_goes_on(code: Code) -> None:
    def pre(p: Kprobe, regs: Any) -> int:
        regs.di += 100
        regs.ip = 0
        return 1

    _probe(code, MOV, pre)
    code.k.kprobes.wait_for_optimizer()
    assert code.k.call(code.start, 5) == 115


def test_flags_survive() -> None:
    """stc; nop (5 bytes); setc %al; movzx %al,%eax; ret."""
    code = Code("6.1", "f9 0f1f440000 0f92c0 0fb6c0 c3")
    seen = []
    _probe(code, 1, lambda p, regs: seen.append(regs.flags & 1))
    assert _optimized(code.k) == [code.start + 1]
    code.k.kprobes.wait_for_optimizer()
    assert code.k.call(code.start) == 1
    assert seen == [1]


def test_another_handler_may_forbid_it(code: Code) -> None:
    k = code.k
    place = code.start + MOV
    first = _probe(code, MOV)
    k.kprobes.wait_for_optimizer()
    assert k.read(place, 1)[0] == JUMP
    posts: list[int] = []
    second = _probe(code, MOV, post_handler=lambda p, regs, flags: posts.append(regs.ip))
    assert _optimized(k) == []
    assert k.read(place, 1)[0] == 0xCC
    assert k.call(code.start, 5) == 15
    assert posts == [code.start + SEVEN]
    k.unregister_kprobe(second)
    assert _optimized(k) == [place]
    third = _probe(code, MOV)
    assert _optimized(k) == [place, place]
    k.unregister_kprobes([first, third])
    assert k.kprobes.list() == ""
    assert k.kprobes.optimizer is not None and k.kprobes.optimizer.buffers.used == 0


def test_all_children_are_called_newest_first(code: Code) -> None:
    calls: list[str] = []
    for name in "abc":
        _probe(code, MOV, lambda p, regs, name=name: calls.append(name) or 1)
    code.k.kprobes.wait_for_optimizer()
    assert code.k.call(code.start, 5) == 15
    assert calls == ["c", "b", "a"], "what they return does not matter"


def test_interplay_of_overlapping_probes(code: Code) -> None:
    """As a 6.1 showed it for three probes close to each other."""
    k = code.k
    a, b, c = (_probe(code, o, flags=KprobeFlag.DISABLED) for o in (PUSH, MOV, LEA))
    at = {p.addr: name for p, name in ((a, "a"), (b, "b"), (c, "c"))}

    def optimized() -> str:
        return "".join(at[address] for address in sorted(_optimized(k)))

    k.enable_kprobe(a)
    k.kprobes.wait_for_optimizer()
    assert optimized() == "a", "disabled probes inside do not disturb"
    k.enable_kprobe(b)
    assert optimized() == "b"
    k.enable_kprobe(c)
    k.kprobes.wait_for_optimizer()
    assert optimized() == "bc"
    assert k.call(code.start, 5) == 15
    k.disable_kprobe(b)
    assert optimized() == "c", "and that does not bring the other one back"
    k.kprobes.optimization = True
    assert optimized() == "c", "nor does what is so already"
    k.disable_kprobe(a)
    k.enable_kprobe(a)
    assert optimized() == "ac"
    k.kprobes.wait_for_optimizer()
    assert k.call(code.start, 5) == 15


def test_switching_optimisation_off_and_on(code: Code) -> None:
    k, place = code.k, code.start + MOV
    p = _probe(code, MOV)
    k.kprobes.wait_for_optimizer()
    assert k.kprobes.optimization
    k.kprobes.optimization = False
    assert not k.kprobes.optimization
    assert _optimized(k) == [] and k.read(place, 1)[0] == 0xCC
    k.kprobes.optimization = True
    assert _optimized(k) == [place]
    k.kprobes.disarm_all_kprobes()
    assert _optimized(k) == []
    assert k.read(place, 1) == b"\x48"
    k.kprobes.optimization = True
    assert _optimized(k) == [], "what is disarmed is not optimised"
    k.kprobes.arm_all_kprobes()
    assert _optimized(k) == [place]
    assert k.kprobes.get_kprobe(place) is not p, "the kernel puts a head before it"


def test_disabled_and_enabled_again(code: Code) -> None:
    k, hits = code.k, []
    p = _probe(code, MOV, lambda p, regs: hits.append(1))
    k.kprobes.wait_for_optimizer()
    k.disable_kprobe(p)
    assert k.read(code.start, 20)[:19].hex() == CODE.replace(" ", "")[:38]
    assert k.call(code.start, 5) == 15
    k.enable_kprobe(p)
    k.kprobes.wait_for_optimizer()
    assert k.call(code.start, 5) == 15
    assert hits == [1]


def test_a_hit_inside_a_handler_is_missed(code: Code) -> None:
    k = code.k

    def pre(p: Kprobe, regs: Any) -> None:
        assert k.call(code.start, 1) == 11

    p = _probe(code, MOV, pre)
    k.kprobes.wait_for_optimizer()
    assert k.call(code.start, 5) == 15
    assert p.nmissed == 1


def test_a_handler_cannot_wait_but_may_unregister(code: Code) -> None:
    k = code.k

    def pre(p: Kprobe, regs: Any) -> None:
        with pytest.raises(UsageError, match="between calls"):
            k.kprobes.wait_for_optimizer()
        k.unregister_kprobe(p)

    _probe(code, MOV, pre)
    k.kprobes.wait_for_optimizer()
    assert k.call(code.start, 5) == 15
    assert k.call(code.start, 5) == 15
    assert len(k.kprobes) == 0


def test_a_handler_that_raises_ends_the_call(code: Code) -> None:
    def pre(p: Kprobe, regs: Any) -> None:
        raise KeyError("mine")

    _probe(code, MOV, pre)
    code.k.kprobes.wait_for_optimizer()
    for _ in range(2):
        with pytest.raises(KeyError, match="mine"):
            code.k.call(code.start, 5)


def test_a_fault_of_a_copied_instruction_is_told_of_its_own_place() -> None:
    """mov $1,%eax; mov (%rdi),%rax; ret: the second one is copied, too."""
    code = Code("6.1", "90 90 488b07 c3")
    p = _probe(code, 0)
    assert _optimized(code.k) == [p.addr]
    code.k.kprobes.wait_for_optimizer()
    with pytest.raises(GuestFault) as caught:
        code.k.call(code.start, 8)
    assert caught.value.regs.ip == code.start + 2


def test_code_that_goes_away(code: Code) -> None:
    k = code.k
    p = _probe(code, MOV)
    k.kprobes.wait_for_optimizer()
    armed = k.read(code.start, 20)
    k.kprobes.enabled.kill_range(code.start, code.start + 20)
    assert "[GONE]" in k.kprobes.list() and not _optimized(k)
    k.unregister_kprobe(p)
    assert k.read(code.start, 20) == armed
    assert k.kprobes.optimizer is not None and k.kprobes.optimizer.buffers.used == 0


def test_a_return_probe_behind_a_jump() -> None:
    k = Kernel.load(SAMPLES / "guest-x86_64.elf", arming="breakpoint")
    results = []
    place = k.symbols["strlen"].address
    rp = Kretprobe("strlen", handler=lambda ri, regs: results.append(regs.return_value))
    k.register_kretprobe(rp)
    assert _optimized(k) == [place]
    k.kprobes.wait_for_optimizer()
    assert k.call("strlen", b"four\0") == 4
    assert results == [4]


def test_a_jprobe_keeps_its_breakpoint() -> None:
    k = Kernel.load(SAMPLES / "guest-x86_64.elf", arming="breakpoint")
    seen: list[int] = []
    jp = Jprobe("strlen", entry=seen.append)
    k.register_kprobe(Kprobe("strlen"))
    k.kprobes.wait_for_optimizer()
    k.register_jprobe(jp)
    assert _optimized(k) == []
    assert k.call("strlen", b"four\0") == 4
    assert len(seen) == 1
    k.unregister_jprobe(jp)
    assert _optimized(k) == [k.symbols["strlen"].address]


@pytest.mark.parametrize("options", [{"arming": "hook"}, {}])
def test_where_there_is_no_optimizer(options: dict[str, Any]) -> None:
    arch = "x86_64" if options else "arm64"
    k = Kernel.load(SAMPLES / f"guest-{arch}.elf", **options)
    assert not k.kprobes.optimization
    k.kprobes.optimization = False
    k.kprobes.wait_for_optimizer()
    with pytest.raises(UsageError, match="no optimised probes"):
        k.kprobes.optimization = True


def test_text_pokes_tell_of_jumps(code: Code) -> None:
    pokes: list[tuple[int, str, int]] = []
    code.k.on_text_poke(lambda address, old, new, who: pokes.append((address, who, len(new))))
    p = _probe(code, MOV)
    code.k.kprobes.wait_for_optimizer()
    code.k.unregister_kprobe(p)
    place = code.start + MOV
    assert [(who, size) for address, who, size in pokes if abs(address - place) < 5] == [
        ("kprobe arm", 1),
        ("kprobe optimize", 5),
        ("kprobe unoptimize", 1),
        ("kprobe unoptimize", 4),
        ("kprobe disarm", 1),
    ]
