"""The hit path where models differ, and where the kernel is wrong, which takes ``strict``."""

from __future__ import annotations

from pathlib import Path

import pytest
from makers.guest_code import Code

from kprobesim import (
    MODELS,
    GuestBug,
    GuestFault,
    GuestTimeout,
    Kernel,
    Kprobe,
    KprobeFlag,
    PtRegs,
)


@pytest.mark.parametrize("model", ["5.10", "6.1"])
def test_a_third_level_is_a_bug(sample: Path, model: str) -> None:
    """A hit while a reentered probe is executed: only one outer hit can be remembered.

    But for those through ftrace, which just return.
    """
    k = Kernel.load(sample, model=model)

    def pre(p: Kprobe, regs: PtRegs) -> None:
        k.call("read_word", 0x10)

    def fault(p: Kprobe, regs: PtRegs, trapnr: int) -> int:
        assert k.call("kprobe_target", 12) == 4
        k.call("strcmp", "a", "b")
        return 0

    inner = Kprobe("read_word", post_handler=lambda *a: None, fault_handler=fault)
    through = Kprobe("kprobe_target", flags=KprobeFlag(0 if k.arch == "x86_64" else 2))
    k.register_kprobes([Kprobe("strlen", pre_handler=pre), inner, through, Kprobe("strcmp")])
    with pytest.raises(GuestBug, match="unrecoverable kprobe") as caught:
        k.call("strlen", "abc")
    assert caught.value.place.startswith("strcmp+0x0/")
    assert through.nmissed == (k.arch == "x86_64")
    assert (caught.value.file or "").endswith((".c",))
    assert k.kprobes.ctlblk[0].current_kprobe is None


@pytest.mark.parametrize(("model", "misses"), [("5.10", 1), ("6.1", 0)])
def test_faults_in_handlers_count_as_misses(sample: Path, model: str, misses: int) -> None:
    """``kprobes_inc_nmissed_count()`` went away together with the fault_handler."""
    k = Kernel.load(sample, model=model)

    def pre(p: Kprobe, regs: PtRegs) -> None:
        with pytest.raises(GuestFault):
            k.call("read_word", 0x10)

    with k.probing("strlen", pre_handler=pre) as p:
        k.call("strlen", "abc")
        assert p.nmissed == misses


@pytest.mark.parametrize("strict", [False, True])
def test_the_kernel_never_asks_about_the_instruction_itself(sample: Path, strict: bool) -> None:
    """Only faults of handlers went to a fault_handler, whatever its name promised."""
    k = Kernel.load(sample, model="5.4", strict=strict)
    asked: list[int] = []

    def fault(p: Kprobe, regs: PtRegs, trapnr: int) -> int:
        asked.append(trapnr)
        return 0

    probe = k.probing("read_word", post_handler=lambda *a: None, fault_handler=fault)
    with probe, pytest.raises(GuestFault) as caught:
        k.call("read_word", 0x10)
    assert bool(asked) == (not strict)
    assert caught.value.place.startswith("read_word+0x0/")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("strict", [False, True])
def test_a_breakpoint_that_has_gone(sample: Path, arch: str, model: str, strict: bool) -> None:
    """Somebody takes it out between the trap and the look-up: another CPU, or a debugger's hook."""
    k = Kernel.load(sample, model=model, strict=strict)
    address = k.symbols["strlen"].address
    original = k.read(address, 4)
    breakpoint = b"\xcc" if arch == "x86_64" else bytes.fromhex("800020d4")
    k.write(address, breakpoint)
    claims = k.machine.vcpu.traps.breakpoint
    (real,) = claims

    def take_out_first() -> bool:
        k.write(address, original)
        return real()

    claims[:] = [take_out_first]
    vanished = MODELS[model].of(arch).vanished
    if vanished == "report":
        with pytest.raises(GuestFault, match="breakpoint"):
            k.call("strlen", "abc")
    else:
        assert k.call("strlen", "abc") == 3
    claims[:] = [real]
    k.write(address, breakpoint)  # one that stays is nobody's
    if vanished == "retry" and strict:
        with pytest.raises(GuestTimeout):
            k.call("strlen", "abc", timeout=0.2)
    else:
        with pytest.raises(GuestFault, match="breakpoint"):
            k.call("strlen", "abc")


_IF, _DAIF_I = 1 << 9, 1 << 7


@pytest.mark.parametrize("model", ["5.4", "6.1"])
@pytest.mark.parametrize("enabled", [False, True])
@pytest.mark.parametrize(("code", "kept"), [("4889f8 c3", False), ("9090 c3", False), ("c3", True)])
def test_x86_steps_with_the_interrupt_flag_of_the_hit(
    model: str, enabled: bool, code: str, kept: bool
) -> None:
    """``set_current_kprobe()`` saves it before the pre_handler; what is emulated asks nobody."""
    function = Code(model, code)
    k, after = function.k, []

    def pre(p: Kprobe, regs: PtRegs) -> None:
        regs.flags ^= _IF

    def post(p: Kprobe, regs: PtRegs, flags: int) -> None:
        after.append(bool(regs.flags & _IF))

    caller = "fb" if enabled else "fa"  # sti or cli; call what is behind; ret
    function.write(f"{caller} e801000000 c3 {code}")
    with k.probing(addr=function.start + 7, pre_handler=pre, post_handler=post):
        k.call(function.start, 1)
    assert after == [enabled != (kept and model == "6.1")]


@pytest.mark.parametrize("model", ["5.4", "6.1"])
def test_arm64_steps_with_the_masks_of_the_pre_handler(model: str) -> None:
    """``kprobes_save_local_irqflag()`` comes when the step is set up."""
    function = Code(model, "20000091 c0035fd6", arch="arm64")  # add x0, x1, #0; ret
    before, after = [], []

    def pre(p: Kprobe, regs: PtRegs) -> None:
        before.append(regs.pstate & _DAIF_I)  # type: ignore[attr-defined]
        regs.pstate ^= _DAIF_I  # type: ignore[attr-defined]

    def post(p: Kprobe, regs: PtRegs, flags: int) -> None:
        after.append(regs.pstate & _DAIF_I)  # type: ignore[attr-defined]

    with function.k.probing(addr=function.start, pre_handler=pre, post_handler=post):
        function.k.call(function.start, 1, 2)
    assert after == [before[0] ^ _DAIF_I]


# -- where the kernel is wrong --------------------------------------------------------------------


@pytest.mark.parametrize(("strict", "rounds"), [(True, 4), (False, 3)])
def test_a_loop_runs_once_too_often(strict: bool, rounds: int) -> None:
    function = Code("6.1", "31c0 b903000000 ffc0 e2fc c3", strict=strict)
    assert function.call(9) == rounds
    assert function.hits == rounds


def test_strict_takes_a_vector_instruction_for_a_branch() -> None:
    """``vzeroupper`` has the opcode byte of ``ja``."""
    for strict in (False, True):
        function = Code("6.1", "c5f877 c3", strict=strict)
        with function.k.probing(addr=function.start) as p:
            assert p.ainsn.emulate_kind == ("jcc" if strict else None)


def test_strict_runs_a_simd_literal_load_in_the_slot() -> None:
    for strict in (False, True):
        function = Code("6.1", "4000009c", arch="arm64", strict=strict)  # ldr q0, .+8
        with function.k.probing(addr=function.start) as p:
            assert (p.ainsn.emulate is None) == strict


@pytest.mark.parametrize(
    ("arch", "code", "number", "error"),
    [
        ("arm64", "00008058", 0x25, 0x96000004),  # ldr x0, .-0x100000
        ("x86_64", "4889fc c3", 14, 0),  # mov %rdi, %rsp; ret
        ("x86_64", "4889fc e800000000", 14, 2),
    ],
)
def test_the_fault_of_an_emulated_instruction(
    arch: str, code: str, number: int, error: int
) -> None:
    function = Code("6.1", code, arch=arch)
    where = function.start + (3 if arch == "x86_64" else 0)
    probe = function.k.probing(addr=where, post_handler=lambda *a: None)
    with probe, pytest.raises(GuestFault) as caught:
        function.k.call(function.start, 0x1000)
    trap = caught.value.trap
    assert (caught.value.pc, trap.number, trap.code) == (where, number, error)


@pytest.mark.parametrize("strict", [False, True])
def test_a_fault_in_a_boosted_copy(strict: bool) -> None:
    """The kernel has forgotten the probe by then, and names the slot."""
    function = Code("6.1", "488b07 c3", strict=strict)  # mov (%rdi), %rax; ret
    k = function.k
    with k.probing(addr=function.start) as p, pytest.raises(GuestFault) as caught:
        k.call(function.start, 0x10)
    assert caught.value.pc == (p.ainsn.insn if strict else function.start)


@pytest.mark.parametrize("again", [False, True])
def test_a_handler_that_unregisters_before_the_first_step_is_boosted(again: bool) -> None:
    """mov %rdi,%rax; ret: the slot is nobody's, or another probe's, when the step is done."""
    code = Code("4.9", "4889f8 c3")
    k, hits = code.k, []

    def pre(p: Kprobe, regs: PtRegs) -> None:
        hits.append(p)
        k.unregister_kprobe(p)
        if again:
            k.register_kprobe(Kprobe(addr=code.start, pre_handler=lambda p, regs: hits.append(p)))

    k.register_kprobe(Kprobe(addr=code.start, pre_handler=pre))
    for calls in (1, 2, 3):
        assert k.call(code.start, 7) == 7
        assert len(hits) == (calls if again else 1)
    k.unregister_kprobes(list(k.kprobes))
    assert k.kprobes.slots.used == 0


@pytest.mark.parametrize("model", ["5.4", "6.1", "6.17"])
@pytest.mark.parametrize("strict", [False, True])
def test_arm64_masks_after_the_fault_of_a_nested_hit(model: str, strict: bool) -> None:
    """``kprobe_fault_handler()`` restores them for the outermost hit only."""
    function = Code(model, "000040f9 c0035fd6", arch="arm64", strict=strict)  # ldr x0, [x0]; ret
    k, masks = function.k, []

    def fault() -> None:
        with pytest.raises(GuestFault) as caught:
            k.call(function.start, 0x10)
        masks.append(caught.value.regs.pstate & 0x3C0)  # type: ignore[attr-defined]

    with k.probing(addr=function.start, post_handler=lambda *a: None) as inner:
        fault()
        with k.probing("read_word", pre_handler=lambda p, regs: fault()):
            k.call("read_word", k.alloc(8))
        assert inner.nmissed == 1
    alone, nested = masks
    stepping = 0x80 if model == "5.4" else 0x3C0
    assert nested == (stepping if strict else alone)
    assert alone != 0x3C0
