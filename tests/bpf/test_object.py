"""What is read of a compiled object: programs, what they call, externs, lines; and bad ones."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from makers.bpf_objects import compiled, compiled_object

from kprobesim.bpf.attachment import AttachKind
from kprobesim.bpf.elf_file import ElfFile
from kprobesim.bpf.externs import ExternKind, KconfigType
from kprobesim.bpf.object import BpfObject
from kprobesim.errors import BpfObjectError, KprobesimError

pytestmark = pytest.mark.compiler


@pytest.fixture(scope="module")
def sections() -> BpfObject:
    return compiled_object("sections.c")


def test_programs_of_one_section_are_told_apart(sections: BpfObject) -> None:
    kinds = {one.name: (one.section, one.optional) for one in sections.programs}
    assert kinds == {
        "first": ("kprobe/vfs_read", False),
        "second": ("kprobe/vfs_read", False),
        "optional": ("fentry/nf_tables:nft_do_chain", True),
        "at_run_time": ("kprobe", False),
    }
    assert sections.license == "GPL"
    assert sections.program("optional").attachment.module == "nf_tables"
    assert sections.program("at_run_time").attachment.text == "attached at run time"


def test_the_code_of_a_program_is_its_own_and_what_it_calls(sections: BpfObject) -> None:
    called = {
        one.name: {function.name for function in sections.code_of(one)} for one in sections.programs
    }
    assert called == {
        "first": {"first", "deeper", "shared"},
        "second": {"second"},
        "optional": {"optional"},
        "at_run_time": {"at_run_time", "shared"},
    }
    globally = {one.name: one.is_global for one in sections.functions}
    assert globally["shared"] and not globally["deeper"]


def test_an_instruction_knows_its_line(sections: BpfObject) -> None:
    line = sections.program("at_run_time").function.source_line(0)
    assert line is not None
    assert (Path(line.file).name, line.text) == ("sections.c", "return shared(3);")


def test_externs_say_what_they_want_of_the_kernel(sections: BpfObject) -> None:
    found = {one.name: (one.kind, one.weak, one.kconfig) for one in sections.externs}
    assert found == {
        "CONFIG_HZ": (ExternKind.KCONFIG, False, KconfigType.INT),
        "CONFIG_BPF_LSM": (ExternKind.KCONFIG, True, KconfigType.BOOL),
        "CONFIG_LOCALVERSION": (ExternKind.KCONFIG, True, KconfigType.STRING),
        "LINUX_KERNEL_VERSION": (ExternKind.KCONFIG, False, KconfigType.INT),
        "init_task": (ExternKind.SYMBOL, False, None),
        "runqueues_count": (ExternKind.TYPED_VARIABLE, True, None),
        "bpf_rcu_read_lock": (ExternKind.KFUNC, False, None),
        "bpf_no_such_kfunc": (ExternKind.KFUNC, True, None),
    }


def test_the_reader_of_elf_agrees_with_pyelftools(tmp_path: Path) -> None:
    data = compiled("sections.c")
    (tmp_path / "o").write_bytes(data)
    with (tmp_path / "o").open("rb") as stream:
        theirs = ELFFile(stream)
        ours = ElfFile(data, "o")
        assert [one.name for one in ours.sections] == [one.name for one in theirs.iter_sections()]
        for mine, other in zip(ours.sections, theirs.iter_sections(), strict=True):
            data = b"" if other["sh_type"] == "SHT_NOBITS" else other.data()
            assert (mine.data, mine.flags) == (data, other["sh_flags"])
        symbols = theirs.get_section_by_name(".symtab")
        assert [(one.value, one.size, one.section) for one in ours.symbols] == [
            (one["st_value"], one["st_size"], _index(one["st_shndx"]))
            for one in symbols.iter_symbols()
        ]
        named = {one.name for one in symbols.iter_symbols()}
        assert {one.name for one in ours.symbols} <= named | {""}


def _index(section: int | str) -> int:
    return {"SHN_UNDEF": 0, "SHN_ABS": 0xFFF1}[section] if isinstance(section, str) else section


def test_without_types_programs_are_still_told() -> None:
    text = '#include "bpf.h"\nSEC("fentry/vfs_read") int program(u64 *ctx) { return ctx[0]; }\n'
    bare = compiled_object(text, "-g0")
    assert bare.btf is None
    assert bare.program("program").attachment.kind is AttachKind.FENTRY


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _with(offset: int, layout: str, value: int) -> object:
    def change(data: bytes) -> bytes:
        changed = bytearray(data)
        struct.pack_into(layout, changed, offset, value)
        return bytes(changed)

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: b"not an object at all", "not an ELF file"),
        (lambda data: b"", "not an ELF file"),
        (lambda data: data[:40], "cut short"),
        (_cut, "not in the file"),
        (_with(5, "<B", 2), "big-endian"),
        (_with(4, "<B", 1), "32-bit"),
        (_with(18, "<H", 62), "for x86-64, not for eBPF"),
        (_with(16, "<H", 2), "clang -c"),
    ],
)
def test_what_is_no_object_is_refused(change: object, says: str) -> None:
    assert callable(change)
    with pytest.raises(BpfObjectError, match=says):
        BpfObject.parse(change(compiled("sections.c")))


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", Path("/dev/zero")):
        with pytest.raises(BpfObjectError, match=str(path)):
            BpfObject.read(path)


def test_what_another_object_defines_is_told() -> None:
    text = '#include "bpf.h"\nextern int other(int);\n'
    text += 'SEC("kprobe/f") int program(void *ctx) { return other(1); }\n'
    for flag in ("-g", "-g0"):
        half = compiled_object(text, flag)
        assert [one.name for one in half.programs] == ["program"]
        assert "'other' is defined elsewhere: link it" in half.problems[0]


def test_legacy_maps_are_told() -> None:
    legacy = compiled_object(
        '#include "bpf.h"\n'
        'struct { u32 type, key, value, entries; } old SEC("maps") = { 1, 4, 4, 1 };\n'
        'SEC("kprobe/vfs_read") int program(void *ctx) { return (long)&old; }\n'
    )
    assert "libbpf refuses" in legacy.problems[0]


def test_damage_anywhere_ends_in_an_error_of_ours() -> None:
    """Bytes of the object changed at random, and whole words of its BTF, 400 times."""
    rng = random.Random(5)
    data = compiled("core.c")
    for _ in range(400):
        changed = bytearray(data)
        for _ in range(rng.choice((1, 3, 20))):
            at = rng.randrange(len(data))
            changed[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        try:
            BpfObject.parse(bytes(changed))
        except KprobesimError as error:
            assert str(error).startswith("<bytes>: ")
