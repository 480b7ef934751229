"""A namespace of mounts in which tools find a mounted tracefs where they look for the kernel's own.

libtracefs, which trace-cmd is made of, takes the mount of type tracefs in ``/proc/mounts``; others
have the path built in. Tools also read the symbols of the kernel that they trace from
``/proc/kallsyms``, count CPUs in ``/sys``, and switch tracing of functions on by a sysctl. So all
of these are laid over for one command, which needs root, and hurts nobody else.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import mkdtemp

from kprobesim.errors import UsageError

__all__ = ["Namespace"]

_SCRIPT = """
set -e
tracefs=$1 over=$2
shift 2
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null || {
    echo "kprobesim: cannot mount tracefs on /sys/kernel/tracing, by which tools find it:" \
        "be root, on a kernel that has tracefs" >&2
    exit 125
}
mount --bind "$tracefs" /sys/kernel/tracing
if [ -d /sys/kernel/debug ]; then
    mount -t tmpfs tmpfs /sys/kernel/debug
    mkdir /sys/kernel/debug/tracing /sys/kernel/debug/kprobes
    mount --bind "$tracefs" /sys/kernel/debug/tracing
    mount --bind "$tracefs/kprobes" /sys/kernel/debug/kprobes
fi
mount --bind "$over/cpu" /sys/devices/system/cpu
mount --bind "$over/kallsyms" /proc/kallsyms
if [ -e /proc/sys/kernel/ftrace_enabled ]; then
    mount --bind "$over/ftrace_enabled" /proc/sys/kernel/ftrace_enabled
fi
exec "$@"
"""


class Namespace:
    """What is laid over, in files of its own, until :meth:`close`.

    Args:
        tracefs: Where tracefs is mounted.
        symbols: The lines of the kernel's ``/proc/kallsyms``.
        cpus: How many CPUs the kernel has.

    Raises:
        UsageError: There is no ``unshare`` (util-linux) here.
    """

    def __init__(self, tracefs: Path, symbols: Iterable[str], cpus: int) -> None:
        unshare = shutil.which("unshare")
        if unshare is None:
            raise UsageError("there is no unshare here: install util-linux")
        self._unshare = unshare
        self._tracefs = tracefs
        self._over = Path(mkdtemp(prefix="kprobesim-"))
        (self._over / "kallsyms").write_text("".join(symbols))
        (self._over / "ftrace_enabled").write_text("1\n")
        for number in range(cpus):
            (self._over / "cpu" / f"cpu{number}").mkdir(parents=True)
        for name in ("online", "possible", "present"):
            (self._over / "cpu" / name).write_text(f"0-{cpus - 1}\n" if cpus > 1 else "0\n")

    def command(self, words: Sequence[str]) -> list[str]:
        """What runs the command of these words there."""
        inner = ["sh", "-c", _SCRIPT, "kprobesim", str(self._tracefs), str(self._over), *words]
        return [self._unshare, "--mount", *inner]

    def close(self) -> None:
        """The files are gone."""
        shutil.rmtree(self._over, ignore_errors=True)
