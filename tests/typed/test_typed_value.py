"""Typed values over a small BTF and a page of memory."""

from __future__ import annotations

import pickle
import struct

import pytest
from makers.btf_maker import SIGNED, TYPEDEF, BtfMaker

from kprobesim import GuestMemoryError, MemberError, TypedValue, TypesError, UsageError
from kprobesim.typed import Home
from kprobesim.types.btf import Btf
from kprobesim.types.c_text import declaration
from kprobesim.types.spelling import find_type

START = 0xFFFF_8880_0000_1000
NAME, NODE, OTHER = START + 0x100, START, START + 0x40


def make_types() -> Btf:
    """``struct node``: a name, flags in bits, a list of nodes, a function."""
    maker = BtfMaker()
    char = maker.integer("char", 1, SIGNED)
    u32 = maker.add(TYPEDEF, "u32", maker.integer("unsigned int", 4))
    signed = maker.integer("int", 4, SIGNED)
    long = maker.integer("long unsigned int", 8)
    kind = maker.enum("kind", [("FILE", 1), ("LINK", 2)])
    pair = maker.struct("", 8, [("low", u32, 0), ("high", u32, 32)])
    text, tag = maker.pointer(char), maker.array(char, 8, long)
    node = maker.count + 4
    to_node = maker.pointer(node)
    shown = maker.pointer(maker.prototype(0, [("self", to_node)]))
    members = [
        ("name", text, 0),
        ("next", to_node, 64),
        ("", pair, 128),
        ("kind", kind, 192),
        ("bits", signed, 224 | 3 << 24),
        ("more", u32, 227 | 29 << 24),
        ("show", shown, 256),
        ("tag", tag, 320),
    ]
    assert maker.struct("node", 0x38, members, flag=1) == node
    return Btf(maker.data(), source="kernel")


TYPES = make_types()
MEMORY = bytearray(0x1000)
MEMORY[0x100:0x109] = b"the node\0"
for at, name, following, bits in ((0, NAME, OTHER, 0b101 | 9 << 3), (0x40, 0, 0, 0)):
    numbers = (name, following, 7, 8, 2, bits, 0x1234)
    MEMORY[at : at + 48] = struct.pack("<QQIIIIQ8s", *numbers, b"tagged\0?")[:48]


def read(address: int, size: int) -> bytes:
    """As a guest's memory is read: one page is there."""
    at = address - START
    if not 0 <= at <= at + size <= len(MEMORY):
        raise GuestMemoryError(address, size, "read")
    return bytes(MEMORY[at : at + size])


def read_cstr(address: int, limit: int) -> bytes:
    """The bytes before the NUL."""
    return read(address, min(limit, START + len(MEMORY) - address)).partition(b"\0")[0]


HOME = Home(read, read_cstr, lambda: [TYPES], {0x1234: "show_node"}.get, repr)


def node(address: int = NODE) -> TypedValue:
    """The object."""
    return TypedValue(HOME, HOME.find("struct node"), address=address)


def test_members_are_attributes_through_pointers_and_anonymous_structs() -> None:
    here = node()
    assert here.name.string_() == b"the node"
    assert here.low == 7 and here.high == 8
    assert here.next.high == 8 and here["next"]["low"] == 7
    pointer = here.address_of_()
    assert pointer == NODE and pointer.name.string_() == b"the node"
    assert declaration(pointer.type_) == "struct node *"
    assert {"name", "low", "high"} <= set(dir(here)) & set(dir(pointer))


def test_bit_fields_have_their_sign() -> None:
    assert node().bits == -3
    assert node().more == 9


def test_numbers_are_pythons_and_stay_what_they_were() -> None:
    kept = node().low
    assert kept + 1 == 8 and 10 - kept == 3 and kept * kept == 49 and -kept == -7
    assert (kept > 6, kept <= 6, bool(kept), [0] * 8 != [] and list(range(9))[kept]) == (1, 0, 1, 7)
    assert hash(kept) == hash(7) and f"{kept:#06x}" == "0x0007" and f"{kept:>3}" == "  7"
    MEMORY[16] = 99
    try:
        assert kept == 7 and node().low == 99
    finally:
        MEMORY[16] = 7


def test_a_copied_struct_stays_what_it_was() -> None:
    copy = node().read_()
    MEMORY[16] = 99
    try:
        assert copy.low == 7 and copy.bits == -3 and copy.tag.string_() == b"tagged"
    finally:
        MEMORY[16] = 7


def test_pointers_count_elements() -> None:
    pointer = node().address_of_()
    assert (
        pointer + 1 == NODE + 0x38 and (pointer + 2) - pointer == 2 and 1 + pointer == pointer + 1
    )
    assert node().name[4] == ord("n")
    assert pointer[0].kind == 2
    back = (node().next.address_of_()).container_of_("struct node", "next")
    assert back == NODE and back.low == 7
    assert pointer.cast_("unsigned long") == NODE


def test_arrays_are_sequences() -> None:
    tag = node().tag
    assert len(tag) == 8 and bytes(int(each) for each in tag) == b"tagged\0?"
    assert tag.string_() == b"tagged"
    with pytest.raises(IndexError):
        tag[8]


def test_it_shows_itself_as_c_does() -> None:
    here = node()
    assert str(here.kind) == "LINK" and f"{here.kind}" == "LINK" and f"{here.kind:d}" == "2"
    assert str(here.show) == "0x1234 (show_node)"
    assert repr(here.low) == "(u32)7"
    assert str(here).splitlines() == [
        "{",
        f"    .name = (char *){NAME:#x},",
        f"    .next = (struct node *){OTHER:#x},",
        "    .low = (u32)7,",
        "    .high = (u32)8,",
        "    .kind = (enum kind)LINK,",
        "    .bits = (int)-3,",
        "    .more = (u32)9,",
        "    .show = (void (*)(struct node *self))0x1234 (show_node),",
        '    .tag = (char[8])"tagged",',
        "}",
    ]
    assert here.value_()["tag"][:2] == [ord("t"), ord("a")]


def test_what_is_not_there_is_said() -> None:
    here = node()
    with pytest.raises(MemberError, match=r"a struct node has no member 'nam'; it has name") as no:
        _ = here.nam
    assert isinstance(no.value, AttributeError) and not hasattr(here, "nam")
    assert str(pickle.loads(pickle.dumps(no.value))) == str(no.value)
    with pytest.raises(GuestMemoryError):
        _ = node(OTHER).next.low
    for wrong in (lambda: here + 1, lambda: here[0], lambda: here.low.string_(), lambda: int(here)):
        with pytest.raises(UsageError):
            wrong()
    with pytest.raises(UsageError, match="it was in a register"):
        here.next.address_of_().address_of_()
    assert "nothing is mapped" in repr(node(0x10))


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("struct node", "struct node"),
        ("node *", "struct node *"),
        ("const struct node * const *", "struct node **"),
        ("unsigned long", "long unsigned int"),
        ("long unsigned", "long unsigned int"),
        ("signed int", "int"),
        ("u32 [2][3]", "u32 [2][3]"),
        ("char *[4]", "char * [4]"),
        ("void *", "void *"),
        ("enum kind", "enum kind"),
    ],
)
def test_a_type_is_found_by_what_c_calls_it(text: str, means: str) -> None:
    found = declaration(find_type(text, [TYPES]))
    assert found.replace(" ", "") == means.replace(" ", "")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("struct none", TypesError),
        ("nothing *", TypesError),
        ("union node", TypesError),
        ("", UsageError),
        ("*", UsageError),
        ("int int int", UsageError),
        ("int (*)(void)", UsageError),
        ("struct node *[2]*", UsageError),
        (7, UsageError),
        ("x" * 1000, UsageError),
    ],
)
def test_what_is_no_type_is_refused(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        find_type(text, [TYPES])
