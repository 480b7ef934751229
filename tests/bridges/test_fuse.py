"""tracefs as a directory of this computer, used by a real shell."""

from __future__ import annotations

import errno
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kprobesim import CalledKernel, UsageError


@pytest.fixture
def mounted(guest: CalledKernel, tmp_path: Path) -> Iterator[Path]:
    """A guest's tracefs; the test is skipped where there is no FUSE."""
    try:
        mount = guest.tracefs.mount(tmp_path)
    except UsageError as error:
        pytest.skip(f"no FUSE: {error}")
    with mount:
        yield tmp_path
    assert list(tmp_path.iterdir()) == []


def shell(folder: Path, script: str) -> str:
    """What it prints, with errors in their place."""
    run = ["sh", "-c", f"exec 2>&1; {script}"]
    return subprocess.run(run, cwd=folder, capture_output=True, text=True, timeout=30).stdout


def test_a_shell_reads_and_writes(guest: CalledKernel, mounted: Path) -> None:
    assert sorted(p.name for p in (mounted / "kprobes").iterdir()) == [
        "blacklist",
        "enabled",
        "list",
    ]
    assert shell(mounted, "echo 0 > kprobes/enabled; cat kprobes/enabled") == "0\n"
    assert shell(mounted, "echo 1 >> kprobes/enabled; cat kprobes/enabled") == "1\n"
    assert shell(mounted, "cat kprobes/blacklist") == guest.kprobes.blacklist()
    assert shell(mounted, "stat -c '%A %s' . kprobes/list") == "drwxr-x--- 0\n-r-------- 0\n"
    assert "No such file" in shell(mounted, "cat nosuch")


@pytest.mark.parametrize(
    ("action", "number"),
    [
        (lambda folder: (folder / "kprobes/enabled").write_text("maybe"), errno.EINVAL),
        (lambda folder: (folder / "kprobes/list").write_text("x"), errno.EINVAL),
        (lambda folder: (folder / "new").write_text("x"), errno.EACCES),
        (lambda folder: (folder / "new").mkdir(), errno.EPERM),
        (lambda folder: (folder / "kprobes/list").unlink(), errno.EPERM),
    ],
)
def test_errno_comes_through(mounted: Path, action, number: int) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(OSError) as caught:
        action(mounted)
    assert caught.value.errno == number


def test_the_kernel_is_called_while_others_read(guest: CalledKernel, mounted: Path) -> None:
    """Neither hinders the other."""
    done = threading.Event()
    seen: list[str] = []

    def read() -> None:
        while not done.is_set():
            seen.append((mounted / "kprobes/enabled").read_text())

    thread = threading.Thread(target=read)
    thread.start()
    try:
        while len(seen) < 20:
            assert guest.call("hweight64", 255) == 8
    finally:
        done.set()
        thread.join()
    assert set(seen) == {"1\n"}


def test_what_cannot_be_mounted_on(guest: CalledKernel, tmp_path: Path, mounted: Path) -> None:
    with pytest.raises(UsageError, match="empty directory"):
        guest.tracefs.mount(tmp_path)
    with pytest.raises(UsageError, match="empty directory"):
        guest.tracefs.mount(tmp_path / "nosuch")


def test_a_mount_in_use_stays(guest: CalledKernel, mounted: Path, tmp_path_factory) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("busy")
    mount = guest.tracefs.mount(folder)
    with (folder / "kprobes/list").open():
        with pytest.raises(UsageError, match="cannot unmount"):
            mount.unmount()
        assert mount.mounted
    mount.unmount()
    assert not mount.mounted
