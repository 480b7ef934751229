"""What is copied into a slot, and what is refused."""

from __future__ import annotations

import errno

import pytest
from arch.x86_64.x86_fakes import reader, rows

from kprobesim.arch.refused import Refused
from kprobesim.arch.x86_64 import ArchInsn, Options, prepare
from kprobesim.errors import Reason

A, S = 0xFFFF_FFFF_8100_0100, 0xFFFF_FFFF_C000_1230
BOOST = Options(preemptible=False)


def prepared(
    code: str, slot: int | None = S, options: Options | None = None, address: int = A
) -> ArchInsn:
    read = reader(address, bytes.fromhex(code))
    return prepare(read, address, slot=slot, options=options or Options())


def refused(code: str, slot: int | None = S, options: Options | None = None) -> tuple[int, Reason]:
    with pytest.raises(Refused) as caught:
        prepared(code, slot, options)
    assert f"{A:#x}" in caught.value.message
    return caught.value.errno, caught.value.reason


@pytest.mark.parametrize(
    ("code", "copy"),
    [
        ("488b0500010000", "488b05d0efffc0"),
        ("833d100000007f", "833de0eeffc07f"),
        ("c705200000002a000000", "c705f0eeffc02a000000"),
        ("f30f1005f0ffffff", "f30f1005c0eeffc0"),
        ("488d3d00100000", "488d3dd0feffc0"),
        ("803d0500000001", "803dd5eeffc001"),
        ("66c705000000003412", "66c705d0eeffc03412"),
        ("0fb605aa000000", "0fb6057aefffc0"),
        ("f0480fc10508000000", "f0480fc105d8eeffc0"),
        ("c5fa6f0500000000", "c5fa6f05d0eeffc0"),
        ("55", "55"),
        ("4889e5", "4889e5"),
        ("e8fb000000", "e8fb000000"),  # relative to itself, but emulated
    ],
)
def test_slot_bytes(code: str, copy: str) -> None:
    ainsn = prepared(code)
    assert ainsn.slot_bytes.hex() == copy + "cc"
    assert (ainsn.insn, ainsn.size, ainsn.boostable) == (S, len(code) // 2, False)
    assert ainsn.tp_len == len(code) // 2 + 1
    trap = prepared(code, options=Options(stepping="trap"))
    assert trap.slot_bytes.hex() == copy
    assert ainsn.decoded.raw.hex() == code


def test_displacement_out_of_reach() -> None:
    assert refused("488b0500010000", 0xFFFF_8880_0000_0000) == (errno.EINVAL, Reason.DISPLACEMENT)
    assert prepared("488b4510", 0xFFFF_8880_0000_0000).slot_bytes.hex() == "488b4510cc"


@pytest.mark.parametrize("reach", [0x7FFF_FFFF, -0x8000_0000])
def test_displacement_at_the_edge_of_reach(reach: int) -> None:
    edge = (reach & 0xFFFFFFFF).to_bytes(4, "little").hex()
    assert prepared("488b0500000000", A - reach).slot_bytes.hex() == f"488b05{edge}cc"
    beyond = A - reach - (1 if reach > 0 else -1)
    assert refused("488b0500000000", beyond)[0] == errno.EINVAL


def test_without_a_slot() -> None:
    ainsn = prepared("488b0500010000", None)
    assert (ainsn.insn, ainsn.slot_bytes, ainsn.size) == (None, b"", 7)
    assert refused("cc", None) == (errno.EINVAL, Reason.BREAKPOINT)


def test_boost() -> None:
    assert prepared("55", options=BOOST).slot_bytes.hex() == "55e9cbeeffc0"
    assert prepared("4889e5", options=BOOST).slot_bytes.hex() == "4889e5e9cbeeffc0"
    boosted = prepared("55", options=Options(preemptible=False, stepping="trap"))
    assert (boosted.boostable, boosted.slot_bytes.hex()) == (True, "55e9cbeeffc0")
    ret = prepared("c3", options=BOOST)
    assert (ret.slot_bytes.hex(), ret.emulate_kind) == ("c3e9cbeeffc0", "ret")


@pytest.mark.parametrize(
    "options",
    [
        Options(preemptible=True),
        Options(preemptible=False, has_post_handler=True),
        Options(preemptible=False, has_exception_entry=True),
    ],
)
def test_no_boost(options: Options) -> None:
    ainsn = prepared("55", options=options)
    assert (ainsn.boostable, ainsn.slot_bytes.hex()) == (False, "55cc")


def test_no_boost_without_room_or_reach() -> None:
    mov = "48c7845500010000 78563412"  # 12 bytes: 12 + 5 > 16
    assert prepared(mov, options=BOOST).tp_len == 13
    assert prepared(mov, options=Options(preemptible=False, slot_size=17)).tp_len == 17
    assert not prepared("55", 0xFFFF_8880_0000_0000, BOOST).boostable


@pytest.mark.parametrize(
    ("code", "number", "reason"),
    [
        ("cc", errno.EINVAL, Reason.BREAKPOINT),
        ("8ed0", errno.EINVAL, Reason.UNPROBEABLE_INSTRUCTION),
        ("668e10", errno.EINVAL, Reason.UNPROBEABLE_INSTRUCTION),
        ("17", errno.EINVAL, Reason.UNPROBEABLE_INSTRUCTION),
        ("0f0b78656e0fa2", errno.EINVAL, Reason.UNPROBEABLE_INSTRUCTION),
        ("c5f800", errno.EINVAL, Reason.UNDECODABLE),
        ("cf", errno.EOPNOTSUPP, Reason.FAR_BRANCH),
        ("48cf", errno.EOPNOTSUPP, Reason.FAR_BRANCH),
        ("9a000000000000", errno.EOPNOTSUPP, Reason.FAR_BRANCH),
        ("ea000000000000", errno.EOPNOTSUPP, Reason.FAR_BRANCH),
        ("ff2500000000", errno.EOPNOTSUPP, Reason.FAR_BRANCH),
        ("ff1500000000", errno.EOPNOTSUPP, Reason.FAR_BRANCH),
        ("ff5008", errno.EOPNOTSUPP, Reason.FAR_BRANCH),
        ("41ff24c4", errno.EOPNOTSUPP, Reason.FAR_BRANCH),
        ("67ffe0", errno.EOPNOTSUPP, Reason.FAR_BRANCH),
        ("ff28", errno.EOPNOTSUPP, Reason.FAR_BRANCH),
        ("48ff18", errno.EOPNOTSUPP, Reason.FAR_BRANCH),
        ("0f01c1", errno.EOPNOTSUPP, Reason.UNPROBEABLE_INSTRUCTION),  # vmcall
    ],
)
def test_refused(code: str, number: int, reason: Reason) -> None:
    assert refused(code) == (number, reason)


@pytest.mark.parametrize("code", ["8ed8", "0f01c8", "0f0100", "ff30", "ff00", "0f0b", "cd80"])
def test_neighbours_of_the_refused_are_not(code: str) -> None:
    assert prepared(code).emulate is None


def test_unmapped_is_refused() -> None:
    with pytest.raises(Refused, match="nothing is mapped") as caught:
        prepare(reader(0x1000, b""), 0x5000, slot=S, options=Options())
    assert caught.value.errno == errno.EINVAL
    last = reader(0x1000, b"\x90" * 4095 + b"\xc3", padding=0)
    assert prepare(last, 0x1FFF, slot=S, options=Options()).emulate_kind == "ret"


def test_no_room_for_the_trap() -> None:
    longest = "6666666666662e0f1f840000000000"
    assert prepared(longest).tp_len == 16
    assert refused(longest, options=Options(slot_size=15)) == (errno.ENOSPC, Reason.NO_SLOT)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("7410", "jcc"),
        ("2e7400", "jcc"),
        ("0f8400010000", "jcc"),
        ("e8fb000000", "call"),
        ("e900000000", "jmp"),
        ("ebfe", "jmp"),
        ("66e900000000", "jmp"),
        ("c3", "ret"),
        ("f3c3", "ret"),
        ("c21000", "ret"),
        ("48cb", "far_ret"),
        ("e205", "loop"),
        ("e005", "loop"),
        ("e305", "jcxz"),
        ("67e305", "jcxz"),
        ("9c", "push_flags"),
        ("669d", "pop_flags"),
        ("fa", "cli"),
        ("fb", "sti"),
        ("ffd0", "call_reg"),
        ("41ffd3", "call_reg"),
        ("3effe0", "jmp_reg"),
        ("55", None),
        ("f3a4", None),
        ("fc", None),
        ("0f05", None),
        ("0f90c0", None),
        ("c5f877", None),  # vzeroupper is no ja
        ("c5f0c2c200", None),  # vcmpps is no ret
        ("c5f9e8c0", None),  # vpsubsb is no call
    ],
)
def test_emulate_kind(code: str, kind: str | None) -> None:
    ainsn = prepared(code)
    assert ainsn.emulate_kind == kind
    assert (ainsn.emulate is None) is (kind is None)


STRICT = Options(strict=True)


def test_strict_takes_vector_opcodes_for_one_byte_opcodes() -> None:
    assert prepared("c5f877", options=STRICT).emulate_kind == "jcc"
    assert prepared("c5f0c2c200", options=STRICT).emulate_kind == "ret"
    assert prepared("c4e3790fc101", options=STRICT).emulate is None  # vpalignr: no 0F escape


@pytest.mark.parametrize("options", [Options(), STRICT])
def test_vector_opcodes_are_refused_as_one_byte_opcodes(options: Options) -> None:
    assert refused("c4e2f99ac1", options=options)[0] == errno.EOPNOTSUPP  # vfmsub132pd as far call
    assert refused("c5f9eac1", options=options)[0] == errno.EOPNOTSUPP  # vpminsw as far jmp
    assert refused("c4e2718e10", options=options)[0] == errno.EINVAL  # vpmaskmovd as mov ss
    assert refused("62f2fd081fc0", options=options)[0] == errno.EINVAL  # vpabsq as "pop ss"
    assert prepared("c5f81700", options=options).emulate is None  # vmovhps
    stepped = Options(emulates=False, strict=options.strict)
    assert prepared("c5f9eac1", options=stepped).emulate is None


# -- what a real Linux 6.1 answered -------------------------------------------------------------

LINUX_KINDS = {
    "": {None},
    "call": {"call"},
    "call_indirect": {"call_reg"},
    "ifmodifiers": {"cli", "sti", "push_flags", "pop_flags"},
    "jcc": {"jcc"},
    "jmp": {"jmp"},
    "jmp_indirect": {"jmp_reg"},
    "loop": {"loop", "jcxz"},
    "ret": {"ret", "far_ret"},
}
LINUX = Options(slot_size=15)


def test_slots_of_linux_6_1() -> None:
    table = rows("linux_6_1_slots.csv")
    assert len(table) > 300
    for row in table:
        slot = int(row["slot"], 16)
        ainsn = prepared(row["bytes"], slot, LINUX, int(row["address"], 16))
        assert ainsn.slot_bytes.hex() == row["slot_bytes"], row
        assert ainsn.tp_len == int(row["tp_len"]), row
        assert ainsn.emulate_kind in LINUX_KINDS[row["emulated"]], row  # type: ignore[operator]


def test_handwritten_instructions_on_linux_6_1() -> None:
    table = rows("linux_6_1_handwritten.csv")
    assert {row["errno"] for row in table} == {"0", "22", "28", "95"}
    for row in table:
        slot = int(row["slot"] or "ffffffffc0219000", 16)
        if row["errno"] != "0":
            with pytest.raises(Refused) as caught:
                prepared(row["bytes"], slot, LINUX, int(row["address"], 16))
            assert caught.value.errno == int(row["errno"]), row
            continue
        ainsn = prepared(row["bytes"], slot, LINUX, int(row["address"], 16))
        assert ainsn.size == int(row["size"]), row
        assert ainsn.slot_bytes.hex() == row["slot_bytes"], row
        assert ainsn.emulate_kind in LINUX_KINDS[row["emulated"]], row  # type: ignore[operator]
