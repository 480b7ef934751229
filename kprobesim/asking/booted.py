"""Kernels that have booted to a shell: each boots once, and is kept as a snapshot.

A boot costs seconds, a resume 0.2 s, and what a boot leaves behind is always the same. Snapshots
lie in the directory ``booted`` of the cache (``image/cache.py``), under a name made of the kernel's
content, of the initial file system's, and of the command line.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

from kprobesim.asking.shell import READY, Shell, shell_initrd
from kprobesim.boot.initramfs import Entry
from kprobesim.boot.stop import Stop
from kprobesim.errors import KprobesimError, SnapshotError
from kprobesim.image import KernelImage, load_image
from kprobesim.image.cache import content_key, make_room, note_use
from kprobesim.image.files.source import open_file
from kprobesim.kernel.booted import BootedKernel
from kprobesim.kernel.open import boot_image, resume_kernel
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
    progress: Callable[[str], None] | None = None,
) -> BootedKernel:
    """A kernel whose shell waits; see :class:`kprobesim.asking.shell.Shell`.

    Args:
        path: A kernel that can be booted, or a snapshot: that is resumed as it stands.
        files: What else is to be in its initial file system.
        image: The kernel in ``path``, if it was loaded already.
        memory: The guest's RAM.
        progress: Hears that it boots, which takes seconds.

    Raises:
        ImageError: The file is no kernel.
        FetchError: There is no BusyBox.
        BootError: The kernel does not come to user space.
    """
    if is_snapshot(path):
        return resume_kernel(path)
    image = image or load_image(path, progress=progress)
    initrd = shell_initrd(image.arch, files)
    entry = _entry(Path(path), initrd, memory)
    if entry is not None and entry.is_file():
        try:
            kernel = resume_kernel(entry)
            note_use(entry)
        except (SnapshotError, OSError) as error:  # of an older version of ours, for one
            _log.info("%s boots again: %s", path, error)
        else:
            return kernel
    kernel = _boot(image, initrd, memory, progress)
    if entry is not None:
        _keep(kernel, entry)
    return kernel


def open_shell(
    path: str | os.PathLike[str], *, progress: Callable[[str], None] | None = None
) -> Shell:
    """A kernel that has booted to BusyBox's shell, which does the lines that it is given.

    The first time it boots, which takes seconds; later it goes on from a snapshot in the cache.

    >>> shell = open_shell("linux-image.deb")
    >>> with shell.kernel.trace("p vfs_open") as trace:
    ...     shell.run("cat /proc/version")

    Args:
        path: A kernel that can be booted, or a snapshot of one with such a shell.
        progress: Hears that it boots.

    Raises:
        ImageError: The file is no kernel.
        FetchError: There is no BusyBox.
        BootError: The kernel does not come to user space.
    """
    return Shell(booted_kernel(path, progress=progress))


def boot_to_shell(
    image: KernelImage,
    files: dict[str, bytes | Entry] | None = None,
    *,
    memory: str = "256M",
    progress: Callable[[str], None] | None = None,
    before: Callable[[BootedKernel], object] | None = None,
) -> BootedKernel:
    """As :func:`booted_kernel`, but it boots in any case.

    Args:
        image: The kernel.
        files: What else is to be in its initial file system.
        memory: The guest's RAM.
        progress: Hears that it boots, which takes seconds.
        before: Is called before the first instruction.

    Raises:
        FetchError: There is no BusyBox.
        BootError: The kernel does not come to user space.
    """
    return _boot(image, shell_initrd(image.arch, files), memory, progress, before)


def _boot(
    image: KernelImage,
    initrd: bytes,
    memory: str,
    progress: Callable[[str], None] | None,
    before: Callable[[BootedKernel], object] | None = None,
) -> BootedKernel:
    if progress is not None:
        progress(f"booting {image.release or Path(image.path).name}")
    kernel = boot_image(image, initrd=initrd, append=_APPEND, memory=memory)
    if before is not None:
        before(kernel)
    reason = kernel.run(until=READY, timeout=_SECONDS)
    if reason.kind is not Stop.TEXT:
        raise KprobesimError(f"{image.path} never came to a shell: {reason}")
    return kernel


def _entry(path: Path, initrd: bytes, memory: str) -> Path | None:
    """Where the snapshot of such a boot lies; ``None``: nothing is kept."""
    folder = cache_directory()
    if folder is None:
        return None
    key = content_key(open_file(path))
    digest = hashlib.sha256(f"{key} {_APPEND} {memory} ".encode() + initrd)
    return folder / "booted" / f"{digest.hexdigest()}.kps"


def _keep(kernel: BootedKernel, entry: Path) -> None:
    try:
        entry.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        kernel.snapshot(entry)
        make_room(entry)
    except (SnapshotError, OSError) as error:
        _log.info("the booted kernel is not kept: %s", error)
