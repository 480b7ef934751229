"""``Mount``: the files of tracefs in a directory of this computer, by FUSE.

mfusepy is the binding: plain Python over libfuse 2 or 3, maintained, nothing to compile. The server
is a thread of this process, and libfuse's own threads beside it; each request takes a short turn
at the kernel, also while another thread runs it.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import errno
import logging
import os
import shutil
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

from kprobesim.bridges.namespace import Namespace
from kprobesim.errors import KprobesimError, UsageError
from kprobesim.trace.files.node import Folder, OpenFile
from kprobesim.trace.tracefs import Tracefs

__all__ = ["Mount"]

_log = logging.getLogger(__name__)

_T = TypeVar("_T")

_SECONDS = 20.0  # for the mount to be there, and to go
_LOOK = 0.02  # seconds between two looks whether there is more to read
_OPTIONS: dict[str, Any] = {"attr_timeout": 0, "entry_timeout": 0, "negative_timeout": 0}
_AFTER_DEATH = 'at=$1; shift; read -r _; [ -d "$at" ] || exec "$@" "$at" 2>/dev/null'
"""Waits for the end of this process, whatever ends it, at a pipe; then unmounts what is dead."""
_THREADS = 10
_TAKEN = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)
"""The signals that libfuse installs handlers of its own for."""


class Mount(AbstractContextManager["Mount"]):
    """A mounted tracefs; at the end of a ``with`` it is mounted no longer.

    >>> with k.tracefs.mount("/tmp/tracing"):
    ...     subprocess.run(["sh", "script.sh"], cwd="/tmp/tracing")

    Args:
        tracefs: What to show.
        path: An empty directory.
        allow_other: Let other users see it, too.
        symbols: Gives the lines of the kernel's ``/proc/kallsyms``, for :meth:`command`.

    Attributes:
        path: The directory.

    Raises:
        UsageError: There is no FUSE here, or ``path`` cannot be mounted on.
    """

    def __init__(
        self,
        tracefs: Tracefs,
        path: str | os.PathLike[str],
        *,
        allow_other: bool = False,
        symbols: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        fuse = _binding()
        self._tracefs, self._symbols = tracefs, symbols
        self._namespace: Namespace | None = None
        self.path = Path(path).resolve()
        _check_place(self.path)
        handlers = {number: _get_handler(number) for number in _TAKEN}
        self._there = threading.Event()
        self._problem: Exception | None = None
        options = {**_OPTIONS, **({"allow_other": True} if allow_other else {})}
        if fuse.fuse_version_major >= 3:
            options["max_idle_threads"] = _THREADS  # else 3.14 says on stderr that it has no limit
        operations = _operations(fuse, tracefs, handlers, self._there)
        name = f"tracefs of {tracefs.path or 'kprobesim'}"

        def serve() -> None:
            try:
                fuse.FUSE(
                    operations,
                    str(self.path),
                    raw_fi=True,
                    foreground=True,
                    fsname=name.replace(" ", "-"),
                    **options,
                )
            except Exception as error:
                self._problem = error
            self._there.set()

        self._thread = threading.Thread(target=serve, name="kprobesim-fuse", daemon=True)
        self._thread.start()
        if not self._there.wait(_SECONDS) or self._problem is not None:
            raise UsageError(
                f"cannot mount on {self.path} ({self._problem or 'it takes too long'}): libfuse "
                "says why on stderr; /dev/fuse must be there and open to you, and fusermount3 "
                "installed if you are not root"
            )
        self._watcher = _unmount_after_death(self.path)
        atexit.register(self.unmount)

    def __repr__(self) -> str:
        return f"<Mount of tracefs on {self.path}>"

    def __exit__(self, *_: object) -> None:
        self.unmount()

    @property
    def mounted(self) -> bool:
        """Whether it is there still; anybody may have unmounted it."""
        return self._thread.is_alive()

    def command(self, *words: str) -> list[str]:
        """What runs a tool such as trace-cmd so that it finds this tracefs, and no other.

        >>> subprocess.run(mount.command("trace-cmd", "record", "-e", "kprobes", "sleep", "3"))

        It runs in a namespace of mounts of its own, as root, where ``/sys/kernel/tracing`` and
        ``/sys/kernel/debug/tracing`` are this one, ``/proc/kallsyms`` has the guest's symbols, and
        there are as many CPUs as in the guest.

        Raises:
            UsageError: There is no ``unshare`` (util-linux) here.
        """
        if self._namespace is None:
            cpus = len(self._tracefs.listdir("per_cpu"))
            self._namespace = Namespace(self.path, self._symbols(), cpus)
        return self._namespace.command(words)

    def unmount(self) -> None:
        """Mount it no longer.

        Raises:
            UsageError: Somebody has files or the directory open.
        """
        atexit.unregister(self.unmount)
        if self._namespace is not None:
            self._namespace.close()
            self._namespace = None
        if self.mounted:
            command = [*_unmount_command(), str(self.path)]
            done = subprocess.run(command, capture_output=True, text=True)
            self._thread.join(_SECONDS if done.returncode == 0 else 0)
            if self.mounted:
                why = done.stderr.strip() or "it is in use"
                raise UsageError(f"cannot unmount {self.path}: {why}")
        self._watcher.kill()
        self._watcher.communicate()


def _unmount_after_death(path: Path) -> subprocess.Popen[bytes]:
    """Who unmounts ``path`` should this process be killed; to be killed itself, if it is not."""
    unmount = _unmount_command("-z" if os.geteuid() else "-l")
    return subprocess.Popen(
        ["sh", "-c", _AFTER_DEATH, "sh", str(path), *unmount],
        stdin=subprocess.PIPE,
        cwd="/",
        start_new_session=True,  # Ctrl-C is not for it
    )


def _unmount_command(*options: str) -> list[str]:
    """What unmounts, but for the directory: as root, and as anybody else."""
    program = shutil.which("fusermount3") or shutil.which("fusermount")
    return [program, "-u", *options] if program and os.geteuid() else ["umount", *options]


def _check_place(path: Path) -> None:
    """Raise :class:`UsageError` if nothing may be mounted on ``path``."""
    try:
        if path.is_dir() and not any(path.iterdir()):
            return
    except OSError as error:
        if error.errno == errno.ENOTCONN:
            raise UsageError(
                f"what is mounted on {path} has nobody who answers, as its process was killed: "
                f"unmount it with {' '.join(_unmount_command())} {path}"
            ) from None
        raise UsageError(f"{path} cannot be mounted on: {error.strerror}") from None
    raise UsageError(f"{path} is no empty directory: make one to mount tracefs on")


def _binding() -> Any:
    """The module mfusepy; raises :class:`UsageError`."""
    try:
        import mfusepy
    except ImportError as error:
        raise UsageError(
            "to mount tracefs, install what it needs: pip install 'kprobesim[fuse]'"
        ) from error
    except OSError as error:
        raise UsageError(
            f"to mount tracefs, install libfuse, as Debian's fuse3 has it ({error})"
        ) from error
    return mfusepy


_get_handler = ctypes.pythonapi.PyOS_getsig
_get_handler.argtypes, _get_handler.restype = (ctypes.c_int,), ctypes.c_void_p
_set_handler = ctypes.pythonapi.PyOS_setsig
_set_handler.argtypes, _set_handler.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p


def _operations(
    fuse: Any, tracefs: Tracefs, handlers: dict[signal.Signals, Any], there: threading.Event
) -> Any:
    """What libfuse calls, as an object of the binding's class."""
    files: dict[int, OpenFile] = {}
    numbers = iter(range(1, 1 << 62))
    since = time.time_ns()
    atomic = fuse.fuse_version_major >= 3  # O_TRUNC comes with open()

    def answer(path: str, action: Callable[[], _T]) -> _T:
        try:
            with tracefs.whole(path):
                return action()
        except OSError as error:
            raise fuse.FuseOSError(error.errno or errno.EIO) from error
        except KprobesimError as error:
            _log.warning("tracefs: %s: %s", path, error)
            raise fuse.FuseOSError(errno.EBUSY) from error

    def interrupted() -> bool:
        return bool(fuse._libfuse.fuse_interrupted())

    class Operations(fuse.Operations):  # type: ignore[misc]
        use_ns = True

        def init(self, path: str) -> None:
            for number, handler in handlers.items():  # the process's signals are not libfuse's
                _set_handler(number, handler)
            there.set()

        def getattr(self, path: str, fh: Any = None) -> dict[str, int]:
            node = answer(path, lambda: tracefs.node(path))
            folder = isinstance(node, Folder)
            return {
                "st_mode": node.mode | (stat.S_IFDIR if folder else stat.S_IFREG),
                "st_nlink": 2 if folder else 1,
                "st_uid": os.getuid(),
                "st_gid": os.getgid(),
                "st_size": 0,
                **dict.fromkeys(("st_atime", "st_mtime", "st_ctime"), since),
            }

        def readdir(self, path: str, fh: Any) -> list[str]:
            return [".", "..", *tracefs.listdir(path)]

        def open(self, path: str, fi: Any) -> int:
            file = answer(path, lambda: tracefs.open(path, fi.flags))
            fi.direct_io = 1
            fi.fh = next(numbers)
            files[fi.fh] = file
            return 0

        def create(self, path: str, mode: int, fi: Any) -> int:
            raise fuse.FuseOSError(errno.EACCES)

        def read(self, path: str, size: int, offset: int, fi: Any) -> bytes:
            file = files[fi.fh]
            while True:
                try:
                    return answer(path, lambda: file.read(size, offset))
                except fuse.FuseOSError as error:
                    if error.errno != errno.EAGAIN or fi.flags & os.O_NONBLOCK:
                        raise
                if interrupted():
                    raise fuse.FuseOSError(errno.EINTR)
                time.sleep(_LOOK)

        def write(self, path: str, data: bytes, offset: int, fi: Any) -> int:
            return answer(path, lambda: files[fi.fh].write(data))

        def truncate(self, path: str, length: int, fh: Any = None) -> int:
            if not atomic:
                with contextlib.closing(answer(path, lambda: tracefs.open(path, _EMPTYING))):
                    pass
            return 0

        def flush(self, path: str, fi: Any) -> int:
            return answer(path, files[fi.fh].flush) or 0

        def release(self, path: str, fi: Any) -> int:
            return answer(path, files.pop(fi.fh).close) or 0

        def mkdir(self, path: str, mode: int) -> int:
            return answer(path, lambda: tracefs.mkdir(path)) or 0

        def unlink(self, path: str) -> int:
            raise fuse.FuseOSError(errno.EPERM)

        def rmdir(self, path: str) -> int:
            return answer(path, lambda: tracefs.rmdir(path)) or 0

    return Operations()


_EMPTYING = os.O_WRONLY | os.O_TRUNC
