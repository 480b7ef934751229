"""Files made to hang, to flood the memory or to crash who reads them: refused, soon and in words.

Each would take gigabytes or for ever; what bounds it is shown with bounds that are smaller.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from makers.elf_maker import small_kernel
from makers.package_maker import COMPRESS, make_arm64_image, make_bzimage, make_deb, make_tar

from kprobesim import CalledKernel, Kernel
from kprobesim.errors import ImageError, KprobesimError
from kprobesim.image import load_image

TIB = 1 << 40
LIMITS = "kprobesim.image.files"


def refusal(path: Path, symbols: Path | None = None) -> str:
    with pytest.raises(ImageError) as caught:
        _ = load_image(path, symbols=symbols).symbols
    return caught.value.problem


def write(tmp_path: Path, data: bytes, size: int = 0) -> Path:
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.write(data)
        if size:
            file.truncate(size)
    return path


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A member's header; GNU's way to say sizes over 8 GiB."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def deb_of(tar: bytes) -> bytes:
    data = COMPRESS["XZ"](tar)
    head = f"{'data.tar.xz':<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
    return b"!<arch>\n" + head + data


# -- what is no file -------------------------------------------------------------------------------


@pytest.fixture(params=["fifo", "socket", "/dev/zero", "directory"])
def endless(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "it"
    if request.param == "fifo":
        os.mkfifo(path)
    elif request.param == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    elif request.param == "directory":
        path.mkdir()
    else:
        path = Path(request.param)
    return path


def test_what_is_no_file_is_not_read(endless: Path, guest: CalledKernel, sample: Path) -> None:
    refusals = (
        lambda: load_image(endless),
        lambda: load_image(sample, symbols=endless),
        lambda: guest.load_module(endless),
        lambda: Kernel.boot(sample, initrd=endless),
        lambda: Kernel.resume(endless),
    )
    for refused in refusals:
        with pytest.raises(KprobesimError, match=r"is a directory|not a regular file"):
            refused()


def test_files_of_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They say that they are empty."""
    assert "no kernel image: it starts with" in refusal(Path("/proc/self/status"))
    monkeypatch.setattr(f"{LIMITS}.source._ENDLESS", 1 << 20)
    if Path("/proc/self/pagemap").exists():
        assert "no end within" in refusal(Path("/proc/self/pagemap"))


# -- sparse files ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "problem"),
    [
        (b"", "no kernel image"),
        (b"!<arch>\n", "damaged ar header"),
        (make_bzimage(b"x" * 5000, "gzip"), "only 5000 bytes|no kernel image"),
        (COMPRESS["XZ"](bytes(range(256)) * 999)[:200], "damaged XZ"),
        (COMPRESS["zstd"](bytes(range(256)) * 999)[:200], "damaged zstd"),
        (make_arm64_image(b"", base=0, pointers=[0xFFFF << 48] * 9), "at most 512 MiB"),
        (header("boot/vmlinuz", 3 * TIB), "would unpack to"),
    ],
    ids="nothing ar bzImage XZ zstd Image tar".split(),
)
def test_sparse_files(tmp_path: Path, start: bytes, problem: str) -> None:
    path = write(tmp_path, start, 4 * TIB)
    with pytest.raises(ImageError, match=problem):
        load_image(path)


@pytest.mark.parametrize("which", ["symbols", "names", "section names"])
def test_sections_of_a_sparse_elf_file(tmp_path: Path, which: str) -> None:
    data = bytearray(small_kernel().build())
    (start,) = struct.unpack_from("<Q", data, 40)
    count, names = struct.unpack_from("<HH", data, 60)
    kinds = [struct.unpack_from("<I", data, start + 64 * i + 4)[0] for i in range(count)]
    symbols = kinds.index(2)
    number = {"symbols": symbols, "names": symbols + 1, "section names": names}[which]
    struct.pack_into("<Q", data, start + 64 * number + 32, 24 << 34)
    path = write(tmp_path, bytes(data), 4 * TIB)
    if which == "section names":
        assert "do_one" in load_image(path).symbols
    else:
        assert f"has {24 << 34} bytes" in refusal(path)


# -- bombs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in COMPRESS if kind not in ("LZ4", "LZO")])
def test_what_unpacks_to_too_much_for_its_size(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{LIMITS}.compression._FREE", 1 << 18)
    bomb = COMPRESS[kind](bytes(8 << 20))
    limit = (1 << 18) + 200 * len(bomb)
    assert f"unpacks to more than {limit} bytes" in refusal(write(tmp_path, bomb))


@pytest.mark.parametrize("kind", [kind for kind in COMPRESS if kind not in ("LZMA", "LZO")])
def test_streams_without_end(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{LIMITS}.compression._MOST_STREAMS", 50)
    assert "more than 50 streams" in refusal(write(tmp_path, COMPRESS[kind](b"") * 60))


@pytest.mark.parametrize("kind", [kind for kind in COMPRESS if kind != "LZMA"])
@pytest.mark.parametrize("behind", [b"\0" * 20, b"signature", struct.pack("<I", 1 << 20)])
def test_bytes_behind_a_stream_do_no_harm(tmp_path: Path, kind: str, behind: bytes) -> None:
    packed = COMPRESS[kind](small_kernel().build())
    assert load_image(write(tmp_path, packed + behind)).banner


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "XZ", "zstd"])
def test_streams_that_follow_each_other_are_one(tmp_path: Path, kind: str) -> None:
    """As pbzip2, bgzip and pzstd write."""
    data = small_kernel().build()
    pack = COMPRESS[kind]
    image = load_image(write(tmp_path, pack(data[:5000]) + pack(data[5000:])))
    assert image.symbols["do_one"].size == 0x30


@pytest.mark.parametrize(
    ("tar", "problem"),
    [
        (header("boot/other", 4 * TIB), "would unpack to"),
        (header("boot/vmlinuz", 4 * TIB) + bytes(9999), "would unpack to"),
        (header("x", 1 << 30, b"L") + b"a" * (9 << 20), "header of it is larger"),
        (header("x", 1 << 30, b"x") + b"9 a=b\n\n\n\n" * (1 << 20), "header of it is larger"),
        ((header("x", 512, b"L") + b"a" * 511 + b"\0") * 1500, "recursion"),
    ],
    ids=["skipped", "kernel", "long name", "pax", "chain of long names"],
)
def test_archives_with_impossible_members(tmp_path: Path, tar: bytes, problem: str) -> None:
    assert problem in refusal(write(tmp_path, deb_of(tar)))


def test_archives_with_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{LIMITS}.archive._MOST_MEMBERS", 100)
    many = make_tar({f"f{i}": b"" for i in range(120)} | {"boot/vmlinux": small_kernel().build()})
    assert "more than 100 files" in refusal(write(tmp_path, deb_of(many)))


def test_packages_in_archives(tmp_path: Path) -> None:
    """What make tarxz-pkg builds, and what distributions other than Debian ship."""
    files = {
        "./boot/config": b"y",
        "./boot/vmlinuz-6.1": make_bzimage(small_kernel().build(), "XZ"),
    }
    tar = make_tar(files)
    assert load_image(write(tmp_path, tar)).container == "tar archive, bzImage (XZ)"
    image = load_image(write(tmp_path, COMPRESS["zstd"](tar)))
    assert image.container == "tar archive (zstd), bzImage (XZ)"
    assert "without a kernel" in refusal(write(tmp_path, make_tar({"a": b"b"})))


# -- files that change -----------------------------------------------------------------------------


def test_a_file_that_becomes_shorter_while_it_is_in_use(tmp_path: Path) -> None:
    """Mapped, it would end the process: SIGBUS."""
    path = write(tmp_path, small_kernel().build())
    image = load_image(path)
    os.truncate(path, 100)
    assert image.read(image.segments[0].vaddr, 2) == b"\x90\x90"
    with pytest.raises(ImageError, match="has become shorter"):
        _ = image.symbols
    deb = write(tmp_path, make_deb({"./boot/vmlinux": small_kernel().build()}))
    os.truncate(deb, 700)
    refusal(deb)


def test_a_file_that_is_cut_short_again_and_again(tmp_path: Path) -> None:
    """By another process: loaded or refused, each time; a signal would end this child."""
    path = tmp_path / "file"
    whole = small_kernel().build()
    path.write_bytes(whole)
    child = (
        "import sys\n"
        "from kprobesim.image import load_image\n"
        "from kprobesim.errors import ImageError\n"
        "for _ in range(300):\n"
        "    try:\n"
        "        len(load_image(sys.argv[1]).symbols)\n"
        "    except ImageError:\n"
        "        pass\n"
    )
    with subprocess.Popen([sys.executable, "-c", child, str(path)], stderr=subprocess.PIPE) as run:
        while run.poll() is None:
            os.truncate(path, 5000)
            path.write_bytes(whole)
        assert run.stderr is not None
        assert (run.returncode, run.stderr.read()) == (0, b"")


# -- symbol files ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [b"ffffffff81000000 T a" + b"[" * (4 << 20), b"ffffffff81000000 T a" + b" " * (4 << 20) + b"x"],
    ids=["brackets", "spaces"],
)
def test_lines_without_end(tmp_path: Path, text: bytes) -> None:
    """A backtracking pattern takes hours for them."""
    symbols = tmp_path / "System.map"
    symbols.write_bytes(text)
    path = write(tmp_path, small_kernel().build())
    try:
        assert len(load_image(path, symbols=symbols).symbols) == 1
    except ImageError as error:
        assert "no symbol file" in error.problem


def test_symbol_files_larger_than_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, small_kernel().build())
    sparse = tmp_path / "System.map"
    sparse.write_bytes(b"ffffffff81000000 T a\n")
    os.truncate(sparse, TIB)
    assert "at most 48 MiB" in refusal(path, sparse)
    monkeypatch.setattr("kprobesim.image.symbols.symbol_file._MOST_LINES", 100)
    sparse.write_bytes(b"ffffffff81000000 T a\n" * 200)
    assert "more than 100 lines" in refusal(path, sparse)
