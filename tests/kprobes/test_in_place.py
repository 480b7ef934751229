"""Instructions under hooks: they run where they are, and their end is noticed."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path
from typing import Any

import pytest

from kprobesim import GuestLimit, Kernel, Kprobe, KprobeError, PtRegs
from kprobesim.arch.x86_64 import decode
from kprobesim.arch.x86_64.fall_through import falls_through, repeats
from kprobesim.kernel.called import CalledKernel

_NOP = 0xD503201F
STEPPED = {"x86_64": 32, "arm64": 20}
"""The offset of an instruction in the loop of count_to() that is neither emulated nor a branch."""


@pytest.fixture
def hooked(sample: Path) -> CalledKernel:
    """A guest whose probes are hooks."""
    return Kernel.load(sample, arming="hook")


@pytest.mark.parametrize("nested", [False, True])
def test_a_post_handler_that_comes_later_is_called(hooked: CalledKernel, nested: bool) -> None:
    """The blocks that run then know nothing of it."""
    k, at = hooked, STEPPED[hooked.arch]
    ends: list[int] = []

    def pre(p: Kprobe, regs: PtRegs) -> None:
        if p.post_handler is None:
            if nested:
                k.call("count_to", 1)
            p.post_handler = post

    def post(p: Kprobe, regs: PtRegs, flags: int) -> None:
        ends.append(regs.ip)

    with k.probing("count_to", offset=at, pre_handler=pre) as p:
        assert k.call("count_to", 5) == 10
        assert ends == [p.addr + p.ainsn.size] * 5
        p.pre_handler = p.post_handler = None
        assert k.call("count_to", 5) == 10
    assert len(ends) == 5
    assert k.call("count_to", 5) == 10


def test_limits_are_where_they_are_without_a_probe(hooked: CalledKernel) -> None:
    k, at = hooked, STEPPED[hooked.arch]

    def outcome(limit: int) -> Any:
        try:
            return k.call("count_to", 3, max_instructions=limit)
        except GuestLimit as error:
            return error.regs.as_dict()

    pres: list[int] = []
    posts: list[int] = []
    for limit in range(1, 30):
        plain = outcome(limit)
        del pres[:], posts[:]
        with k.probing(
            "count_to",
            offset=at,
            pre_handler=lambda p, regs: pres.append(regs.ip),
            post_handler=lambda p, regs, flags: posts.append(regs.ip),
        ):
            assert outcome(limit) == plain
        assert len(pres) == len(posts), "a hit is not cut in its middle"
    assert len(posts) == 3


@pytest.mark.parametrize("function", ["count_to", "gcd"])
def test_time_is_what_it_is_without_a_probe(hooked: CalledKernel, function: str) -> None:
    """On every instruction, branches that are taken or not among them: the blocks are counted."""
    k, stopwatch, hits = hooked, hooked.machine.stopwatch, []

    def spent() -> int:
        before = stopwatch.now()
        k.call(function, 12, 18)
        return stopwatch.now() - before

    plain = spent()
    assert plain > 0
    for offset in range(k.symbols[function].size):
        p = Kprobe(function, offset=offset, post_handler=lambda p, *_: hits.append(p.addr))
        with contextlib.suppress(KprobeError), k.register_kprobe(p):
            assert [spent(), spent()] == [plain, plain], hex(offset)
    assert len(set(hits)) > 8


CUTTING = {
    # sti; nop; nop; mov %esi, %ecx; rep stosb; mov %ecx, %eax; cli; sti; jmp .; pushf; popf; ret
    "x86_64": bytes.fromhex("fb 90 90 89f1 f3aa 89c8 fa fb eb00 9c 9d c3"),
    # isb; nop; yield; nop; dsb; nop; ret
    "arm64": struct.pack("<7I", 0xD5033FDF, _NOP, 0xD503203F, _NOP, 0xD5033F9F, _NOP, 0xD65F03C0),
}
"""Instructions behind which blocks end, though the next one follows."""


def test_time_is_what_it_is_where_no_branch_ends_a_block(hooked: CalledKernel) -> None:
    k, stopwatch, hits = hooked, hooked.machine.stopwatch, []
    at, code = k.symbols["gcd"].address, CUTTING[k.arch]
    k.write(at, code)
    buffer = k.alloc(16)

    def spent() -> int:
        before = stopwatch.now()
        k.call(at, buffer, 9)
        return stopwatch.now() - before

    plain = spent()
    for place in range(at, at + len(code)):
        for post in (None, lambda p, *_: hits.append(p.addr)):
            p = Kprobe(addr=place, pre_handler=lambda *_: None, post_handler=post)
            with contextlib.suppress(KprobeError), k.register_kprobe(p):
                assert [spent(), spent()] == [plain, plain], hex(place - at)
    assert len(set(hits)) > 4


def test_where_the_hit_goes_on_may_be_changed_at_its_end(hooked: CalledKernel) -> None:
    k, at = hooked, STEPPED[hooked.arch]

    plain, ends = k.call("count_to", 5), list[int]()

    def once_more(p: Kprobe, regs: PtRegs, flags: int) -> None:
        assert p.addr is not None
        ends.append(regs.ip)
        if len(ends) % 2:
            regs.ip = p.addr

    with k.probing("count_to", offset=at, post_handler=once_more):
        twice = k.call("count_to", 5)
    assert (twice, len(ends)) == (2 * plain, 10)


def test_a_probe_behind_a_probe_is_hit_after_it(hooked: CalledKernel) -> None:
    k, at = hooked, STEPPED[hooked.arch]
    told: list[str] = []
    first = Kprobe("count_to", offset=at, post_handler=lambda *_: told.append("end"))
    with k.register_kprobe(first):
        size = first.ainsn.size
        second = Kprobe("count_to", offset=at + size, pre_handler=lambda *_: told.append("next"))
        with k.register_kprobe(second):
            k.call("count_to", 4)
            assert told == ["end", "next"] * 4
            k.unregister_kprobe(first)
            k.call("count_to", 1)
            assert told.pop() == "next" and len(told) == 8


def test_taken_out_in_a_hit_whose_block_starts_anew_it_is_hit_again(stepped: CalledKernel) -> None:
    k, at, hits = stepped, STEPPED[stepped.arch], []

    def pre(p: Kprobe, regs: PtRegs) -> None:
        hits.append(1)
        if len(hits) == 1:
            k.call("strlen", "abc")
            k.unregister_kprobe(p)

    k.register_kprobe(Kprobe("count_to", offset=at, pre_handler=pre))
    assert k.call("count_to", 2) == 1
    with k.probing("count_to", offset=at, pre_handler=pre):
        assert k.call("count_to", 2) == 1
    assert len(hits) == 3


def test_a_string_instruction_is_one_hit(arch: str, sample: Path) -> None:
    if arch != "x86_64":
        pytest.skip("it has none")
    for arming in ("breakpoint", "hook"):
        k = Kernel.load(sample, arming=arming)  # type: ignore[arg-type]
        at, buffer = k.symbols["strlen"].address, k.alloc(16)
        k.write(at, bytes.fromhex("89f1 f3aa 89c8 c3"))  # mov %esi, %ecx; rep stosb
        counts: list[int] = []

        def pre(p: Kprobe, regs: Any, counts: list[int] = counts) -> None:
            counts.append(regs.cx)

        with k.probing(addr=at + 2, pre_handler=pre):
            assert [k.call(at, buffer, 5), k.call(at, buffer, 0)] == [0, 0]
        assert counts == [5, 0]


@pytest.mark.parametrize(
    ("code", "expected", "again"),
    [
        ("4889f8", True, False),  # mov
        ("f3a4", True, True),  # rep movsb
        ("a4", True, False),
        ("f30fb8c0", True, False),  # popcnt: the prefix is part of the opcode
        ("0f22d8", True, False),  # mov to cr3
        ("c5f877", True, False),  # vzeroupper
        ("e801000000", False, False),
        ("7402", False, False),
        ("0f8400000000", False, False),
        ("e2fc", False, False),
        ("c3", False, False),
        ("48cf", False, False),  # iretq
        ("cd80", False, False),  # int $0x80
        ("f4", False, False),  # hlt
        ("0f05", False, False),  # syscall
        ("0f0b", False, False),  # ud2
        ("0f01d9", False, False),  # vmmcall
        ("0f01f8", False, False),  # swapgs
        ("0f0138", True, False),  # invlpg (%rax)
        ("ffe0", False, False),  # jmp *%rax
        ("ff10", False, False),  # call *(%rax)
        ("ff00", True, False),  # inc (%rax)
        ("c7f800000000", False, False),  # xbegin
        ("c70000000000", True, False),  # movl $0, (%rax)
    ],
)
def test_what_is_followed_by_what_is_behind_it(code: str, expected: bool, again: bool) -> None:
    insn = decode(bytes.fromhex(code) + bytes(16))
    assert (falls_through(insn), repeats(insn)) == (expected, again)
