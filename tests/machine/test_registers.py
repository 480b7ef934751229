"""``PtRegs``: names, writes that take effect, and what is left of them after the handler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kprobesim import Kernel, Kprobe, PtRegs, UsageError

SAMPLES = Path(__file__).parents[2] / "samples"

ADD_STACK_ARGUMENTS = {
    # the NOP of ftrace; mov rax, [rsp + 8]; add rax, [rsp + 16]; ret
    "x86_64": "0f1f440000 488b442408 4803442410 c3",
    # nop; ldp x0, x1, [sp]; add x0, x0, x1; ret
    "arm64": "1f2003d5 e00740a9 0000018b c0035fd6",
}
X86_NAMES = ("r15 r14 r13 r12 bp bx r11 r10 r9 r8 ax cx dx si di orig_ax ip cs flags sp ss").split()
ARM64_NAMES = [*(f"x{n}" for n in range(31)), "sp", "pc", "pstate"]


def test_the_kernels_own_names(guest: Kernel) -> None:
    kept: list[Any] = []
    with guest.probing("kprobe_target", pre_handler=lambda p, regs: kept.append(regs)):
        guest.call("kprobe_target", 30)
    (regs,) = kept
    assert list(regs) == (X86_NAMES if guest.arch == "x86_64" else ARM64_NAMES)
    assert list(regs.as_dict()) == list(regs)
    assert regs.arg(0) == 30
    with pytest.raises(IndexError):
        regs.arg(-1)
    with pytest.raises(UsageError, match="on the stack"):
        regs.arg(8)
    if guest.arch == "x86_64":
        assert (regs.di, regs.cs, regs.ss) == (30, 0x10, 0x18)
        assert regs.ip == guest.symbols["kprobe_target"].address + 1
    else:
        assert (regs.x0, regs.regs[0]) == (30, 30)
        assert regs.pc == regs.ip == guest.symbols["kprobe_target"].address
        with pytest.raises(IndexError):
            regs.regs[31]


def test_kept_registers_stay_as_they_were(stepped: Kernel) -> None:
    before: list[Any] = []
    after: list[Any] = []
    with stepped.probing(
        "count_to",
        pre_handler=lambda p, regs: before.append(regs),
        post_handler=lambda p, regs, flags: after.append(regs),
    ):
        for n in (3, 4):
            stepped.call("count_to", n)
    assert [regs.arg(0) for regs in before] == [3, 4]
    assert all(regs.ip > stepped.symbols["count_to"].address for regs in after)
    assert len({id(regs) for regs in before + after}) == 4
    before[0].ip = 5  # a copy: nothing happens to the guest
    assert stepped.call("count_to", 3) == 3


@pytest.mark.parametrize("offset", [0, None])
def test_registers_that_nobody_keeps_are_not_copied(stepped: Kernel, offset: int | None) -> None:
    """The hit path tells by the reference count; a copy for every hit would double its cost."""
    if offset is None:  # the function's last instruction: a return, which is emulated
        offset = stepped.symbols["add_one"].size - (1 if stepped.arch == "x86_64" else 4)
    copied: list[object] = []
    stepped.machine.vcpu.replace_regs = copied.append  # type: ignore[assignment, method-assign]
    with stepped.probing(
        "add_one",
        offset=offset,
        pre_handler=lambda p, regs: regs.ip and None,
        post_handler=lambda p, regs, flags: None,
    ):
        assert stepped.call("add_one", 4) == 5
    assert not copied


def test_a_changed_argument_changes_the_result(stepped: Kernel) -> None:
    def triple(p: object, regs: Any) -> None:
        if stepped.arch == "x86_64":
            regs.di = regs.di * 3
        else:
            regs.regs[0] = regs.x0 * 3

    assert stepped.call("kprobe_target", 30) == 10
    with stepped.probing("kprobe_target", pre_handler=triple):
        assert stepped.call("kprobe_target", 30) == 30
    assert stepped.call("kprobe_target", 30) == 10


def test_a_changed_ip_is_where_it_goes_on(stepped: Kernel) -> None:
    """pre_handler returns non-zero: the function is left at once with a result of our own."""

    def leave(p: object, regs: Any) -> int:
        regs.return_value = 4711
        if stepped.arch == "x86_64":
            regs.ip = int.from_bytes(stepped.read(regs.sp, 8), "little")
            regs.sp += 8
        else:
            regs.pc = regs.x30
        return 1

    posts: list[object] = []
    with stepped.probing(
        "kprobe_target", pre_handler=leave, post_handler=lambda *a: posts.append(a)
    ):
        assert stepped.call("kprobe_target", 30) == 4711
    assert not posts


def test_flags_can_be_read_and_written(guest: Kernel) -> None:
    seen: list[int] = []

    def post(p: object, regs: Any, flags: int) -> None:
        seen.append(regs.flags)
        regs.flags = regs.flags ^ 0x1 if guest.arch == "x86_64" else regs.flags ^ 1 << 29

    first = guest.call("gcd", 12, 8)
    with guest.probing("flag_bits", post_handler=post):
        guest.call("flag_bits", 5, 5)
    assert seen
    assert guest.call("gcd", 12, 8) == first


def test_values_are_taken_modulo_64_bits(guest: Kernel) -> None:
    def pre(p: object, regs: Any) -> None:
        regs.set_gpr(7 if guest.arch == "x86_64" else 0, -3)

    with guest.probing("negate", pre_handler=pre):
        assert guest.call("negate", 1) == 3


def test_outer_registers_survive_a_nested_call(guest: Kernel) -> None:
    def pre(p: object, regs: Any) -> None:
        before = regs.as_dict()
        assert guest.call("gcd", 48, 18) == 6
        assert regs.as_dict() == before
        regs.set_gpr(7 if guest.arch == "x86_64" else 0, 60)

    with guest.probing("kprobe_target", pre_handler=pre):
        assert guest.call("kprobe_target", 30) == 20


def test_single_step_gives_mdscr_back(arch: str) -> None:
    """A booted ARM64 guest keeps its own bits there (TDCC, at least)."""
    if arch != "arm64":
        return
    k = Kernel.load(SAMPLES / "guest-arm64.elf", stepping="trap")
    mdscr = (0, 2, 2, 0, 2)
    k.machine.engine.write_system(*mdscr, 1 << 12)
    with k.probing("kprobe_target", post_handler=lambda *a: None):
        assert k.call("kprobe_target", 9) == 3
    assert k.machine.engine.read_system(*mdscr) == 1 << 12


def test_arguments_on_the_stack(stepped: Kernel) -> None:
    code = bytes.fromhex(ADD_STACK_ARGUMENTS[stepped.arch])
    start = stepped.symbols["crc32_le"].address
    stepped.write(start, code)
    count = (6 if stepped.arch == "x86_64" else 8) + 2
    seen: list[int] = []

    def pre(p: Kprobe, regs: PtRegs) -> None:
        seen.extend(regs.arg(n) for n in range(count))

    with stepped.probing(addr=start, pre_handler=pre):
        assert stepped.call(start, *range(1, count + 1)) == 2 * count - 1
    assert seen == [*range(1, count + 1)]
