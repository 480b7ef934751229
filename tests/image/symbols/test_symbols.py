"""Symbols by name and by address, from every kind of file."""

from __future__ import annotations

import io
from array import array
from pathlib import Path

import lief
import pytest
from elftools.elf.elffile import ELFFile
from makers.elf_maker import ABS, FUNC, LOCAL, OBJECT, TEXT, WEAK, ElfMaker, Sym, small_kernel

from kprobesim.errors import ImageError, SymbolError
from kprobesim.image import SymbolTable, load_image
from kprobesim.image.symbols.nearest import nearest_names
from kprobesim.image.symbols.table import Columns

BASE = TEXT["x86_64"]


def write(tmp_path: Path, data: bytes | str, name: str = "vmlinux") -> Path:
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def table(
    *rows: tuple[str, int, str], extents: tuple[tuple[int, int], ...] = ((0x1000, 0x9000),)
) -> SymbolTable:
    names, addresses, kinds = zip(*rows, strict=True)
    columns = Columns(
        [name.encode() for name in names],
        array("Q", addresses),
        None,
        "".join(kinds).encode(),
    )
    return SymbolTable(columns, extents=extents)


@pytest.fixture
def symbols(tmp_path: Path) -> SymbolTable:
    return load_image(write(tmp_path, small_kernel().build())).symbols


def test_by_name(symbols: SymbolTable) -> None:
    one = symbols["do_one"]
    assert (one.name, one.address, one.size, one.type) == ("do_one", BASE, 0x30, "T")
    assert one.is_function
    assert "do_one" in symbols
    assert "do_zero" not in symbols
    assert 5 not in symbols
    assert symbols.get("do_zero") is None
    assert len(symbols) == 14  # all but $x
    assert symbols.source == ".symtab"
    assert [symbol.address for symbol in symbols] == sorted(symbol.address for symbol in symbols)


def test_types_are_those_of_nm(symbols: SymbolTable) -> None:
    types = {symbol.name: symbol.type for symbol in symbols}
    assert types["do_one"] == "T"
    assert types["twice"] == "t"
    assert types["linux_banner"] == "R"
    assert types["counter"] == "D"
    assert types["buffer"] == "b"
    assert types["answer"] == "A"
    assert not symbols["counter"].is_function


def test_weak_symbols(tmp_path: Path) -> None:
    maker = small_kernel()
    assert maker.symbols is not None
    maker.symbols += [
        Sym("weak_code", BASE + 0x200, 8, FUNC, WEAK),
        Sym("weak_data", BASE + 0x3100, 8, OBJECT, WEAK, ".data"),
    ]
    symbols = load_image(write(tmp_path, maker.build())).symbols
    assert symbols["weak_code"].type == "W"
    assert symbols["weak_data"].type == "V"
    assert [symbols["weak_code"].is_function, symbols["weak_data"].is_function] == [True, False]


def test_unknown_names_bring_the_nearest(symbols: SymbolTable) -> None:
    with pytest.raises(SymbolError, match="did you mean") as caught:
        symbols["do_onee"]
    assert caught.value.name == "do_onee"
    assert "do_one" in caught.value.candidates
    for name in ("", "x" * 5000, "\udcff\0", "@", "a@0x", "@0x10"):
        with pytest.raises(SymbolError):
            symbols[name]


def test_a_name_that_the_compiler_changed_is_nearest() -> None:
    names = [b"do_that", b"do_this.isra.0", b"do_thiz", b"do_thig"]
    assert nearest_names(b"do_this", names)[0] == b"do_this.isra.0"


def test_ambiguous_names(symbols: SymbolTable) -> None:
    with pytest.raises(SymbolError, match="2 symbols are named twice; say which") as caught:
        symbols["twice"]
    assert caught.value.candidates == (f"twice@{BASE + 0x80:#x}", f"twice@{BASE + 0xA0:#x}")
    with pytest.raises(SymbolError):
        symbols.get("twice")
    assert [symbol.address for symbol in symbols.candidates("twice")] == [BASE + 0x80, BASE + 0xA0]
    for text in caught.value.candidates:
        assert symbols[text].name == "twice"
    assert symbols[caught.value.candidates[1]].address == BASE + 0xA0
    assert f"twice@{BASE + 0x81:#x}" not in symbols
    assert "twice" in symbols


def test_the_same_name_twice_at_one_address_is_not_ambiguous() -> None:
    symbols = table(("a", 0x1000, "t"), ("a", 0x1000, "t"), ("b", 0x1010, "t"))
    assert symbols["a"].address == 0x1000


def test_by_address(symbols: SymbolTable) -> None:
    assert str(symbols.at(BASE + 0x10)) == "do_one+0x10/0x40"
    assert str(symbols.at(BASE + 0x40)) == "do_two+0x0/0x40"
    at = symbols.at(BASE + 0x47)
    assert at is not None
    assert (at.symbol.name, at.offset, at.symbol.size, at.size) == ("do_two", 7, 0x20, 0x40)
    assert str(symbols.at(BASE + 0x4FFF)) == "buffer+0xfff/0x1000"
    for nowhere in (0, 42, BASE - 1, BASE + 0x5000, 1 << 63, (1 << 64) - 1, 1 << 70, -1):
        assert symbols.at(nowhere) is None


def test_which_of_several_names_kallsyms_takes() -> None:
    symbols = table(
        ("__alias", 0x1000, "T"),
        ("weak", 0x1000, "W"),
        ("_alias", 0x1000, "T"),
        ("__start_alias", 0x1000, "T"),
        ("b_alias", 0x1000, "t"),
        ("a_alias", 0x1000, "T"),
        ("__efistub_x", 0x1800, "t"),
        ("end", 0x2000, "T"),
    )
    assert [symbol.name for symbol in symbols][:6] == [
        "a_alias",
        "b_alias",
        "_alias",
        "__alias",
        "__start_alias",
        "weak",
    ]
    assert str(symbols.at(0x1004)) == "a_alias+0x4/0x1000"
    assert str(symbols.at(0x1804)) == "a_alias+0x804/0x1000"  # kallsyms has no __efistub_ names
    assert symbols["__efistub_x"].address == 0x1800


def test_what_lies_outside_of_the_image_is_not_found_by_address() -> None:
    symbols = table(
        ("percpu", 0x10, "A"),
        ("first", 0x1010, "t"),
        ("last", 0x8FF0, "t"),
        ("other", 0xA000, "t"),
        extents=((0x1000, 0x9000), (0xA000, 0xB000)),
    )
    assert symbols["percpu"].address == 0x10
    assert symbols.at(0x10) is None
    assert symbols.at(0x1000) is None  # the image, but no symbol before it
    assert str(symbols.at(0x8FFF)) == "last+0xf/0x10"
    assert symbols.at(0x9000) is None
    assert str(symbols.at(0xAFFF)) == "other+0xfff/0x1000"
    assert [symbol.size for symbol in symbols] == [0, 0x7FE0, 0x10, 0x1000]


def test_functions_leave_data_out_that_the_linker_calls_code() -> None:
    symbols = table(
        ("code", 0x1000, "T"),
        ("_sdata", 0x2000, "T"),
        ("init_task", 0x2100, "T"),
        ("_edata", 0x3000, "D"),
        ("init_code", 0x4000, "t"),
        ("constant", 0x5000, "r"),
    )
    assert [symbol.name for symbol in symbols.functions()] == ["code", "init_code"]
    assert symbols["init_task"].type == "T"
    assert not symbols["init_task"].is_function


SYSTEM_MAP = "".join(
    f"{address:016x} {kind} {name}\n"
    for address, kind, name in [
        (0x10, "D", "percpu"),
        (BASE, "T", "_text"),
        (BASE, "T", "do_first"),
        (BASE + 0x40, "t", "do_two.constprop.0"),
        (BASE + 0x2000, "R", "linux_banner"),
        (BASE + 0x3000, "D", "counter"),
    ]
)


def test_system_map(tmp_path: Path) -> None:
    maker = small_kernel()
    maker.symbols = None
    path = write(tmp_path, maker.build())
    symbols = load_image(path, symbols=write(tmp_path, SYSTEM_MAP, "System.map")).symbols
    assert len(symbols) == 6
    assert symbols["do_first"].size == 0x40
    assert symbols["do_first"].is_function
    assert str(symbols.at(BASE + 0x41)) == "do_two.constprop.0+0x1/0x1fc0"
    assert symbols.source == "System.map"
    assert load_image(path, symbols=tmp_path / "System.map").banner.startswith(
        "Linux version 6.1.7"
    )


@pytest.mark.parametrize("slide", [0x1E00000, 0x2FE00000, -0x200000])
def test_proc_kallsyms_of_a_kernel_that_kaslr_moved(tmp_path: Path, slide: int) -> None:
    lines = []
    for line in SYSTEM_MAP.splitlines():
        address = int(line[:16], 16)
        lines.append(f"{address + slide if address > 0x1000 else address:016x}{line[16:]}")
    lines.append("ffffffffc0000000 t module_function\t[some_module]")
    lines.append("ffffffffc0001000 t bpf_prog_1234\t[bpf]")
    path = write(tmp_path, small_kernel().build())
    symbols = load_image(path, symbols=write(tmp_path, "\n".join(lines), "kallsyms")).symbols
    assert symbols["do_first"].address == BASE
    assert symbols["percpu"].address == 0x10
    assert "module_function" not in symbols


@pytest.mark.parametrize("names", [["do_one"], ["do_two", "counter"], ["linux_banner"]])
def test_any_symbol_tells_how_far_kaslr_has_moved_a_kernel(
    tmp_path: Path, names: list[str]
) -> None:
    """Parts of /proc/kallsyms serve as well; what only they have is moved, too."""
    slide = 0x1E00000
    path = write(tmp_path, small_kernel().build())
    own = load_image(path).symbols
    lines = [f"{own[name].address + slide:016x} T {name}" for name in names]
    lines.append(f"{BASE + 0x123 + slide:016x} t only_there")
    symbols = load_image(path, symbols=write(tmp_path, "\n".join(lines), "kallsyms")).symbols
    assert {name: symbols[name].address for name in names} == {
        name: own[name].address for name in names
    }
    assert symbols["only_there"].address == BASE + 0x123


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([("do_one", 0x1E00000), ("do_two", 0x1E00040)], "another kernel than vmlinux: of 2"),
        ([("only_there", 0x60000000)], "let it have _text"),
    ],
)
def test_symbols_of_which_nothing_tells_the_slide(
    tmp_path: Path, lines: list[tuple[str, int]], problem: str
) -> None:
    path = write(tmp_path, small_kernel().build(), "vmlinux")
    own = {s.name: s.address for s in load_image(path).symbols}
    text = "\n".join(f"{own.get(name, BASE) + slide:016x} T {name}" for name, slide in lines)
    with pytest.raises(ImageError, match=problem):
        _ = load_image(path, symbols=write(tmp_path, text, "kallsyms")).symbols


def test_another_elf_file(tmp_path: Path) -> None:
    stripped = small_kernel()
    stripped.symbols = None
    full = write(tmp_path, small_kernel().build(), "full")
    symbols = load_image(write(tmp_path, stripped.build()), symbols=full).symbols
    assert symbols["do_two"].size == 0x20
    assert symbols.source == "symbol table of full"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("hello\nworld\n", "no symbol file"),
        ("ffffffffffffffff B The real System.map is in the linux-image-<version>-dbg package\n",
         "the -dbg package has the real one"),
        ("0000000000000000 T _text\n0000000000000000 T do_one\n", "as root"),
        (small_kernel("arm64").build(), "is for arm64, but vmlinux is for x86_64"),
        (ElfMaker(loads=small_kernel().loads).build(), "without symbols"),
        (SYSTEM_MAP.replace(f"{BASE + 0x2000:x} R", f"{BASE + 0x2010:x} R"), "another kernel"),
        (b"\x7fELF" + bytes(10), "ELF file of only"),
    ],
)  # fmt: skip
def test_symbol_files_that_do_not_fit(tmp_path: Path, content: bytes | str, problem: str) -> None:
    image = load_image(
        write(tmp_path, small_kernel().build()), symbols=write(tmp_path, content, "symbols")
    )
    with pytest.raises(ImageError, match=problem):
        _ = image.symbols


def test_a_missing_symbol_file_is_an_error_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, small_kernel().build())
    with pytest.raises(ImageError, match="No such file"):
        load_image(path, symbols=tmp_path / "missing")


def test_a_damaged_symbol_table(tmp_path: Path) -> None:
    data = bytearray(small_kernel().build())
    shoff = int.from_bytes(data[40:48], "little")
    entry = shoff + 64 * 6  # .symtab
    data[entry + 32 : entry + 40] = (25).to_bytes(8, "little")
    image = load_image(write(tmp_path, bytes(data)))
    with pytest.raises(ImageError, match="damaged symbol table"):
        _ = image.symbols


@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
def test_two_other_readers_agree(tmp_path: Path, arch: str) -> None:
    maker = small_kernel(arch)
    assert maker.symbols is not None
    maker.symbols += [Sym(f"f{i}", TEXT[arch] + 0x400 + 8 * i, 8, FUNC, LOCAL) for i in range(300)]
    data = maker.build()
    image = load_image(write(tmp_path, data))
    ours = {(s.name, s.address, s.size) for s in image.symbols}

    elf = ELFFile(io.BytesIO(data))  # type: ignore[no-untyped-call]
    theirs = {
        (s.name, s["st_value"], s["st_size"])
        for s in elf.get_section_by_name(".symtab").iter_symbols()
        if s.name and s.name != "$x"
    }
    assert ours == theirs
    assert image.sections == {
        s.name: (s["sh_addr"], s["sh_size"]) for s in elf.iter_sections() if s["sh_flags"] & 2
    }
    binary = lief.ELF.parse(list(data))
    assert binary is not None
    assert [(s.vaddr, len(s.data), s.memsz) for s in image.segments] == [
        (s.virtual_address, s.physical_size, s.virtual_size) for s in binary.segments
    ]
    assert {s.name for s in image.symbols} == {
        str(s.name) for s in binary.symtab_symbols if s.name and s.name != "$x"
    }


@pytest.mark.parametrize(("known", "all_of_them"), [(3, False), (9, True)])
def test_whether_the_kernel_knows_symbols_of_data(
    tmp_path: Path, known: int, all_of_them: bool
) -> None:
    """Its file has them in any case."""
    maker = small_kernel()
    assert maker.symbols is not None
    code, data = maker.loads[0], maker.loads[-1]
    assert code is not data
    maker.symbols = [Sym(f"f{number}", code.vaddr + 4 * number, 4) for number in range(3)]
    data.data = known.to_bytes(4, "little") + data.data[4:]
    maker.symbols.append(Sym("kallsyms_num_syms", data.vaddr, 4, OBJECT, section=ABS))
    path = tmp_path / "vmlinux"
    path.write_bytes(maker.build())
    assert load_image(path).kallsyms_all is all_of_them
