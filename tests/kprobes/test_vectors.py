"""Cases computed from the kernel's sources: where a function's bytes let a probe in."""

from __future__ import annotations

import errno
from types import SimpleNamespace

import pytest
from makers.guest_code import Code

from kprobesim import Kprobe, KprobeError, KprobeFlag, Reason


def _answer(function: Code, offset: int) -> int:
    p = Kprobe(addr=function.start + offset)
    try:
        function.k.register_kprobe(p)
    except KprobeError as error:
        return error.errno or 0
    function.k.unregister_kprobe(p)
    return 0


@pytest.mark.parametrize("model", ["6.1", "6.17"])
@pytest.mark.parametrize("is_bug", [False, True])
def test_a_function_with_a_trap(model: str, is_bug: bool) -> None:
    function = Code(model, "55 4889e5 0f0b c3")
    if is_bug:
        trap = function.start + 4
        function.k.image.bug_table = SimpleNamespace(  # type: ignore[assignment]
            at=lambda address: object() if address == trap else None
        )
    ud2 = errno.EINVAL if is_bug else errno.EILSEQ if model == "6.17" else 0
    expected = [0, 0, errno.EILSEQ, errno.EILSEQ, ud2, errno.EILSEQ, 0]
    assert [_answer(function, offset) for offset in range(7)] == expected


@pytest.mark.parametrize("marker", ["f30f1efa", "f30f1efb", "660f1f00"])
@pytest.mark.parametrize("model", ["5.10", "6.1"])
def test_the_entry_behind_an_endbr(model: str, marker: str) -> None:
    function = Code(model, f"{marker} 55 5d c3")
    start = function.start
    skips = model == "6.1"
    for offset in (0, 4):
        p = Kprobe(addr=start + offset)
        function.k.register_kprobe(p)
        assert p.addr == start + (4 if skips else offset)
        assert bool(p.flags & KprobeFlag.ON_FUNC_ENTRY) == (skips or offset == 0)
        function.k.unregister_kprobe(p)
    assert [_answer(function, offset) for offset in (1, 2, 3, 5)] == [*[errno.EILSEQ] * 3, 0]
    p = Kprobe(addr=start + 5)
    function.k.register_kprobe(p)
    assert not p.flags & KprobeFlag.ON_FUNC_ENTRY


def test_two_registrations_at_one_entry_share_it() -> None:
    function = Code("6.1", "f30f1efa 55 5d c3")
    pair = [Kprobe(addr=function.start), Kprobe(addr=function.start + 4)]
    function.k.register_kprobes(pair)
    assert pair[0].addr == pair[1].addr
    head = function.k.kprobes.get_kprobe(function.start + 4)
    assert head not in pair


@pytest.mark.parametrize(
    ("code", "number", "reason"),
    [
        ("f1 c3", 0, None),
        ("cd80 c3", 0, None),
        ("cc c3", errno.EINVAL, Reason.BREAKPOINT),
        ("48cf", errno.EOPNOTSUPP, Reason.FAR_BRANCH),
        ("8ed0 c3", errno.EINVAL, Reason.UNPROBEABLE_INSTRUCTION),
        ("ff2500000000", errno.EOPNOTSUPP, Reason.FAR_BRANCH),
    ],
)
@pytest.mark.parametrize("model", ["6.1", "6.17"])
def test_instructions(model: str, code: str, number: int, reason: Reason | None) -> None:
    function = Code(model, code)
    if model == "6.17" and code[:2] in ("f1", "cd", "cc"):
        number, reason = errno.EILSEQ, Reason.UNPROBEABLE_INSTRUCTION
    try:
        function.k.register_kprobe(Kprobe(addr=function.start))
    except KprobeError as error:
        assert (error.errno, error.reason) == (number, reason)
    else:
        assert number == 0


def test_where_the_step_ends() -> None:
    """48 89 E5: the trap behind the copy is at slot + 4, and the guest goes on at + 3."""
    function = Code("6.1", "55 4889e5 5d c3")
    function.call(1)
    assert (function.hits, function.ip) == (1, 4)
    assert function.insn.slot_bytes.hex() == "4889e5cc"


def test_an_arm64_exclusive_sequence() -> None:
    words = [0xC85F7C20, 0x91000400, 0xC8027C20, 0xB5FFFFA2, 0xD65F03C0]
    function = Code("6.1", b"".join(w.to_bytes(4, "little") for w in words).hex(), arch="arm64")
    expected = [errno.EINVAL, errno.EINVAL, errno.EINVAL, 0, 0]
    assert [_answer(function, 4 * index) for index in range(5)] == expected
    assert _answer(function, 2) == errno.EINVAL
    for between, answer in ((31, errno.EINVAL), (32, 0)):
        code = [words[0], *[0x91000400] * between, 0xD503201F]
        function.write(b"".join(w.to_bytes(4, "little") for w in code).hex())
        assert _answer(function, 4 * (between + 1)) == answer
