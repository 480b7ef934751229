"""Module files: packed, damaged, foreign, or no module at all."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest
from makers.elf_edit import with_symbol
from makers.package_maker import COMPRESS, make_deb

from kprobesim import CalledKernel, ImageError, Kernel, KprobesimError
from kprobesim.image.modules.file import ModuleFile, function_table, module_name
from kprobesim.image.modules.package import ModulePackage

NAME = "kprobesim_sample"


@pytest.fixture
def ko(sample: Path, arch: str) -> Path:
    return sample.parent / f"module-{arch}.ko"


@pytest.mark.parametrize(("kind", "ending"), [("gzip", "gz"), ("XZ", "xz"), ("zstd", "zst")])
def test_packed_modules(
    guest: CalledKernel, ko: Path, tmp_path: Path, kind: str, ending: str
) -> None:
    packed = tmp_path / f"module.ko.{ending}"
    packed.write_bytes(COMPRESS[kind](ko.read_bytes()))
    guest.load_module(packed)
    assert guest.call("sample_add", 2, 2) == 4


def test_what_it_says_of_itself(ko: Path, arch: str) -> None:
    file = ModuleFile(ko, ko.read_bytes())
    assert (file.name, file.arch, file.depends) == (NAME, arch, ())
    assert file.vermagic == "6.1.0-kprobesim-sample SMP mod_unload"


@pytest.mark.parametrize("file", ["a/b-c.ko", "b_c.ko.xz", "b-c.ko.gz", "b-c"])
def test_names_of_files(file: str) -> None:
    assert module_name(file) == "b_c"


def test_functions_of_a_package_are_looked_up_once(
    ko: Path, arch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, deb = tmp_path / "cache", tmp_path / "linux-image.deb"
    monkeypatch.setenv("KPROBESIM_CACHE", str(folder))
    client = (ko.parent / f"client-{arch}.ko").read_bytes()
    place = "./lib/modules/6.1.0-kprobesim-sample/kernel"
    packed = {f"{place}/sample.ko.xz": COMPRESS["XZ"](ko.read_bytes())}
    deb.write_bytes(make_deb({**packed, f"{place}/client.ko": client}))
    for times in range(3):
        said: list[str] = []
        names = ModulePackage(deb).function_names(said.append)
        assert names.modules_with("sample_add") == ("sample",)
        assert names.modules_with("client_square") == ("client",)
        assert names.modules_with("ample_add") == names.modules_with("sample_add\0") == ()
        assert said == ([] if times == 1 else ["looking through 2 modules"])
        if times == 1:
            (entry,) = folder.glob("*.functions.kpi")
            entry.write_bytes(entry.read_bytes()[:-1])


def test_a_damaged_table_of_functions_is_an_error_of_ours(ko: Path) -> None:
    whole = ko.read_bytes()
    found = function_table(ko, whole)
    assert {name.decode() for name, _ in found} == set(ModuleFile(ko, whole).functions())
    draw = random.Random(3)
    for _ in range(300):
        code = bytearray(whole[: draw.randrange(64, len(whole)) if draw.random() < 0.3 else None])
        for _ in range(3):
            code[draw.randrange(4, 64)] = draw.randrange(256)
        with contextlib.suppress(ImageError):
            function_table(ko, bytes(code))


def test_a_package_has_modules(sample: Path, ko: Path, arch: str, tmp_path: Path) -> None:
    deb = tmp_path / "linux-image.deb"
    client = (ko.parent / f"client-{arch}.ko").read_bytes()
    folder = "./lib/modules/6.1.0-kprobesim-sample/kernel/drivers"
    files = {
        "./boot/vmlinux-6.1": sample.read_bytes(),
        f"{folder}/kprobesim-sample.ko": ko.read_bytes(),
        f"{folder}/deep/kprobesim-client.ko.xz": COMPRESS["XZ"](client),
    }
    deb.write_bytes(make_deb(files))
    kernel = Kernel.load(deb)
    kernel.load_module("kprobesim-client")  # and what it depends on
    assert [module.name for module in kernel.modules] == [NAME, "kprobesim_client"]
    assert kernel.call("client_square", 3) == 9
    with pytest.raises(ImageError, match="no module other in it"):
        kernel.load_module("other")
    assert ModulePackage(sample).find(NAME) is None


def test_a_module_for_another_machine(guest: CalledKernel, ko: Path, arch: str) -> None:
    other = {"x86_64": "arm64", "arm64": "x86_64"}[arch]
    with pytest.raises(ImageError, match=f"for {other}; the kernel is {arch}"):
        guest.load_module(ko.parent / f"module-{other}.ko")


def test_a_module_for_another_kernel(guest: CalledKernel, ko: Path, tmp_path: Path) -> None:
    file = tmp_path / "other.ko"
    file.write_bytes(ko.read_bytes().replace(b"6.1.0-kprobesim", b"6.2.0-kprobesim"))
    with pytest.raises(ImageError, match=r"vermagic is '6\.2\.0-kprobesim-sample"):
        guest.load_module(file)


def test_symbols_that_nobody_has(guest: CalledKernel, ko: Path, tmp_path: Path) -> None:
    file = tmp_path / "other.ko"
    file.write_bytes(ko.read_bytes().replace(b"\0crc32_le\0", b"\0crc99_le\0"))
    with pytest.raises(ImageError, match="needs crc99_le, which neither"):
        guest.load_module(file)
    assert len(guest.modules) == 0


@pytest.mark.parametrize(
    ("name", "section", "binding"),
    [
        ("nobody_has_it", 0, 2),  # weak
        (".klp.sym.vmlinux.printk,0", 0xFF20, 1),  # SHN_LIVEPATCH
        ("__gnu_lto_slim", 0xFFF2, 1),  # SHN_COMMON
    ],
)
def test_symbols_that_the_loader_passes_over(
    guest: CalledKernel, ko: Path, tmp_path: Path, name: str, section: int, binding: int
) -> None:
    file = tmp_path / "other.ko"
    file.write_bytes(with_symbol(ko.read_bytes(), name, section, binding=binding))
    guest.load_module(file)
    assert guest.call("sample_add", 2, 3) == 5


def test_common_symbols_are_refused(guest: CalledKernel, ko: Path, tmp_path: Path) -> None:
    file = tmp_path / "other.ko"
    file.write_bytes(with_symbol(ko.read_bytes(), "counter", 0xFFF2))
    with pytest.raises(ImageError, match="'counter' in no section"):
        guest.load_module(file)


def test_the_name_of_a_table_that_x86_code_does_not_need(
    guest: CalledKernel, ko: Path, arch: str, tmp_path: Path
) -> None:
    file = tmp_path / "other.ko"
    file.write_bytes(with_symbol(ko.read_bytes(), "_GLOBAL_OFFSET_TABLE_", 0))
    if arch == "x86_64":
        guest.load_module(file)
        assert guest.call("sample_add", 2, 3) == 5
    else:
        with pytest.raises(ImageError, match="needs _GLOBAL_OFFSET_TABLE_"):
            guest.load_module(file)


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        (b"no module, but a text of some length", "no kernel module"),
        (b"\x1f\x8b\x08\0 damaged", "damaged"),
        (COMPRESS["gzip"](b"no module either"), "holds no kernel module"),
        (b"\x7fELF", "only 4 bytes"),
    ],
)
def test_no_module(guest: CalledKernel, tmp_path: Path, contents: bytes, words: str) -> None:
    file = tmp_path / "a.ko"
    file.write_bytes(contents)
    with pytest.raises(ImageError, match=words):
        guest.load_module(file)


def test_a_kernel_is_no_module(guest: CalledKernel, sample: Path) -> None:
    with pytest.raises(ImageError, match="no module"):
        guest.load_module(sample.resolve())


def test_damaged_modules_give_an_error_of_ours(sample: Path, ko: Path, tmp_path: Path) -> None:
    """Bytes changed and files cut at random: loaded, or refused in words of ours."""
    whole = ko.read_bytes()
    chance = random.Random(7)
    file = tmp_path / "damaged.ko"
    kernel = Kernel.load(sample)
    outcomes = set()
    for number in range(300):
        data = bytearray(whole)
        if number % 10 == 0:
            del data[chance.randrange(len(data)) :]
        for _ in range(1 + number % 4):
            if data:
                data[chance.randrange(len(data))] = chance.choice((0, 0xFF, chance.randrange(256)))
        if number % 3 == 0 and len(data) > 64:  # the headers, where it matters most
            at = len(data) - 1 - chance.randrange(min(len(data) - 64, 64 * 42))
            data[at] ^= 1 << chance.randrange(8)
        file.write_bytes(data)
        try:
            module = kernel.load_module(file)
        except KprobesimError as error:
            assert str(error)
            outcomes.add("refused")
        else:
            kernel.check("sample_add", events=True)
            kernel.unload_module(module.name)
            outcomes.add("loaded")
    assert outcomes == {"refused", "loaded"}
    assert len(kernel.modules) == 0
