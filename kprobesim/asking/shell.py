"""``Shell``: BusyBox's shell in a guest, which waits on the console for what it is to do.

The console carries the shell's words both ways, as a serial line does. A line of output is told
from the kernel's own by nothing but its place, so the end of a command is a mark of ours behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import overload

from kprobesim.boot.initramfs import Entry, character_device, directory, make_cpio
from kprobesim.errors import UsageError
from kprobesim.fetch.cache import cached_busybox
from kprobesim.fetch.kernels import Fetcher
from kprobesim.kernel.booted import BootedKernel

__all__ = ["READY", "SECONDS", "Shell", "shell_initrd"]

READY = "kprobesim-shell waits\r\n"
"""What the guest prints when it can be told what to do; a terminal ends lines so."""

SECONDS = 60.0
"""Of this computer's, that a line may take."""

_STATUS = "kprobesim-shell status"
_BEGINS = "kprobesim-shell begins"
_DONE = "kprobesim-shell done\r\n"
_SETTLING = 0.01  # of the guest's seconds, until the shell waits again: idle time costs nothing
_MOST = 4000  # bytes in a line: a terminal in canonical mode takes 4095 (N_TTY_BUF_SIZE)
_INIT = f"""#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/ PS1= PS2=
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
mount -t tmpfs tmpfs /tmp
exec </dev/console >/dev/console 2>&1
stty -echo
echo "{READY.rstrip()}"
while read -r line; do
    eval "$line" </dev/null
    echo "{_STATUS}" $?
    echo "{_DONE.rstrip()}"
done
"""


def shell_initrd(arch: str, files: dict[str, bytes | Entry] | None = None) -> bytes:
    """An initial file system with BusyBox, whose init does what it reads from the console.

    Args:
        arch: "x86_64" or "arm64".
        files: What else is to be in it, by path.

    Raises:
        FetchError: There is no BusyBox for ``arch`` in the cache, and none can be fetched.
    """
    busybox = cached_busybox(arch) or Fetcher(arch).busybox()
    return make_cpio(
        {
            **{name: directory() for name in ("dev", "proc", "sys", "tmp", "root")},
            "dev/console": character_device(5, 1),
            "bin/busybox": busybox.read_bytes(),
            "init": _INIT.encode(),
            **(files or {}),
        }
    )


class Shell:
    """The shell of a guest that has printed :data:`READY`.

    >>> shell = open_shell("linux-image.deb")
    >>> hits = shell.kernel.count("vfs_open")
    >>> shell.run("cat /proc/version")
    (0, 'Linux version ...')

    Attributes:
        kernel: The guest, which stands still between two lines.
    """

    def __init__(self, kernel: BootedKernel) -> None:
        self.kernel = kernel

    @overload
    def run(self, line: str, timeout: float = SECONDS) -> tuple[int, str]: ...

    @overload
    def run(
        self,
        line: str,
        timeout: float = SECONDS,
        *,
        begin: Callable[[], object] | None = None,
        enough: Callable[[], bool],
    ) -> tuple[int | None, str]: ...

    def run(
        self,
        line: str,
        timeout: float = SECONDS,
        *,
        begin: Callable[[], object] | None = None,
        enough: Callable[[], bool] | None = None,
    ) -> tuple[int | None, str]:
        """Let the guest do one line of shell; its exit status, and what was printed meanwhile.

        Args:
            line: Commands, in one line.
            timeout: Seconds of this computer's time.
            begin: Is called when the shell has read the line and begins to do it.
            enough: Is asked every few milliseconds: whether to end before the line has. There is
                no status then, and the shell still at work.

        Raises:
            UsageError: It is longer than a terminal takes, or more than a line.
            GuestTimeout: It took too long.
            GuestStop: The guest died of it.
        """
        if "\n" in line or len(line.encode()) > _MOST:
            raise UsageError(f"a line for the shell has at most {_MOST} bytes and no end of line")
        console = self.kernel.console
        before = len(console.text)
        if begin is not None:
            console.send(f'echo "{_BEGINS}"; {line}\n')
            self.kernel.run(until=_BEGINS, timeout=timeout)
            before = len(console.text)
            begin()
        else:
            console.send(line + "\n")
        if enough is None:
            self.kernel.run(until=_DONE, timeout=timeout)
        else:
            ask, start, mark = enough, len(console.output), _DONE.encode()

            def is_done() -> bool:
                return console.output.find(mark, start) >= 0

            self.kernel.run(until=lambda kernel: is_done() or ask(), timeout=timeout)
            if not is_done():
                return None, console.text[before:]
        self.kernel.run(seconds=_SETTLING, timeout=timeout)
        said, _, status = console.text[before:].rpartition(f"{_STATUS} ")
        return int(status.split()[0]), said
