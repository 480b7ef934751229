"""Where an image's bytes come from: a mapped file, or bytes that were unpacked in memory."""

from __future__ import annotations

import mmap
import os
import stat
from pathlib import Path

from kprobesim.errors import ImageError

__all__ = ["GIB", "MAX_IMAGE_SIZE", "Buffer", "map_file"]

#: What holds bytes without copying them. All three slice to bytes and have ``find``.
Buffer = bytes | bytearray | mmap.mmap

GIB = 1 << 30

#: Nothing unpacks to more, and no image occupies more of the guest: real kernels take 20-70 MiB.
MAX_IMAGE_SIZE = GIB


def map_file(path: Path) -> Buffer:
    """Map the file ``path`` read-only; ``ImageError`` if it is no readable, non-empty file."""
    try:
        # Opening a FIFO would wait for a writer, so look before.
        if not stat.S_ISREG(path.stat().st_mode):
            kind = "a directory" if path.is_dir() else "not a regular file"
            raise ImageError(
                path, f"is {kind}; name a kernel image (vmlinux, vmlinuz, Image, .deb)"
            )
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise ImageError(path, "is empty; fetch or build the kernel image again")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise ImageError(
            path, f"cannot be read: {error.strerror or error}; check the path and its permissions"
        ) from error
    except ValueError as error:  # a NUL in the path
        raise ImageError(path, f"is no path: {error}") from error
