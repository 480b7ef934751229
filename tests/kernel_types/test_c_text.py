"""Types in C: against what bpftool, pahole and pfunct were recorded to say, and what is hostile."""

from __future__ import annotations

from pathlib import Path

import compare_types as compare
import pytest
from makers import btf_maker
from makers.btf_maker import BtfMaker

from kprobesim.errors import TypesError
from kprobesim.types.as_data import as_data
from kprobesim.types.btf import Btf
from kprobesim.types.c_text import declaration, definition, prototype
from kprobesim.types.model import Function, Pointer, Struct
from kprobesim.types.prototypes import Prototypes

DATA = Path(__file__).parents[1] / "data/types"


@pytest.fixture(scope="module")
def shapes() -> Btf:
    return Btf((DATA / "shapes.btf").read_bytes())


def recorded(tool: str) -> str:
    return (DATA / f"shapes.{tool}.txt").read_text()


def test_definitions_are_those_of_bpftool(shapes: Btf) -> None:
    assert sorted(compare.theirs_in_c(recorded("bpftool"))) == sorted(compare.ours_in_c(shapes))


def test_places_and_holes_are_those_of_pahole(shapes: Btf) -> None:
    theirs, ours = compare.theirs_placed(recorded("pahole")), compare.ours_placed(shapes)
    assert sorted(theirs) == sorted(ours)


def test_prototypes_are_those_of_pfunct(shapes: Btf) -> None:
    theirs = compare.theirs_prototypes(recorded("pfunct"))
    assert sorted(theirs) == sorted(compare.ours_prototypes(shapes))


def test_many_prototypes_are_written_as_one_is(shapes: Btf) -> None:
    prototypes = Prototypes()
    functions = list(shapes.of(Function))
    assert functions
    for each in functions * 2:  # what was written once is taken for all that follow
        assert prototypes.text(each) == prototype(each)


def test_a_struct_is_one_line_a_member_with_comments_in_a_column(shapes: Btf) -> None:
    (holes,) = shapes.named("holes", Struct)
    assert definition(holes).expandtabs(8).split("\n") == [
        "struct holes {",
        "        u8 first;                                       /*     0     1 */",
        "        /* XXX 3 bytes hole, try to pack */",
        "        u32 second;                                     /*     4     4 */",
        "        u8 third;                                       /*     8     1 */",
        "        /* XXX 7 bytes hole, try to pack */",
        "        u64 fourth;                                     /*    16     8 */",
        "        u16 last;                                       /*    24     2 */",
        "",
        "        /* size: 32, cachelines: 1, members: 5 */",
        "        /* sum members: 16, holes: 2, sum holes: 10 */",
        "        /* padding: 6 */",
        "};",
    ]


def test_as_data(shapes: Btf) -> None:
    (take,) = shapes.named("take", Function)
    found = as_data(take)
    assert found["parameters"] == [
        {"name": "first", "type": "struct nested *"},
        {"name": "second", "type": "const struct functions *"},
        {"name": "third", "type": "int (*)(u32)"},
    ]
    assert found["prototype"] + ";" == found["c"]
    (nested,) = shapes.named("nested", Struct)
    members = as_data(nested)["members"]
    assert [m["name"] for m in members] == ["next", "", "points", "inner", "address", "data"]
    assert [m["offset"] for m in members[1]["members"][0]["members"]] == [8, 12]
    assert members[1]["members"][0]["holes"] == [{"bit_offset": 72, "bits": 0, "bytes": 3}]
    (bits,) = shapes.named("bits", Struct)
    assert as_data(bits)["members"][1] == {
        "name": "b",
        "offset": 0,
        "size": 4,
        "bit_offset": 3,
        "bit_size": 7,
        "type": "u32",
    }
    for each in shapes:
        assert as_data(each)["kind"] == each.kind


def test_qualifiers_and_tags() -> None:
    m = BtfMaker()
    char = m.integer("char", 1)
    user = m.pointer(m.add(btf_maker.TYPE_TAG, "user", m.add(btf_maker.CONST, "", char)))
    far = m.pointer(m.add(btf_maker.TYPE_TAG, "address_space(1)", char, flag=1))
    array = m.add(btf_maker.CONST, "", m.array(m.add(btf_maker.CONST, "", char), 2))
    fixed = m.add(btf_maker.CONST, "", m.add(btf_maker.RESTRICT, "", m.pointer(char)))
    m.function("f", 0, [("user", user), ("far", far), ("fixed", fixed), ("a", array), ("", 0)])
    m.function("exit", m.pointer(m.add(btf_maker.VOLATILE, "", m.prototype(0, []))), [])
    f, leave = Btf(m.data()).named("f", Function) + Btf(m.data()).named("exit", Function)
    assert prototype(f) == (
        'void f(const char __attribute__((btf_type_tag("user"))) *user, '
        "char __attribute__((address_space(1))) *far, char *restrict const fixed, "
        "const char a[2], ...)"
    )
    assert prototype(leave) == "void (*exit(void))(void)"
    prototypes = Prototypes()
    for each in (f, leave):
        assert prototypes.text(each) == prototype(each)


def test_types_without_end_are_an_error() -> None:
    m = BtfMaker()
    m.add(btf_maker.CONST, "", 1)
    m.pointer(2)
    m.struct("s", 8, [("", 3, 0)])
    own = m.struct("", 8, [("a", m.count + 1, 0), ("b", m.count + 1, 0)])
    m.add(btf_maker.TYPEDEF, "t", own)
    twice = m.prototype(0, [("", m.count + 2), ("", m.count + 2)])
    m.pointer(twice)
    m.function("f", 0, [("x", m.count)])
    m.pointer(m.add(btf_maker.FUNCTION, "g", twice))
    types = list(Btf(m.data()))
    for each in types:
        if not isinstance(each, Pointer) or each.target is each:
            with pytest.raises(TypesError, match=r"itself|made of"):
                definition(each)
            with pytest.raises(TypesError, match=r"itself|made of"):
                as_data(each)
        if isinstance(each, Function):
            with pytest.raises(TypesError, match=r"itself|made of"):
                Prototypes().text(each)
    with pytest.raises(TypesError, match="made of a func"):
        declaration(types[-1])


def test_any_damage_is_an_error_of_ours() -> None:
    data = (DATA / "shapes.btf").read_bytes()
    for at in range(24, len(data), 53):
        for value in (0, 0xFF, data[at] ^ 4):
            try:
                for each in Btf(data[:at] + bytes([value]) + data[at + 1 :]):
                    as_data(each)
            except TypesError:
                continue
