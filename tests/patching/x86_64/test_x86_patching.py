"""What boot patches in the code of an x86 kernel."""

from __future__ import annotations

import struct

import pytest
from makers.patching_maker import CODE, DATA, Maker

from kprobesim.image.tables.places import JUMP_TABLE, MCOUNT_SITES, STATIC_CALLS
from kprobesim.patching.running_text import running_text
from kprobesim.patching.text import Code
from kprobesim.patching.x86_64 import alternatives, nops, paravirt, sites, static_calls
from kprobesim.patching.x86_64.features import cpu_features

ON, OFF = 9 * 32 + 20, 9 * 32 + 21  # SMAP, and a feature that the CPU lacks
CALL_FENTRY = bytes.fromhex("e800010000")
NOP5 = bytes.fromhex("0f1f440000")


def branch(opcode: int, place: int, target: int) -> bytes:
    return bytes([opcode]) + struct.pack("<i", target - place - 5)


# NOPs


@pytest.mark.parametrize(
    ("code", "merged"),
    [
        ("90", "90"),
        ("9090", "6690"),
        ("fa909090909090", "fa660f1f440000"),
        ("90" * 10, "0f1f8400000000006690"),
        ("f390909090", "f3900f1f00"),  # PAUSE is none
        ("b8909090909090", "b890909090" + "6690"),  # nor is an immediate
    ],
)
def test_nops_before_6_4(code: str, merged: str) -> None:
    place = bytearray.fromhex(code)
    nops.optimize_nops_6_1(place)
    assert place.hex() == merged


@pytest.mark.parametrize(
    ("code", "merged"),
    [
        ("90", "90"),
        ("66909090", "0f1f4000"),
        ("90" * 9, "2e0f1f840000000000"),
        ("fa" + "90" * 11, "fa66662e0f1f840000000000"),
        ("90" * 12, "eb0a" + "cc" * 10),
        ("90" * 130, "e97d000000" + "cc" * 125),
        ("eb03909090", "eb030f1f00"),
    ],
)
def test_nops_since_6_10(code: str, merged: str) -> None:
    place = bytearray.fromhex(code)
    nops.optimize_nops(place)
    assert place.hex() == merged


def test_a_jump_over_nops_is_a_nop_before_6_10() -> None:
    place = bytearray.fromhex("eb03909090")
    nops.optimize_nops(place, with_jumps=True)
    assert place.hex() == "0f1f440000"
    elsewhere = bytearray.fromhex("eb04909090fa")
    nops.optimize_nops(elsewhere, with_jumps=True)
    assert elsewhere.hex() == "eb040f1f00fa"


def test_padding_of_5_10() -> None:
    place = bytearray.fromhex("909090909090")
    nops.optimize_nops_5_10(place, 6)
    assert place.hex() == "666690666690"  # two instructions
    place = bytearray.fromhex("fa90909090")
    nops.optimize_nops_5_10(place, 4)
    assert place.hex() == "fa90909090"


# Alternatives

PLACE, REPLACEMENT, TARGET = CODE + 0x100, CODE + 0x2000, CODE + 0x800


def patched(
    version: str,
    entries: list[tuple[int, bool, str, str]],
    *,
    old: str,
    direct: bool = False,
    more: dict[int, bytes] | None = None,
) -> bytes:
    """``entries``: feature, negated, replacement, and its length where it is not the place's."""
    made = Maker(version=version)
    made.put(PLACE, bytes.fromhex(old))
    for address, data in (more or {}).items():
        made.put(address, data)
    new_layout = tuple(map(int, version.split(".")[:2])) >= (6, 3)
    old_layout = version.startswith("5.10")
    size = 14 if new_layout else 13 if old_layout else 12
    at = made.room(size * 80)
    # Enough entries that the layout shows.
    filler = [(OFF, False, "", "1")] * 70
    for number, (feature, negated, replacement, length) in enumerate([*filler, *entries]):
        filling = number < 70
        place = CODE + 0x3000 + 16 * number if filling else PLACE
        source = REPLACEMENT + 64 * number
        made.put(source, bytes.fromhex(replacement))
        here = at + size * number
        lengths = int(length or len(old) // 2), len(replacement) // 2
        head = struct.pack("<ii", place - here, source - here - 4)
        if new_layout:
            rest = struct.pack("<HHBB", feature, negated | direct << 1, *lengths)
        elif old_layout:
            rest = struct.pack("<HBBB", feature, *lengths, lengths[0] if "90" in old else 0)
        else:
            rest = struct.pack("<HBB", feature | negated << 15, *lengths)
        made.put(here, head + rest)
    made.bound(alternatives.TABLE, at, size * (70 + len(entries)))
    code = Code(made.image())
    alternatives.apply_alternatives(code, cpu_features(code))
    return code.read(PLACE, len(old) // 2)


@pytest.mark.parametrize(
    ("version", "nop"), [("5.10.0", "666690"), ("6.1.0", "0f1f00"), ("6.12.0", "0f1f00")]
)
def test_a_feature_decides(version: str, nop: str) -> None:
    assert patched(version, [(ON, False, "0f01ca", "")], old="909090").hex() == "0f01ca"
    assert patched(version, [(OFF, False, "0f01ca", "")], old="909090").hex() == nop
    if version != "5.10.0":
        assert patched(version, [(ON, True, "fa", "")], old="ff1500000000").hex() == "ff1500000000"
        assert patched(version, [(OFF, True, "fa", "")], old="ff1500000000").hex() == "fa0f1f440000"


def test_the_last_that_fits_wins() -> None:
    entries = [(ON, False, "0faee8", ""), (ON, False, "0f01f9", ""), (OFF, False, "fbfbfb", "")]
    assert patched("6.1.0", entries, old="909090").hex() == "0f01f9"


@pytest.mark.parametrize("version", ["6.1.0", "6.12.0"])
def test_a_moved_call_reaches_its_target(version: str) -> None:
    source = REPLACEMENT + 64 * 70
    call = branch(0xE8, source, TARGET).hex()
    assert patched(version, [(ON, False, call, "")], old="90" * 5) == branch(0xE8, PLACE, TARGET)


def test_a_moved_jump_may_get_short() -> None:
    source = REPLACEMENT + 64 * 70
    near = branch(0xE9, source, PLACE + 0x20).hex()
    assert patched("6.1.0", [(ON, False, near, "")], old="90" * 5).hex() == "eb1e0f1f00"
    assert patched("6.12.0", [(ON, False, near, "")], old="90" * 5).hex() == "eb1ecccccc"
    back = branch(0xE9, source, PLACE - 0x20).hex()
    assert patched("6.1.0", [(ON, False, back, "")], old="90" * 5)[0] == 0xE9
    assert patched("6.12.0", [(ON, False, back, "")], old="90" * 5).hex() == "ebdecccccc"


def test_relative_operands_move_along_and_inner_branches_stay() -> None:
    code = bytearray.fromhex("48c70508000000ffffffff" + "eb00" + "0f8404000000" + "90909090")
    whole = len(code)
    alternatives.relocate(code, PLACE, REPLACEMENT, whole)
    assert struct.unpack_from("<i", code, 3)[0] == 8  # inside of what was moved
    assert code[11:19].hex() == "eb000f8404000000"
    code = bytearray.fromhex("48c7051000000000000000")
    alternatives.relocate(code, PLACE, REPLACEMENT, 11)
    assert struct.unpack_from("<i", code, 3)[0] == 0x10 + REPLACEMENT - PLACE


def test_a_direct_call_of_what_was_called_through_memory() -> None:
    call = "ff15" + struct.pack("<i", DATA - PLACE - 6).hex()
    more = {DATA: struct.pack("<Q", TARGET)}
    bug = branch(0xE8, REPLACEMENT + 64 * 70, CODE + 0x900).hex()
    got = patched("6.12.0", [(ON, False, bug, "")], old=call, direct=True, more=more)
    assert got == branch(0xE8, PLACE, TARGET) + b"\x90"


def test_nested_alternatives_share_the_longest_place() -> None:
    entries = [(OFF, False, "fafa", "2"), (OFF, False, "fbfbfbfbfb", "5")]
    assert patched("6.12.0", entries, old="90" * 5) == NOP5


def test_features_are_found_by_their_names() -> None:
    made = Maker()
    names = made.room(32 * 8 * 2)
    text = made.put(made.room(8), b"smap\0")
    made.put(names + 8 * 40, struct.pack("<Q", text))
    made.symbols |= {"x86_cap_flags": names, "behind": names + 32 * 8 * 2}
    found = cpu_features(Code(made.image()))
    assert 40 in found
    assert ON not in found
    assert ON in cpu_features(Code(Maker().image()))
    fence = {3 * 32 + 18, 20 * 32 + 2}
    assert fence & cpu_features(Code(Maker(version="6.12.1").image())) == {20 * 32 + 2}
    assert fence & found == {3 * 32 + 18}


# Tables of places


def test_paravirtual_calls_of_5_10_are_code_of_their_own() -> None:
    made = Maker(version="5.10.0")
    functions = {
        "__raw_callee_save___native_queued_spin_unlock": TARGET,
        "native_iret": TARGET + 0x10,
        "native_read_msr": TARGET + 0x20,
    }
    made.symbols |= functions | {"pv_ops": DATA}
    made.put(DATA, struct.pack("<3Q", *functions.values()))
    at = made.room(64)
    for number in range(3):
        made.put(at + 16 * number, struct.pack("<QBB6x", PLACE + 16 * number, number, 7))
        made.put(PLACE + 16 * number, b"\xff\x14\x25" + bytes(4))
    made.bound(paravirt.TABLE, at, 48)
    code = Code(made.image())
    paravirt.apply_paravirt(code)
    assert code.read(PLACE, 7).hex(" ") == "c6 07 00 66 66 66 90"
    jump = branch(0xE9, PLACE + 16, TARGET + 0x10)
    assert code.read(PLACE + 16, 7) == jump + b"\x66\x90"
    assert code.read(PLACE + 32, 1) == b"\xe8"


def test_paravirtual_calls() -> None:
    made = Maker()
    functions = {"_paravirt_nop": CODE + 0x10, "native_read_msr": TARGET}
    made.symbols |= functions | {"pv_ops": DATA}
    made.put(DATA, struct.pack("<3Q", *functions.values(), 0))
    at = made.room(64)
    for number in range(3):
        made.put(at + 16 * number, struct.pack("<QBB6x", PLACE + 16 * number, number, 7))
        made.put(PLACE + 16 * number, b"\xff\x14\x25" + bytes(4))
    made.bound(paravirt.TABLE, at, 42)  # without the last one's padding
    code = Code(made.image())
    paravirt.apply_paravirt(code)
    assert code.read(PLACE, 7) == nops.NOPS[7]
    assert code.read(PLACE + 16, 7) == branch(0xE8, PLACE + 16, TARGET) + b"\x66\x90"
    assert code.read(PLACE + 32, 7) == b"\xff\x14\x25" + bytes(4)  # nothing to call


def test_returns_locks_endbrs_and_ftrace() -> None:
    made = Maker(version="6.12.1")
    made.symbols["__x86_return_thunk"] = TARGET
    made.put(PLACE, branch(0xE9, PLACE, TARGET))
    made.put(PLACE + 16, branch(0xE9, PLACE + 16, TARGET + 1))
    made.put(PLACE + 32, b"\xf0\x0f\xc1\x07")
    made.put(PLACE + 48, bytes.fromhex("f30f1efa"))
    made.put(PLACE + 64, CALL_FENTRY)
    made.places(sites._RETURNS, [PLACE, PLACE + 16, 0xFFFF_FFFF_8000_0000])
    made.places(sites._LOCKS, [PLACE + 32, PLACE])
    made.places(sites._SEALS, [PLACE + 48, PLACE])
    at = made.put(made.room(8), struct.pack("<Q", PLACE + 64))
    made.bound(MCOUNT_SITES, at, 8)
    text = running_text(made.image())
    assert text.read(PLACE, 5).hex() == "c3cccccccc"
    assert text.read(PLACE + 16, 5) == branch(0xE9, PLACE + 16, TARGET + 1)
    assert text.read(PLACE + 32, 4).hex() == "3e0fc107"
    assert text.read(PLACE + 48, 4).hex() == "660f1f00"
    assert text.read(PLACE + 64, 5) == NOP5
    assert list(text.areas) == [CODE]


def test_a_read_may_end_behind_the_code() -> None:
    made = Maker()
    made.symbols["_etext"] = CODE + 0x1000
    made.symbols["__x86_return_thunk"] = TARGET
    made.put(PLACE, branch(0xE9, PLACE, TARGET))
    made.put(CODE + 0x1000, b"constant")
    made.places(sites._RETURNS, [PLACE])
    text = running_text(made.image())
    assert len(text.areas[CODE]) == 0x1000
    read = text.read(PLACE, 0xF08)
    assert read[:5].hex() == "c3cccccccc"
    assert read[-8:] == b"constant"


def static_call(version: str, function: str | None, *, tail: bool = False) -> bytes:
    made = Maker(version=version)
    made.symbols |= {"__static_call_return0": CODE + 0x10, "__WARN_trap": CODE + 0x20}
    made.symbols["callee"] = TARGET
    key = made.room(16)
    made.put(key, struct.pack("<Q", made.symbols[function] if function else 0))
    made.put(PLACE, branch(0xE9 if tail else 0xE8, PLACE, CODE + 0x30))
    at = made.room(8)
    made.put(at, struct.pack("<ii", PLACE - at, (key | tail) - at - 4))
    made.bound(STATIC_CALLS, at, 8)
    code = Code(made.image())
    static_calls.apply_static_calls(code)
    return code.read(PLACE, 5)


def test_static_calls() -> None:
    assert static_call("6.1.0", "callee") == branch(0xE8, PLACE, TARGET)
    assert static_call("6.1.0", "callee", tail=True) == branch(0xE9, PLACE, TARGET)
    assert static_call("6.1.0", None) == NOP5
    assert static_call("6.1.0", None, tail=True).hex() == "c3cccccccc"
    assert static_call("6.1.0", "__static_call_return0").hex() == "2e2e2e31c0"
    assert static_call("5.15.0", "__static_call_return0").hex() == "66664831c0"
    assert static_call("7.2.0", "__WARN_trap").hex() == "67480fb93a"


@pytest.mark.parametrize(
    ("argument", "function"),
    [("bf01000000", "__cond_resched"), ("31ff", "__cond_resched"), ("bf02000000", None)],
)
def test_preemption_is_what_sched_init_asks_for(argument: str, function: str | None) -> None:
    made = Maker()
    made.symbols |= {"sched_init": CODE + 0x40, "behind": CODE + 0x60}
    made.symbols |= {"__sched_dynamic_update": TARGET, "__cond_resched": CODE + 0x70}
    body = bytes.fromhex("55" + argument)
    made.put(CODE + 0x40, body + branch(0xE8, CODE + 0x40 + len(body), TARGET))
    key, zero = made.room(16), CODE + 0x80
    made.symbols |= {"__SCK__cond_resched": key, "__static_call_return0": zero}
    made.put(key, struct.pack("<Q", zero))
    made.put(PLACE, branch(0xE8, PLACE, CODE + 0x90))
    at = made.room(8)
    made.put(at, struct.pack("<ii", PLACE - at, key - at - 4))
    made.bound(STATIC_CALLS, at, 8)
    text = running_text(made.image())
    if function is None:
        assert text.read(PLACE, 5).hex() == "2e2e2e31c0"
        assert text.variables == {}
    else:
        assert text.read(PLACE, 5) == branch(0xE8, PLACE, made.symbols[function])
        assert text.variables[key] == struct.pack("<Q", made.symbols[function])


def test_jump_labels_follow_the_keys_that_boot_switches() -> None:
    made = Maker()
    key = made.symbols["crng_is_ready"] = made.room(16)
    other = made.room(16)
    jumps = {PLACE: b"\x66\x90", PLACE + 16: NOP5, PLACE + 32: b"\xeb\x06", PLACE + 48: NOP5}
    at = made.room(64)
    for number, (place, instruction) in enumerate(jumps.items()):
        made.put(place, instruction)
        here = at + 16 * number
        switched = other if number == 3 else key | (number == 2)
        made.put(here, struct.pack("<iiq", place - here, place + 8 - here - 4, switched - here - 8))
    made.bound(JUMP_TABLE, at, 64)
    image = made.image()
    text = running_text(image)
    assert text.read(PLACE, 2).hex() == "eb06"
    assert text.read(PLACE + 16, 5) == branch(0xE9, PLACE + 16, PLACE + 24)
    assert text.read(PLACE + 32, 2).hex() == "6690"
    assert text.read(PLACE + 48, 5) == NOP5
    before = running_text(image, static_keys=False)
    assert all(before.read(place, len(code)) == code for place, code in jumps.items())
