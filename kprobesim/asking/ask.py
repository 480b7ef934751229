"""``Asked``: one kernel's own answers to points, beside those of our rules."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kprobesim.asking.booted import booted_kernel
from kprobesim.asking.guest import GuestRules
from kprobesim.asking.modules import module_files
from kprobesim.asking.shell import Shell
from kprobesim.boot.initramfs import Entry
from kprobesim.errors import AskingError
from kprobesim.image import load_image
from kprobesim.image.modules.finder import ModuleFinder
from kprobesim.machine.faults import GuestStop
from kprobesim.snapshot.container import is_snapshot

__all__ = ["Answer", "Asked"]

_SECONDS = 120.0  # of this computer's, to load one module


@dataclass(frozen=True)
class Answer:
    """What a kernel said to one point.

    Attributes:
        errno: 0, or the positive errno; ``None`` if it could not be asked.
        problem: Why not; empty if it could.
    """

    errno: int | None
    problem: str = ""


class Asked:
    """The kernel in ``path``, booted to be asked where probes may be.

    A kernel boots once; its snapshot is kept in the cache. The modules that points are in are
    loaded by the guest itself.

    >>> Asked("amd64.deb").point("vfs_read", 1).errno == errno.EILSEQ
    True

    Args:
        path: A kernel that can be booted, or a snapshot of one that has.
        modules: The names of the modules that points are in.
        progress: Hears what takes long.

    Raises:
        ImageError: The file is no kernel.
        AskingError: The kernel cannot be asked.
        BootError: It does not boot.
        FetchError: There is no BusyBox for its first user program.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        modules: Iterable[str] = (),
        progress: Callable[[str], None] | None = None,
    ) -> None:
        self._missing: dict[str, str] = {}
        found, files = self._find(path, modules, progress)
        kernel = booted_kernel(path, files, progress=progress)
        for name in found:
            status, said = Shell(kernel).run(f"modprobe {name}", _SECONDS)
            if status:
                self._missing[name] = f"the guest cannot load it: {' '.join(said.split())}"
        self.release = kernel.version
        self._rules = GuestRules(kernel)

    @staticmethod
    def _find(
        path: str | os.PathLike[str],
        modules: Iterable[str],
        progress: Callable[[str], None] | None,
    ) -> tuple[list[str], dict[str, bytes | Entry]]:
        """Which of the ``modules`` are to be had, and their files; a snapshot has what it has."""
        wanted = sorted({name.replace("-", "_") for name in modules})
        if not wanted or is_snapshot(path):
            return [], {}
        image = load_image(path, progress=progress)
        finder = ModuleFinder(image, progress)
        found = [name for name in wanted if finder.find(name) is not None]
        return found, module_files(image, found, progress)

    def point(
        self,
        symbol: str | None,
        offset: int = 0,
        *,
        addr: int | None = None,
        kretprobe: bool = False,
        events: bool = False,
    ) -> Answer:
        """What the kernel answers to a probe there, by the interface that ``check`` means.

        Args:
            symbol: ``"symbol"`` or ``"module:symbol"``; or ``None``, and
            addr: an address.
            offset: Bytes from there.
            kretprobe: Ask for a return probe.
            events: Ask as a write into ``kprobe_events`` does.
        """
        module, colon, _ = (symbol or "").partition(":")
        missing = self._missing.get(module.replace("-", "_")) if colon else None
        if missing is not None:
            return Answer(None, missing)
        try:
            return Answer(
                self._rules.point(
                    symbol, offset, addr=addr or 0, kretprobe=kretprobe, events=events
                )
            )
        except (AskingError, GuestStop) as error:
            return Answer(None, str(error).partition("\n")[0])
