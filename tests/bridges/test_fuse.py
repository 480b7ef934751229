"""tracefs as a directory of this computer, used by a real shell."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kprobesim import CalledKernel, Kernel, UsageError


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


def test_a_script_defines_events_and_reads_them(guest: CalledKernel, mounted: Path) -> None:
    script = (
        "echo 'p:one hweight64 $arg1:x64' > kprobe_events && echo 1 > events/kprobes/one/enable; "
        "echo p:bad nosuch >> kprobe_events || echo refused; echo > kprobe_events || echo busy; "
        "find events -type f | sort; cat set_event"
    )
    said = shell(mounted, script)
    assert "refused\n" in said and "busy\n" in said and "Device or resource busy" in said
    assert "events/kprobes/one/format\n" in said and said.endswith("kprobes:one\n")
    guest.call("hweight64", 5)
    assert "arg1=0x5\n" in shell(mounted, "grep one: trace")
    assert shell(mounted, "echo 0 > events/enable; echo > kprobe_events; ls events | xargs") == (
        "enable ftrace header_event header_page\n"
    )


def test_who_reads_the_pipe_waits_and_can_be_killed(guest: CalledKernel, mounted: Path) -> None:
    guest.tracefs["kprobe_events"].append("p:one hweight64 $arg1:x64")
    guest.tracefs["events/enable"].write("1")
    pipe = str(mounted / "trace_pipe")
    with subprocess.Popen(["head", "-n1", pipe], stdout=subprocess.PIPE, text=True) as reader:
        guest.call("hweight64", 9)
        assert reader.communicate(timeout=30)[0].endswith("arg1=0x9\n")
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as waiting:
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(0.2)
        waiting.kill()
        assert waiting.wait(30) < 0


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


def test_who_is_killed_leaves_no_mount(tmp_path: Path) -> None:
    script = (
        "import sys; from kprobesim import Kernel\n"
        "mount = Kernel.sample('x86_64').tracefs.mount(sys.argv[1])\n"
        "print('mounted', flush=True); sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    if process.stdout.readline() != b"mounted\n":
        error = process.communicate()[1].decode()
        assert "to mount" in error or "cannot mount" in error, error
        pytest.skip(f"no FUSE: {error.splitlines()[-1]}")
    assert (tmp_path / "kprobes/list").exists()
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 20
    while str(tmp_path) in Path("/proc/mounts").read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert list(tmp_path.iterdir()) == []


def test_a_mount_that_nobody_answers_for_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stat(path: Path) -> bool:
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))

    monkeypatch.setattr(Path, "is_dir", stat)
    with pytest.raises(UsageError, match=f"its process was killed: unmount it with .* {tmp_path}"):
        Kernel.sample("x86_64").tracefs.mount(tmp_path)
