"""The initramfs archives that a booted kernel starts by default."""

from __future__ import annotations

import io
import platform
import re
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from kprobesim.boot.initramfs import built_in_initramfs, make_cpio, read_cpio
from kprobesim.errors import ImageError

ARCHITECTURES = ("x86_64", "arm64")
MACHINES = {"x86_64": "EM_X86_64", "arm64": "EM_AARCH64"}
# Mounting these takes a right that only the machine's own root has.
PRIVILEGED = {"mount /sys", "mount /dev"}


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_archive_holds_what_a_kernel_needs_and_no_more(arch: str) -> None:
    archive = built_in_initramfs(arch)
    files = read_cpio(archive)
    assert make_cpio(files) == archive
    assert {name: (stat.filemode(e.mode), e.device) for name, e in files.items()} == {
        "dev": ("drwxr-xr-x", (0, 0)),
        "dev/console": ("crw-------", (5, 1)),
        "dev/null": ("crw-rw-rw-", (1, 3)),
        "init": ("-rwxr-xr-x", (0, 0)),
        "proc": ("dr-xr-xr-x", (0, 0)),
        "sys": ("dr-xr-xr-x", (0, 0)),
        "tmp": ("drwxrwxrwt", (0, 0)),
    }


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_init_is_a_static_program_of_its_architecture(arch: str) -> None:
    elf = ELFFile(io.BytesIO(read_cpio(built_in_initramfs(arch))["init"].data))
    assert (elf["e_type"], elf["e_machine"]) == ("ET_EXEC", MACHINES[arch])
    kinds = {segment["p_type"] for segment in elf.iter_segments()}
    assert not kinds & {"PT_INTERP", "PT_DYNAMIC", "PT_TLS"}
    flags = {s["p_flags"] for s in elf.iter_segments() if s["p_type"] == "PT_LOAD"}
    assert 5 in flags and 7 not in flags
    symbols = {s.name: s["st_value"] for s in elf.get_section_by_name(".symtab").iter_symbols()}
    assert elf["e_entry"] == symbols["_start"]


def test_installation_without_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "kprobesim"
    (package / "samples").mkdir(parents=True)
    monkeypatch.setattr("kprobesim.boot.initramfs._PACKAGE", package)
    with pytest.raises(ImageError, match="make samples"):
        built_in_initramfs("arm64")
    (package / "samples" / "init-arm64.cpio").write_bytes(b"shipped")
    assert built_in_initramfs("arm64") == b"shipped"


NAMESPACES = ("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork")


def namespaces_work() -> bool:
    if sys.platform != "linux" or platform.machine() != "x86_64" or not shutil.which("unshare"):
        return False
    command = [*NAMESPACES, "sh", "-c", 'mount --rbind /dev /dev && test "$$" = 1']
    return subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    if not namespaces_work():
        pytest.skip("takes an x86-64 Linux that lets users make namespaces")
    for name, entry in read_cpio(built_in_initramfs("x86_64")).items():
        if entry.is_directory:
            (tmp_path / name).mkdir()
        elif entry.is_regular:
            (tmp_path / name).write_bytes(entry.data)
            (tmp_path / name).chmod(0o755)
    return tmp_path


def run_init(root: Path, *prefix: str) -> tuple[int, list[str]]:
    script = f'mount --rbind /dev "{root}/dev" && {" ".join(prefix)} chroot "{root}" /init'
    command = [*NAMESPACES, "sh", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def steps(lines: list[str]) -> dict[str, str]:
    found = (re.fullmatch(r"kprobesim init: ([^:\"]+): .*(ok|FAILED)", line) for line in lines)
    return {match[1]: match[2] for match in found if match}


def test_first_process_of_a_namespace(root: Path) -> None:
    """The kernel that this test runs on stands in for a booted one."""
    code, lines = run_init(root, "exec")
    results = steps(lines)
    failed = {name for name, result in results.items() if result != "ok"}
    assert failed <= PRIVILEGED
    assert lines[0] == "kprobesim init: hello from user space"
    assert 'kprobesim init: hello from "/init child"' in lines
    assert "kprobesim init: getpid: pid 1: ok" in lines
    assert lines[-1] == f"kprobesim init: {17 - len(failed)} of 17 steps passed"
    assert len(results) == 17 and not list((root / "tmp").iterdir())
    # Power-off ends a namespace with SIGINT: pid_namespaces(7). Not every unshare(1) passes it on.
    assert code in (-signal.SIGINT, 128 + signal.SIGINT)


def test_any_other_process_neither_mounts_nor_powers_off(root: Path) -> None:
    code, lines = run_init(root)  # the shell stays process 1
    results = steps(lines)
    assert not any(name.startswith("mount") for name in results)
    assert {name for name, result in results.items() if result != "ok"} == {"version"}  # no /proc
    assert lines[-1] == "kprobesim init: 13 of 14 steps passed"
    assert code == 1
