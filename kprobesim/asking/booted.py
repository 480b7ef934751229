"""Kernels that have booted to a shell: each boots once, and is kept as a snapshot.

A boot costs seconds, a resume 0.2 s, and what a boot leaves behind is always the same. Snapshots
lie in the directory ``booted`` of the cache (``image/cache.py``), under a name made of the kernel's
content, of the initial file system's, of the command line, and of what the board has.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

from kprobesim.asking.shell import READY, Shell, shell_initrd
from kprobesim.boot.boards import board_class
from kprobesim.boot.initramfs import Entry
from kprobesim.boot.stop import Stop
from kprobesim.errors import KprobesimError, SnapshotError, UsageError
from kprobesim.image import KernelImage, load_image
from kprobesim.image.cache import content_key, make_room, note_use
from kprobesim.image.files.source import open_file
from kprobesim.kernel.base import Kernel
from kprobesim.kernel.booted import BootedKernel
from kprobesim.snapshot.container import is_snapshot
from kprobesim.user_cache import cache_directory

__all__ = ["boot_to_shell", "booted_kernel", "open_shell"]

_log = logging.getLogger(__name__)

_SECONDS = 300.0  # of this computer's, until a kernel has booted
_APPEND = "quiet"


def booted_kernel(
    path: str | os.PathLike[str],
    files: dict[str, bytes | Entry] | None = None,
    *,
    image: KernelImage | None = None,
    memory: str = "256M",
    cpus: int = 1,
    progress: Callable[[str], None] | None = None,
) -> BootedKernel:
    """A kernel whose shell waits; see :class:`kprobesim.asking.shell.Shell`.

    Args:
        path: A kernel that can be booted, or a snapshot: that is resumed as it stands.
        files: What else is to be in its initial file system.
        image: The kernel in ``path``, if it was loaded already.
        memory: The guest's RAM.
        cpus: How many CPUs it has, from 1 to 8.
        progress: Hears that it boots, which takes seconds.

    Raises:
        ImageError: The file is no kernel.
        FetchError: There is no BusyBox.
        BootError: The kernel does not come to user space.
        UsageError: There cannot be so many CPUs, or it is a snapshot, with others.
    """
    if is_snapshot(path):
        kernel = Kernel.resume(path)
        if cpus not in (1, kernel.board.cpus):
            raise UsageError(
                f"cpus={cpus!r} is for images: {os.fspath(path)} is a snapshot of a guest with "
                f"{kernel.board.cpus}"
            )
        return kernel
    image = image or load_image(path, progress=progress)
    board_class(image.arch).check_cpus(cpus)
    initrd = shell_initrd(image.arch, files)
    entry = _entry(Path(path), initrd, memory, cpus)
    if entry is not None and entry.is_file():
        try:
            kernel = Kernel.resume(entry)
            note_use(entry)
        except (SnapshotError, OSError) as error:  # of an older version of ours, for one
            _log.info("%s boots again: %s", path, error)
        else:
            return kernel
    kernel = _boot(image, initrd, memory, cpus, progress)
    if entry is not None:
        _keep(kernel, entry)
    return kernel


def open_shell(
    path: str | os.PathLike[str],
    *,
    cpus: int = 1,
    progress: Callable[[str], None] | None = None,
) -> Shell:
    """A kernel that has booted to BusyBox's shell, which does the lines that it is given.

    The first time it boots, which takes seconds; later it goes on from a snapshot in the cache.

    >>> shell = open_shell("linux-image.deb")
    >>> with shell.kernel.trace("p vfs_open") as trace:
    ...     shell.run("cat /proc/version")

    Args:
        path: A kernel that can be booted, or a snapshot of one with such a shell.
        cpus: How many CPUs it boots with, from 1 to 8; each number is kept for itself.
        progress: Hears that it boots.

    Raises:
        ImageError: The file is no kernel.
        FetchError: There is no BusyBox.
        BootError: The kernel does not come to user space.
        UsageError: There cannot be so many CPUs, or the snapshot has others.
    """
    return Shell(booted_kernel(path, cpus=cpus, progress=progress))


def boot_to_shell(
    image: KernelImage,
    files: dict[str, bytes | Entry] | None = None,
    *,
    memory: str = "256M",
    cpus: int = 1,
    progress: Callable[[str], None] | None = None,
    before: Callable[[BootedKernel], object] | None = None,
) -> BootedKernel:
    """As :func:`booted_kernel`, but it boots in any case.

    Args:
        image: The kernel.
        files: What else is to be in its initial file system.
        memory: The guest's RAM.
        cpus: How many CPUs it has.
        progress: Hears that it boots, which takes seconds.
        before: Is called before the first instruction.

    Raises:
        FetchError: There is no BusyBox.
        BootError: The kernel does not come to user space.
    """
    return _boot(image, shell_initrd(image.arch, files), memory, cpus, progress, before)


def _boot(
    image: KernelImage,
    initrd: bytes,
    memory: str,
    cpus: int,
    progress: Callable[[str], None] | None,
    before: Callable[[BootedKernel], object] | None = None,
) -> BootedKernel:
    kernel = Kernel.boot(image, initrd=initrd, append=_APPEND, memory=memory, cpus=cpus)
    if progress is not None:
        on = "" if cpus == 1 else f" on {cpus} CPUs"
        progress(f"booting {image.release or Path(image.path).name}{on}")
    if before is not None:
        before(kernel)
    reason = kernel.run(until=READY, timeout=_SECONDS)
    if reason.kind is not Stop.TEXT:
        raise KprobesimError(f"{image.path} never came to a shell: {reason}")
    return kernel


def _entry(path: Path, initrd: bytes, memory: str, cpus: int) -> Path | None:
    """Where the snapshot of such a boot lies; ``None``: nothing is kept."""
    folder = cache_directory()
    if folder is None:
        return None
    key = content_key(open_file(path))
    board = memory if cpus == 1 else f"{memory} {cpus} CPUs"
    digest = hashlib.sha256(f"{key} {_APPEND} {board} ".encode() + initrd)
    return folder / "booted" / f"{digest.hexdigest()}.kps"


def _keep(kernel: BootedKernel, entry: Path) -> None:
    try:
        entry.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        kernel.snapshot(entry)
        make_room(entry)
    except (SnapshotError, OSError) as error:
        _log.info("the booted kernel is not kept: %s", error)
