"""The reader of BTF: every kind, names, what goes on from a base, and damage of all sorts."""

from __future__ import annotations

import pickle
import random
import struct

import pytest
from makers import btf_maker
from makers.btf_maker import BOOL, SIGNED, BtfMaker

from kprobesim.errors import KprobesimError, TypesError
from kprobesim.types.btf import Btf
from kprobesim.types.model import (
    Array,
    Composite,
    Const,
    DataSection,
    DeclTag,
    Enum,
    Enum64,
    Float,
    Forward,
    Function,
    Int,
    Pointer,
    Struct,
    Type,
    Typedef,
    TypeTag,
    Union,
    Unknown,
    Variable,
    Void,
)


def kernel() -> BtfMaker:
    """One type at least of each kind."""
    m = BtfMaker()
    i32 = m.integer("int", 4, SIGNED)
    u8 = m.integer("_Bool", 1, BOOL)
    row = m.array(m.array(i32, 3), 5)
    m.enum("colour", [("RED", 0), ("BLUE", 0xFFFF_FFFF)])
    m.enum("sign", [("MINUS", -1), ("PLUS", 1)])
    m.enum("big", [("HUGE", 1 << 63), ("SMALL", 2)], 8)
    m.enum("below", [("LEAST", -(1 << 63))], 8)
    inner = m.struct("", 8, [("low", i32, 0), ("high", i32, 32)])
    both = m.struct("", 8, [("whole", i32, 0), ("", inner, 0)], btf_maker.UNION)
    info = m.struct("info", 16, [("flags", i32, 0), ("", both, 64)])
    alias = m.add(btf_maker.TYPEDEF, "info_t", info)
    const = m.add(btf_maker.CONST, "", alias)
    m.struct(
        "task_struct",
        96,
        [("thread", const, 0), ("pid", i32, 256), ("", both, 320), ("comm", row, 512)],
    )
    fields = [("a", i32, 3 << 24 | 0), ("b", i32, 5 << 24 | 3), ("c", i32, 32)]
    m.struct("fields", 8, fields, flag=1)
    nowhere = m.add(btf_maker.FORWARD, "nowhere", 0)
    m.add(btf_maker.FORWARD, "either", 0, flag=1)
    tagged = m.pointer(m.add(btf_maker.TYPE_TAG, "user", m.add(btf_maker.VOLATILE, "", nowhere)))
    restricted = m.add(btf_maker.RESTRICT, "", tagged)
    m.function("take", i32, [("from", restricted), ("", u8)])
    last = m.function("print", 0, [("format", tagged), ("", 0)])
    m.decl_tag("bpf_kfunc", last)
    m.decl_tag("nullable", last, 0)
    m.section(".data..percpu", [(m.variable("counter", row), 8, 60)])
    m.add(btf_maker.FLOAT, "double", 8)
    m.struct("info___old", 4, [])
    return m


def one(btf: Btf, name: str, kind: type[Type] = Type) -> Type:
    (found,) = btf.named(name, kind)
    return found


def test_every_kind() -> None:
    btf = Btf(kernel().data())
    integer = one(btf, "int")
    assert isinstance(integer, Int)
    assert (integer.size, integer.bits, integer.is_signed, integer.is_bool) == (4, 32, True, False)
    boolean = one(btf, "_Bool")
    assert isinstance(boolean, Int)
    assert boolean.is_bool
    values = {name: one(btf, name, Enum) for name in ("colour", "sign", "big", "below")}
    assert {name: [v.value for v in each.values] for name, each in values.items()} == {  # type: ignore[attr-defined]
        "colour": [0, 0xFFFF_FFFF],
        "sign": [-1, 1],
        "big": [1 << 63, 2],
        "below": [-(1 << 63)],
    }
    assert isinstance(values["big"], Enum64)
    task = one(btf, "task_struct")
    assert isinstance(task, Struct)
    assert [(m.name, m.bit_offset, m.bit_size) for m in task.members] == [
        ("thread", 0, 0),
        ("pid", 256, 0),
        ("", 320, 0),
        ("comm", 512, 0),
    ]
    thread, anonymous, comm = task.members[0].type, task.members[2].type, task.members[3].type
    assert isinstance(thread, Const)
    assert isinstance(thread.target, Typedef)
    assert thread.stripped is one(btf, "info")
    assert (thread.size, comm.size, task.size) == (16, 60, 96)
    assert isinstance(anonymous, Union)
    assert not anonymous.name
    assert isinstance(comm, Array)
    assert (comm.count, comm.index.name) == (5, "int")
    fields = one(btf, "fields")
    assert isinstance(fields, Struct)
    assert [m[2:] for m in fields.members] == [(0, 3), (3, 5), (32, 0)]
    take, show = one(btf, "take"), one(btf, "print")
    assert isinstance(take, Function)
    assert isinstance(show, Function)
    assert (take.returns, take.linkage) == (integer, "static")
    assert [p.name for p in take.parameters] == ["from", ""]
    pointer = take.parameters[0].type.stripped
    assert isinstance(pointer, Pointer)
    assert pointer.size == 8
    assert isinstance(pointer.target, TypeTag)
    assert not pointer.target.is_attribute
    assert isinstance(pointer.target.stripped, Forward)
    assert pointer.target.size is None
    assert isinstance(show.returns, Void)
    assert show.prototype.is_variadic
    assert len(show.parameters) == 1
    either = one(btf, "either")
    assert isinstance(either, Forward)
    assert either.is_union
    tags = [t for t in btf if isinstance(t, DeclTag)]
    assert [(t.name, t.target, t.component) for t in tags] == [
        ("bpf_kfunc", show, None),
        ("nullable", show, 0),
    ]
    section = one(btf, ".data..percpu")
    assert isinstance(section, DataSection)
    (place,) = section.variables
    assert (place.offset, place.size) == (8, 60)
    assert isinstance(place.type, Variable)
    assert (place.type.name, place.type.linkage, place.type.size) == ("counter", "global", 60)
    assert isinstance(one(btf, "double"), Float)
    assert isinstance(btf.type(0), Void)
    assert len(btf) == kernel().count + 1 == len(list(btf)) + 1


def test_names() -> None:
    btf = Btf(kernel().data())
    assert [type(each) for each in btf.named("print")] == [Function]
    assert btf.named("print", Struct) == []
    assert btf.named("no such name") == btf.named("") == []
    assert {each.name for each in btf.flavours("info")} == {"info", "info___old"}
    assert list(btf.functions()) == ["take", "print"]
    for _ in range(20):  # so many that an index is made
        assert [each.name for each in btf.named("info", Composite)] == ["info"]
    again = pickle.loads(pickle.dumps(btf.type(5)))
    assert again.name == btf.type(5).name


def test_names_that_share_their_ends() -> None:
    m = BtfMaker()
    m.struct("kernel_file", 0, [])
    m.types[:4] = struct.pack("<I", m.name("kernel_file") + len("kernel_"))
    assert [each.number for each in Btf(m.data()).named("file")] == [1]


def test_members_of_structs_and_of_what_is_in_them() -> None:
    btf = Btf(kernel().data())
    module = BtfMaker(kernel())
    module.struct("own", 4, [("x", 1, 0)])
    split = Btf(module.data(), btf)
    for path, offset in (
        ("pid", 32),
        ("comm", 64),
        ("whole", 40),
        ("high", 44),
        ("thread", 0),
        ("thread.flags", 0),
        ("thread.low", 8),
        ("thread.high", 12),
        ("tgid", None),
        ("pid.x", None),
        ("thread.nothing", None),
    ):
        assert btf.offset("task_struct", path) == split.offset("task_struct", path) == offset, path
    assert btf.offset("no_such_struct", "pid") is None
    assert btf.offset("int", "pid") is None
    assert [btf.offset("fields", n) for n in "abc"] == [0, None, 4]
    assert [split.offset("fields", n) for n in "abc"] == [0, None, 4]
    assert split.offset("own", "x") == 0


def test_a_module_goes_on_where_its_kernel_ends() -> None:
    base = kernel()
    module = BtfMaker(base)
    (number,) = (n for n, t in enumerate(Btf(base.data()), 1) if t.name == "task_struct")
    mine = module.struct("mine", 8, [("task", module.pointer(number), 0), ("pid", 1, 64)])
    module.function("probe", 1, [("mine", module.pointer(mine))])
    module.add(btf_maker.TYPEDEF, "info_t", mine)
    btf = Btf(module.data(), Btf(base.data()), "mine.ko")
    (own,) = btf.named("mine", Struct)
    assert [m.name for m in own.members] == ["task", "pid"]
    target = own.members[0].type.stripped
    assert isinstance(target, Pointer)
    assert target.target.name == "task_struct"
    assert list(btf.functions()) == ["probe"]
    assert len(btf.named("info_t")) == 2
    assert len(btf) == module.count + 1
    with pytest.raises(TypesError, match=r"mine\.ko: has no type 99"):
        btf.type(99)


def test_a_kind_of_the_future_is_stepped_over_if_the_file_says_how() -> None:
    m = BtfMaker()
    m.add(21, "strange", 4, 2, bytes(4 + 2 * 8))
    m.integer("int", 4)
    with pytest.raises(TypesError, match=r"type 1 .* kind that nobody knows, 21"):
        Btf(m.data()).named("int")
    m.layout = b"".join(
        struct.pack("<BBH", *((4, 8, 0) if k == 21 else (0, 0, 0))) for k in range(22)
    )
    btf = Btf(m.data())
    assert isinstance(btf.type(1), Unknown)
    assert isinstance(one(btf, "int"), Int)


def test_vlen_has_24_bits() -> None:
    m = BtfMaker()
    i32 = m.integer("int", 4)
    m.struct("long", 4 * 70000, [("", i32, 0)] * 69999 + [("last", i32, 32 * 69999)])
    m.integer("behind", 4)
    btf = Btf(m.data())
    assert btf.offset("long", "last") == 4 * 69999
    assert btf.type(3).name == "behind"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "no BTF"),
        (bytes(64), "no BTF"),
        (b"\xeb\x9f\x01" + bytes(60), "big-endian"),
        (b"\x9f\xeb\x02" + bytes(60), "version 2"),
        (kernel().data()[:-1], "cut short"),
        (kernel().data()[:30], "cut short"),
    ],
)
def test_what_is_no_btf(data: bytes, problem: str) -> None:
    with pytest.raises(TypesError, match=f"some file: .*{problem}"):
        Btf(data, source="some file")


def test_strings_without_end() -> None:
    m = BtfMaker()
    m.integer("int", 4)
    m.strings[-1] = ord("x")
    with pytest.raises(TypesError, match="no end"):
        Btf(m.data())
    m.strings[:] = b"int\0"
    with pytest.raises(TypesError, match="empty one"):
        Btf(m.data())
    m.strings[:] = b"\0"
    with pytest.raises(TypesError, match="string at 0x1, behind"):
        _ = Btf(m.data()).type(1).name


def test_names_are_fit_for_a_terminal() -> None:
    m = BtfMaker()
    m.integer("\x1b[31mred\n", 4)
    m.strings += b"\xff\0"
    m.integer("é", 4)
    btf = Btf(m.data())
    assert [each.name for each in btf] == ["\\x1b[31mred\\n", "é"]
    assert btf.string(m.name("é") - 2) == "\\xff"


def test_types_that_lead_to_themselves() -> None:
    m = BtfMaker()
    m.add(btf_maker.TYPEDEF, "loop", 2)
    m.add(btf_maker.CONST, "", 1)
    m.array(3, 7)
    m.struct("task_struct", 8, [("", 4, 0)])
    m.struct("twice", 8, [("", 5, 0), ("", 5, 0)])
    m.struct("user", 8, [("x", 1, 0)])
    m.variable("v", 1)
    btf = Btf(m.data())
    for number in (1, 2, 3, 7):
        with pytest.raises(TypesError, match=r"type \d is defined by itself"):
            _ = btf.type(number).size
    with pytest.raises(TypesError, match="itself"):
        _ = btf.type(1).stripped
    assert btf.offset("task_struct", "pid") is None
    for name in ("task_struct", "twice"):
        (found,) = btf.named(name, Struct)
        with pytest.raises(TypesError, match="itself"):
            found.find("pid")
    with pytest.raises(TypesError, match="itself"):
        btf.offset("user", "x.y")


def test_references_to_nothing() -> None:
    m = BtfMaker()
    m.struct("s", 8, [("x", 1000, 0)])
    m.pointer(1 << 31)
    m.add(btf_maker.FUNCTION, "f", 1)
    m.struct("t", 8, [("", 3, 0)])
    struct_s, pointer, function, other = Btf(m.data())
    assert isinstance(struct_s, Struct)
    assert isinstance(pointer, Pointer)
    assert isinstance(function, Function)
    with pytest.raises(TypesError, match="type 1 refers to type 1000"):
        _ = struct_s.members
    with pytest.raises(TypesError, match="type 2 refers to type 2147483648"):
        _ = pointer.target
    with pytest.raises(TypesError, match="function 3 has"):
        _ = function.prototype
    assert isinstance(other, Struct)
    assert other.find("x") is None


def test_records_that_end_too_late() -> None:
    m = BtfMaker()
    m.integer("int", 4)
    m.add(btf_maker.STRUCT, "s", 8, 0xFFFF, bytes(24))
    btf = Btf(m.data())
    assert btf.type(1).name == "int"
    for ask in (lambda: len(btf), lambda: btf.type(2), lambda: btf.named("s"), btf.functions):
        with pytest.raises(TypesError, match=r"type 2 .* claims 65535 elements"):
            ask()
    del m.types[-28:]
    with pytest.raises(TypesError, match="ends within type 2"):
        len(Btf(m.data()))


def look_at_all(btf: Btf) -> None:
    """Ask every type everything that it has."""
    for each in btf:
        for name in dir(type(each)):
            if not name.startswith("_"):
                asked = getattr(each, name)
                if name == "flat":
                    list(asked())


def test_any_damage_is_an_error_of_ours() -> None:
    data, chance = kernel().data(), random.Random(1)
    damaged = 0
    for at in range(24, len(data), 3):
        for value in (0, 0xFF, chance.randrange(256)):
            try:
                btf = Btf(data[:at] + bytes([value]) + data[at + 1 :])
                for path in ("comm", "high", "thread.high"):
                    found = btf.offset("task_struct", path)
                    assert found is None or 0 <= found < 1 << 29
                look_at_all(btf)
            except KprobesimError:
                damaged += 1
    assert damaged > 100
