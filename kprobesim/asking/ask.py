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
        at_hand: More modules to have at hand: who then lets the same kernel do something with
            them need not boot it again.
        finder: Finds the kernel's modules, if one was made already.
        cpus: How many CPUs it boots with, from 1 to 8.

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
        *,
        at_hand: Iterable[str] = (),
        finder: ModuleFinder | None = None,
        cpus: int = 1,
    ) -> None:
        self._missing: dict[str, str] = {}
        wanted = {name.replace("-", "_") for name in modules}
        files: dict[str, bytes | Entry] = {}
        found: set[str] = set()
        if not is_snapshot(path):  # which has what it has
            finder = finder or ModuleFinder(load_image(path, progress=progress), progress)
            every = wanted.union(name.replace("-", "_") for name in at_hand)
            found = {name for name in every if finder.find(name) is not None}
            files = module_files(finder, found)
        image = None if finder is None else finder.image
        kernel = booted_kernel(path, files, image=image, cpus=cpus, progress=progress)
        for name in sorted(found & wanted):
            status, said = Shell(kernel).run(f"modprobe {name}", _SECONDS)
            if status:
                self._missing[name] = f"the guest cannot load it: {' '.join(said.split())}"
        self.release = kernel.version
        self._rules = GuestRules(kernel)

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
