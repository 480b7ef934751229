"""A snapshot's memory is unpacked once, and is what it was whatever became of the file."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from makers.arm64_code import bare_guest, say

from kprobesim import BootedKernel, Kernel, SnapshotError
from kprobesim.boot.boards import board_class
from kprobesim.snapshot import container, kept_memory

_MEMORY = 16 << 20
# movz x2, #0xa0, lsl #16 .. 1: add x2, x2, #1; str w2, [x3]; b 1b
_GUEST = [*say("hi"), 0xD2A8_0A03, 0x9100_0442, 0xB900_0062, 0x17FF_FFFE]
_FAR = (3 << 20, 9 << 20, (9 << 20) + 4096)
"""Places in the RAM that no other range of it reaches."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the memory is kept; a file that was written just now counts as old."""
    monkeypatch.setenv("KPROBESIM_CACHE", str(tmp_path / "kept"))
    monkeypatch.setattr(container, "_FRESH", -1)
    return tmp_path / "kept"


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Which files were read as a whole and their checksums compared."""
    found: list[Path] = []
    whole = container._read_body

    def read(path: Path, *others: object) -> bytes:
        found.append(path)
        return whole(path, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(container, "_read_body", read)
    return found


@pytest.fixture
def first(tmp_path: Path) -> BootedKernel:
    image = bare_guest(_GUEST)
    k = BootedKernel(image, board_class("arm64")(image, initrd=None, append="", memory=_MEMORY))
    for at in _FAR:
        k.board.ram[at : at + 4] = b"far!"
    k.run(seconds=0.001)
    k.snapshot(tmp_path / "a.kps")
    return k


@pytest.fixture
def file(first: BootedKernel, tmp_path: Path) -> Path:
    return tmp_path / "a.kps"


def ram(k: BootedKernel) -> bytes:
    return bytes(k.board.ram)


def test_the_second_time_a_file_is_mapped(
    folder: Path, first: BootedKernel, file: Path, checked: list[Path]
) -> None:
    assert not Kernel.resume(file).board.ram.mapped
    for _ in range(2):
        k = Kernel.resume(file)
        assert len(k.board.ram.mapped) == 5  # what is far from others, each
        assert ram(k) == ram(first)
        assert k.run(seconds=0.001)
        assert ram(k) != ram(first)  # which the next one does not see
    assert checked == [file]
    first.run(seconds=0.001)
    assert (ram(k), k.time) == (ram(first), first.time)
    assert [path.stat().st_mode & 0o222 for path in folder.glob("*.ram")] == [0]


def test_states_and_snapshots_of_mapped_memory(
    folder: Path, first: BootedKernel, file: Path, tmp_path: Path
) -> None:
    Kernel.resume(file)
    k = Kernel.resume(file)
    state = k.fork_state()  # nobody has touched most of its pages
    assert ram(k) == ram(first)
    k.run(seconds=0.001)
    k.board.ram[_FAR[1]] = 0
    k.restore_state(state)
    assert ram(k) == ram(first)
    other = Kernel.resume(file)
    other.snapshot(tmp_path / "b.kps")
    assert ram(Kernel.resume(tmp_path / "b.kps")) == ram(first)


def _flip(path: Path) -> None:
    path.chmod(0o600)
    with path.open("r+b") as kept:
        kept.seek(_FAR[0] if path.suffix == ".ram" else 20)
        kept.write(b"?")


def _cut(path: Path) -> None:
    path.chmod(0o600)
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("damage", [_flip, _cut, Path.unlink])
@pytest.mark.parametrize("which", ["*.ram", "*.json"])
def test_what_was_damaged_is_made_anew(
    folder: Path, first: BootedKernel, file: Path, checked: list[Path], damage: object, which: str
) -> None:
    Kernel.resume(file)
    (kept,) = folder.glob(which)
    assert callable(damage)
    damage(kept)
    for times in (2, 2):
        assert ram(Kernel.resume(file)) == ram(first)
        assert len(checked) == times


def test_a_snapshot_that_was_sound_is_refused_once_it_is_not(folder: Path, file: Path) -> None:
    Kernel.resume(file)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(SnapshotError, match="checksum"):
        Kernel.resume(file)
    file.write_bytes(content[:-1])
    with pytest.raises(SnapshotError, match="cut short"):
        Kernel.resume(file)


def test_a_copy_is_checked_once(
    folder: Path, first: BootedKernel, file: Path, checked: list[Path]
) -> None:
    Kernel.resume(file)
    copy = file.with_name("copy.kps")
    shutil.copy(file, copy)
    for path in (copy, file, copy):
        k = Kernel.resume(path)
        assert k.board.ram.mapped
        assert ram(k) == ram(first)
    assert checked == [file, copy]


def test_what_changes_while_it_is_used_is_noticed(file: Path) -> None:
    found = container.read_known(file, lambda digest, identity: True)
    assert found is not None
    assert {*found.sections} == {*container.read_container(file).sections}
    for name, data in container.read_container(file).sections.items():
        assert found.section(name) == data
    os.utime(file)  # the content is the same, but who can know?
    with pytest.raises(SnapshotError, match="written to since"):
        found.section("pages")


def test_what_another_file_takes_the_place_of_is_read_on(file: Path) -> None:
    """As when two processes have booted one kernel, and each keeps it, or room is made."""
    found = container.read_known(file, lambda digest, identity: True)
    assert found is not None
    pages = bytes(container.read_container(file).section("pages"))
    new = file.with_name("new.kps")
    new.write_bytes(b"another one")
    new.replace(file)
    assert found.section("pages") == pages


def test_a_file_written_just_now_is_checked_again(
    folder: Path, file: Path, checked: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("KPROBESIM_CACHE", str(folder))
    for _ in range(2):
        k = Kernel.resume(file)
    assert k.board.ram.mapped
    (record,) = folder.glob("*.json")
    assert record.read_bytes().endswith(b", []]")  # nobody vouches for it yet


def test_nothing_is_kept_where_nothing_shall_be(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KPROBESIM_CACHE", "off")
    Kernel.resume(file)
    assert [*tmp_path.iterdir()] == [file]
    monkeypatch.setenv("KPROBESIM_CACHE", str(file))  # no folder can be there
    assert Kernel.resume(file).time


def test_several_at_once(folder: Path, first: BootedKernel, file: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        for k in pool.map(Kernel.resume, [file] * 4):
            assert ram(k) == ram(first)
    assert len([*folder.iterdir()]) == 2
    assert ram(Kernel.resume(file)) == ram(first)


def test_those_not_used_for_longest_go(
    folder: Path, first: BootedKernel, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Kernel.resume(file)
    (old,) = folder.glob("*.ram")
    size = old.stat().st_blocks * 512
    monkeypatch.setattr(kept_memory, "MOST", 2 * size + size // 2)
    names = []
    for number in range(3):
        names.append({path.stem for path in folder.glob("*.ram")})
        for record in folder.glob("*.json"):
            os.utime(record, (number, number))
        Kernel.resume(file)  # so this one was just used
        first.run(seconds=0.001)
        other = file.with_name(f"{number}.kps")
        first.snapshot(other)
        Kernel.resume(other)
    left = {path.stem for path in folder.glob("*.ram")}
    assert old.stem in left
    assert len(left) == 2
    assert len([*folder.glob("*.json")]) == 2
