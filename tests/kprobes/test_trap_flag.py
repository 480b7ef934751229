"""x86 before 5.13: every instruction runs in its slot under the trap flag, and is put right."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from makers.guest_code import SAMPLES, Code

from kprobesim import MODELS, GuestFault, Kernel, Kprobe, KprobeError, Reason
from kprobesim.arch.x86_64 import decode
from kprobesim.arch.x86_64.fix_up import fix_up, goes_anywhere

OLD = ["2.6", "4.9", "4.19", "5.4", "5.10"]


@pytest.mark.parametrize("model", OLD)
@pytest.mark.parametrize(
    ("code", "offset", "arguments", "ip"),
    [
        ("e801000000 c3 b807000000 c3", 0, (), 6),  # call
        ("b807000000 eb02 0f0b c3", 5, (), 9),  # jmp
        ("31c0 85ff 7402 b009 c3", 4, (0,), 8),  # je, taken
        ("31c0 85ff 7402 b009 c3", 4, (1,), 6),  # je, not taken
        ("b803000000 b903000000 ffc0 e2fc c3", 12, (), 14),  # loop
        ("31c9 b805000000 e301 f4 c3", 7, (), 10),  # jrcxz
        ("9c 58 c3", 0, (), 1),  # pushf: neither TF nor a masked IF in what is pushed
        ("fa 9c 58 fb c3", 0, (), 1),  # cli keeps IF clear
        ("fa 9c 58 fb c3", 1, (), 2),  # pushf, IF clear
        ("fa fb 9c 58 c3", 1, (), 2),  # sti sets it
        ("6802020000 9d 9c 58 c3", 5, (), 6),  # popf
        ("6802000000 9d 9c 58 fb c3", 5, (), 6),  # popf clears IF
        ("b807000000 c3", 5, (), None),  # ret
        ("488d0504000000 ffe0 0f0b b807000000 c3", 7, (), 11),  # jmp *%rax
    ],
)
def test_branches_are_stepped(
    model: str, code: str, offset: int, arguments: tuple[int, ...], ip: int | None
) -> None:
    function = Code(model, code)
    expected = function.k.call(function.start, *arguments)
    assert function.call(offset, *arguments) == expected
    if ip is not None:
        assert function.ip == ip
    assert function.hits == function.posts > 0
    assert function.insn.emulate is None
    assert not function.flags & 0x100
    assert len(function.insn.slot_bytes) - function.insn.size in (0, 5)  # no INT3


@pytest.mark.parametrize("model", OLD)
def test_a_call_through_a_register_returns_behind_the_original(model: str) -> None:
    function = Code(model, "4889f8 4889f0 ffd7 c3")
    target = function.k.symbols["add_one"].address
    assert function.call(6, target) == function.k.call("add_one", target)
    assert (function.hits, function.ip) == (1, target - function.start)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("code", "offset"),
    [
        ("48b9{cell} ff11 c3", 10),  # call *(%rcx)
        ("48b9{cell} ff21", 10),  # jmp *(%rcx)
    ],
)
def test_branches_through_memory(model: str, code: str, offset: int) -> None:
    function = Code(model, "c3")
    k = function.k
    cell = k.alloc(8)
    k.write(cell, k.symbols["add_one"].address.to_bytes(8, "little"))
    function.write(code.replace("{cell}", cell.to_bytes(8, "little").hex()))
    if model in OLD:
        assert function.call(offset, 41) == 42
        assert function.hits == function.posts == 1
    else:
        with pytest.raises(KprobeError) as caught:
            function.call(offset, 41)
        assert caught.value.errno == errno.EOPNOTSUPP


class _Registers:
    ip, sp, flags, cx, cs = 0x5000, 0x100, 0x302, 0, 0x10

    def gpr(self, number: int) -> int:
        raise AssertionError


class _Memory:
    def __init__(self) -> None:
        self.words: dict[int, int] = {0x100: 0x5002}

    def read_u64(self, address: int) -> int:
        return self.words[address]

    def write_u64(self, address: int, value: int) -> None:
        self.words[address] = value


@pytest.mark.parametrize(
    ("code", "absolute", "pushed"),
    [
        ("48cf", True, 0x5002),  # iretq
        ("48cb", True, 0x5002),  # lretq
        ("ff28", True, 0x5002),  # ljmp *(%rax)
        ("ff18", True, 0x1002),  # lcall *(%rax): its return address is put right
        ("90", False, 0x5002),
        ("c5f877", False, 0x5002),  # vzeroupper, opcode 77
        ("c5f0c2c200", False, 0x5002),  # vcmpps, opcode C2
    ],
)
def test_what_no_sample_can_run(code: str, absolute: bool, pushed: int) -> None:
    """Segments are loaded from tables that the sample guests do not have."""
    insn, regs, memory = decode(bytes.fromhex(code)), _Registers(), _Memory()
    fix_up(insn, 0x1000, 0x5000)(regs, memory, 0x200)
    assert regs.ip == (0x5000 if absolute else 0x1000)
    assert memory.words == {0x100: pushed}
    assert regs.flags == 0x202
    assert goes_anywhere(insn) == (absolute and pushed == 0x5002)


@pytest.mark.parametrize(("model", "hits"), [("5.10", 5), ("6.1", 1)])
def test_string_instructions_trap_after_each_round(model: str, hits: int) -> None:
    function = Code(model, "b905000000 f3aa 89c8 c3")
    buffer = function.k.alloc(8)
    assert function.call(5, buffer) == 0
    assert (function.hits, function.posts) == (hits, hits)


def test_who_steps_already_gets_the_trap() -> None:
    """A guest that has set TF itself: its trap comes, whatever the probe had to step."""
    function = Code("5.10", "6802030000 9d 90 90 c3")
    with pytest.raises(GuestFault, match="single step"):
        function.call(7)
    assert function.hits <= 1


def test_a_breakpoint_on_the_way_hides_the_boundaries() -> None:
    code = "90 cc 90 c3"
    for model in MODELS:
        k = Code(model, code)
        try:
            k.k.register_kprobe(Kprobe(addr=k.start + 2))
            accepted = True
        except KprobeError as error:
            assert (error.errno, error.reason) == (errno.EILSEQ, Reason.UNDECODABLE)
            accepted = False
        assert accepted == (model not in (*OLD, "5.15"))


@pytest.mark.parametrize("model", ["6.6", "6.12", "6.17"])
def test_instructions_made_to_trap(model: str) -> None:
    k = Code(model, "90 0f0b c3")
    if model == "6.6":
        k.k.register_kprobe(Kprobe(addr=k.start + 1))
    else:
        with pytest.raises(KprobeError) as caught:
            k.k.register_kprobe(Kprobe(addr=k.start + 1))
        assert caught.value.errno == errno.EILSEQ


# -- boosting ----------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_when_a_copy_is_boosted(model: str) -> None:
    """``inc %eax`` has a group opcode, ``mov`` has not, ``ret`` ends anywhere."""
    function = Code(model, "b807000000 ffc0 90 c3")
    k, start = function.k, function.start
    k.kprobes.optimization = False
    boosted: dict[int, list[bool]] = {}
    for offset in (0, 5, 7, 8):
        with k.probing(addr=start + offset, pre_handler=lambda p, regs: None) as p:
            states = boosted[offset] = [p.ainsn.boostable]
            for _ in range(2):
                assert k.call(start) == 8
                states.append(p.ainsn.boostable)
            if p.ainsn.boostable and offset != 8:
                slot = k.read(p.ainsn.insn, p.ainsn.size + 5)
                assert slot[p.ainsn.size] == 0xE9
    late, always, never = [False, True, True], [True] * 3, [False] * 3
    if model in ("2.6", "4.9"):
        assert boosted == {0: late, 5: never, 7: late, 8: late}
    else:
        groups = always if model in ("6.12", "6.13", "6.15", "6.17") else never
        assert boosted == {0: always, 5: groups, 7: always, 8: always}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("strict", [False, True])
def test_a_post_handler_that_comes_later(model: str, strict: bool) -> None:
    """6.1 goes on boosting, and never calls it: that only with ``strict``."""
    k = Kernel.load(SAMPLES / "guest-x86_64.elf", model=model, strict=strict)
    posts: list[int] = []
    k.register_kprobe(Kprobe("strlen", offset=0, pre_handler=lambda p, regs: None))
    k.call("strlen", "abc")
    k.register_kprobe(Kprobe("strlen", post_handler=lambda p, regs, flags: posts.append(1)))
    assert k.call("strlen", "abc") == 3
    assert posts == ([] if strict and model not in OLD else [1])


def test_slots(sample: Path, arch: str) -> None:
    sizes = {name: Kernel.load(sample, model=name).kprobes.slots.slot_size for name in MODELS}
    if arch == "x86_64":
        assert sizes == {name: 16 if name == "2.6" else 15 for name in MODELS}
    else:
        assert sizes == {name: 4 if name in OLD else 8 for name in MODELS}
        k = Kernel.load(sample, model="5.4", stepping="breakpoint")
        assert k.kprobes.slots.slot_size == 8
