"""A kernel that answers for itself, on real ones."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
from makers.arm64_code import LOOP, bare_guest, say

from kprobesim import open_rules
from kprobesim.asking.ask import Asked
from kprobesim.asking.booted import booted_kernel
from kprobesim.asking.counts import CountedPlace
from kprobesim.asking.modules import module_files, named_modules, probed_modules
from kprobesim.asking.run import modules_for, run_counted
from kprobesim.asking.shell import READY, Shell
from kprobesim.boot.initramfs import Entry
from kprobesim.errors import ImageError, KprobesimError, UsageError
from kprobesim.image import load_image
from kprobesim.image.modules.finder import ModuleFinder
from kprobesim.kernel.booted import BootedKernel
from kprobesim.machine.faults import GuestTimeout


def test_a_boot_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a guest that does nothing but say that its shell waits."""
    monkeypatch.setenv("KPROBESIM_CACHE", str(tmp_path))
    monkeypatch.setattr("kprobesim.asking.booted.shell_initrd", lambda arch, files: b"")
    image = bare_guest([*say(READY), LOOP])
    kernel = tmp_path / "vmlinux"
    kernel.write_bytes(b"it has a content, of which the name is made")
    heard: list[str] = []
    first = booted_kernel(kernel, image=image, progress=heard.append)
    assert any(text.startswith("booting") for text in heard)
    (kept,) = (tmp_path / "booted").glob("*.kps")
    status = kept.stat()
    heard.clear()
    again = booted_kernel(kernel, image=image, progress=heard.append)
    assert not any(text.startswith("booting") for text in heard)
    assert (again.time, again.console.text) == (first.time, first.console.text)
    # Whoever has it open can go on: it is as it was, though its use was noted.
    assert [*(tmp_path / "booted").glob("*.kps")] == [kept]
    assert (kept.stat().st_mtime_ns, kept.stat().st_ctime_ns) == (
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
    assert kept.with_suffix(".used").stat().st_mtime >= status.st_mtime
    two = booted_kernel(kernel, image=image, cpus=2)
    assert two.board.cpus == 2
    assert len([*(tmp_path / "booted").glob("*.kps")]) == 2
    assert booted_kernel(kernel, image=image).board.cpus == 1
    assert booted_kernel(kept, cpus=1).board.cpus == 1
    with pytest.raises(UsageError, match="is a snapshot of a guest with 1"):
        booted_kernel(kept, cpus=2)
    for wrong in (0, 9, True, "2"):
        with pytest.raises(UsageError, match="give a number from 1 to 8"):
            booted_kernel(kernel, image=image, cpus=wrong)  # type: ignore[arg-type]


def test_the_shell_does_what_it_is_told(real_image: Path) -> None:
    shell = Shell(booted_kernel(real_image))
    assert shell.run("echo a; echo b >&2; cat; false", 60) == (1, "a\nb\n")
    assert shell.run("mount | grep -c proc", 60)[0] == 0
    with pytest.raises(UsageError, match="4000 bytes"):
        shell.run("x" * 5000, 60)
    with pytest.raises(GuestTimeout):
        shell.run("while :; do :; done", 0.1)


def test_it_says_what_the_rules_say(real_image: Path) -> None:
    rules = open_rules(real_image)
    heard: list[str] = []
    asked = Asked(real_image, ["virtio_ring"], heard.append)
    entry = rules.symbols["vfs_read"].address
    points: list[tuple[str | None, int, int | None]] = [
        *(("vfs_read", offset, None) for offset in (0, 1, 4, 8)),
        *(("virtio_ring:vring_create_virtqueue", offset, None) for offset in (0, 3, 4)),
        *((None, 0, entry + offset) for offset in (0, 1)),
        ("no_such", 0, None),
        ("no_such:at_all", 0, None),
    ]
    seen = set()
    for symbol, offset, addr in points:
        for kretprobe in (False, True):
            for events in (False, True):
                how: Any = {"addr": addr, "kretprobe": kretprobe, "events": events}
                answer = asked.point(symbol, offset, **how)
                verdict = rules.check(symbol, offset=offset, **how)
                assert answer.errno == verdict.errno, (symbol, offset, how, answer)
                seen.add(answer.errno)
    assert {0, errno.EINVAL, errno.ENOENT} <= seen


def as_bytes(entry: bytes | Entry) -> bytes:
    """What a file of an initramfs holds."""
    return entry if isinstance(entry, bytes) else entry.data


def test_modules_come_with_what_they_need(real_image: Path) -> None:
    image = load_image(real_image)
    files = module_files(ModuleFinder(image), ["virtio_blk"])
    folder = f"lib/modules/{image.release}"
    listed = as_bytes(files[f"{folder}/modules.dep"]).decode()
    order = [line.partition(".ko:")[0] for line in listed.splitlines()]
    assert order[-1] == "virtio_blk" and "virtio_ring" in order
    needed = listed.splitlines()[-1].partition(":")[2].split()
    assert needed == [f"{name}.ko" for name in reversed(order[:-1])]
    with pytest.raises(ImageError, match="no module no_such"):
        module_files(ModuleFinder(image), ["no_such"])


def test_who_asks_and_who_counts_boot_the_same(
    real_image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One with the modules that places are in and lines load, in whatever order these come."""
    finder = ModuleFinder(load_image(real_image))
    places = [CountedPlace("one", "virtio_ring:vring_create_virtqueue")]
    first = finder.names()[0]
    lines = ["modprobe virtio-blk", f"modprobe {first}"]
    with_files: list[object] = []

    def boot(path: Path, files: dict[str, bytes | Entry], **more: object) -> BootedKernel:
        with_files.append([(name, as_bytes(entry)) for name, entry in files.items()])
        assert more["image"] is finder.image
        raise KprobesimError("nobody waits for a boot here")

    monkeypatch.setattr("kprobesim.asking.ask.booted_kernel", boot)
    monkeypatch.setattr(
        "kprobesim.asking.run.boot_to_shell",
        lambda image, files, **more: boot(Path(), files, image=image),
    )
    at_hand = modules_for(places, lines)
    assert set(at_hand) == {first, "virtio_blk", "virtio_ring"}
    with pytest.raises(KprobesimError, match="nobody waits"):
        Asked(real_image, ["virtio_ring", "no_such"], at_hand=at_hand, finder=finder)
    with pytest.raises(KprobesimError, match="nobody waits"):
        run_counted(real_image, places, lines, finder=finder)
    assert with_files[0] == with_files[1] and with_files[0]


def test_probed_modules() -> None:
    lines = ["p:g/e null-blk:null_add_dev a=$arg1:u8", "r10 nfs:open", "p vfs_read", "-:g/e nfs:f"]
    assert probed_modules([*lines, "p fs/open.c:10", "p 0x10:3"]) == ["null_blk", "nfs"]


def test_named_modules() -> None:
    lines = ["modprobe -q nfs; insmod /lib/virtio-blk.ko x=1 && ls", "echo modprobe_not"]
    assert named_modules(lines) == ["nfs", "virtio_blk"]


def test_places_are_counted(real_image: Path) -> None:
    rules = open_rules(real_image)
    copy = rules.symbols["vfs_write"].address
    zones = "rmmod null_blk; modprobe null_blk zoned=1 zone_size=4 gb=1"
    outcome = run_counted(
        real_image,
        [
            CountedPlace("vfs_write", "vfs_write", copies=(copy,)),
            CountedPlace("vfs_write returns", "vfs_write", returns=True),
            CountedPlace("by address", address=copy),
            CountedPlace("never", "machine_restart"),
            CountedPlace("refused", "vfs_write", offset=1),
            CountedPlace("module", "virtio_ring:vring_create_virtqueue"),
            CountedPlace("unknown", "virtio_ring:no_such"),
            CountedPlace("starts", "virtio_blk:virtio_blk_init"),
            CountedPlace("of the boot", "start_kernel"),
            CountedPlace("freed", "populate_rootfs"),
            CountedPlace("no module", "no_such_module:at_all"),
            CountedPlace("new_exec", "begin_new_exec"),
            CountedPlace("sched_process_exec", "sched_process_exec", tracepoint=True),
            CountedPlace("module_load", "module_load", tracepoint=True),
            CountedPlace("flagged", "sys_enter", tracepoint=True),
            CountedPlace("no tracepoint", "virtio_ring:no_such", tracepoint=True),
            CountedPlace("report_zones", "null_blk:null_report_zones"),
            CountedPlace("zones", "null_blk:nullb_report_zones", tracepoint=True),
        ],
        [f"modprobe loop; {zones}", "echo a; echo b; /bin/busybox true", "", "false"],
    )
    assert [(one.line, one.status) for one in outcome.lines] == [
        (f"modprobe loop; {zones}", 0),
        ("echo a; echo b; /bin/busybox true", 0),
        ("false", 1),
    ]
    assert outcome.lines[1].output == "a\nb\n" and not outcome.problem
    hits = {one.place.text: one.lines.hits for one in outcome.counts}
    boot = {one.place.text: one.boot.hits for one in outcome.counts}
    for counted, least in ((boot, 1), (hits, 2)):
        assert counted["vfs_write"] == counted["vfs_write returns"] == counted["by address"]
        assert counted["vfs_write"] >= least and counted["never"] == counted["module"] == 0
        assert counted["sched_process_exec"] == counted["new_exec"] >= 1
    assert boot["of the boot"] == boot["freed"] == boot["starts"] == 1
    assert hits["of the boot"] == hits["freed"] == hits["starts"] == 0
    assert (boot["module_load"], hits["module_load"]) == (5, 2)
    assert boot["zones"] == boot["report_zones"] == 0 and hits["zones"] == hits["report_zones"] == 1
    problems = {one.place.text: one.problem for one in outcome.counts if one.problem}
    assert {*problems} == {"refused", "unknown", "no module", "flagged", "no tracepoint"}
    assert "syscall_regfunc()" in problems["flagged"]
    lost = [(one.boot.lost, one.lines.lost) for one in outcome.counts]
    assert lost == [(boot["vfs_write"], hits["vfs_write"]), *[(None, None)] * 17]
    assert all(one.boot.nmissed == one.lines.nmissed == 0 for one in outcome.counts)


def test_a_guest_that_dies_is_told(real_image: Path) -> None:
    outcome = run_counted(real_image, [], ["echo c > /proc/sysrq-trigger", "echo not reached"])
    assert [one.status for one in outcome.lines] == [None]
    assert "sysrq" in outcome.problem
    outcome = run_counted(real_image, [], ["while :; do :; done"], timeout=0.2)
    assert outcome.problem and outcome.lines[0].status is None
