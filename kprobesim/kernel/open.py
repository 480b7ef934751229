"""How a :class:`~kprobesim.kernel.base.Kernel` comes about: from an image, a board, a snapshot.

What each argument means is said at ``Kernel.load``, ``Kernel.boot``, ``Kernel.resume`` and
``Kernel.sample``, which come here. Each imports what it needs when it is called: to go on from a
snapshot takes no longer than to import what only the others need.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from kprobesim.arch.architecture import ARCHITECTURES
from kprobesim.errors import ImageError, UsageError
from kprobesim.garbage import no_garbage
from kprobesim.image import KernelImage
from kprobesim.kernel.arguments import memory_size
from kprobesim.kernel.probing import as_kprobes
from kprobesim.kernel.reading import SnapshotReading
from kprobesim.kernel.samples import sample_path
from kprobesim.snapshot.container import is_snapshot

if TYPE_CHECKING:
    from kprobesim.boot.policy import Policy
    from kprobesim.kernel.booted import BootedKernel
    from kprobesim.kernel.called import CalledKernel
    from kprobesim.kprobes.arch_kprobes import Stepping
    from kprobesim.kprobes.arming.protocol import KernelArming
    from kprobesim.kprobes.kprobe import Kprobe
    from kprobesim.kprobes.model import Model

__all__ = ["boot_image", "boot_kernel", "load_kernel", "load_sample", "resume_kernel"]

_log = logging.getLogger(__name__)

_STEPPING = ("breakpoint", "trap")
_BOOT_MEMORY = "256M"

_Path = str | os.PathLike[str]


def load_kernel(
    path: _Path,
    *,
    symbols: _Path | None = None,
    memory: int | str | None = None,
    probes: Sequence[Kprobe] = (),
    model: str | None = None,
    strict: bool | None = None,
    stepping: Stepping | None = None,
    arming: KernelArming = "auto",
    progress: Callable[[str], None] | None = None,
) -> CalledKernel:
    """See :meth:`Kernel.load`."""
    from kprobesim.image.load import load_image
    from kprobesim.kernel.called import CalledKernel
    from kprobesim.kprobes.arming.protocol import KernelArming
    from kprobesim.kprobes.model import known_model
    from kprobesim.unbooted.loader import load_into_machine

    for name, value, known in (
        ("stepping", stepping, (*_STEPPING, None)),
        ("arming", arming, get_args(KernelArming)),
    ):
        if value not in known:
            names = " or ".join(filter(None, known))
            raise UsageError(f"{name} is {names}, not {value!r}")
    for name, file in (("path", path), ("symbols", "" if symbols is None else symbols)):
        if not isinstance(file, (str, os.PathLike)):
            raise UsageError(f"{name} is of type {type(file).__name__}: name a file")
    if is_snapshot(path):
        raise UsageError(
            f"{os.fspath(path)} is a snapshot of a booted kernel: Kernel.resume(path) goes on "
            "from it"
        )
    wanted = known_model(model)
    planned = as_kprobes(probes)
    image = load_image(path, symbols=symbols, progress=progress)
    machine = load_into_machine(image, memory_size(0 if memory is None else memory))
    kernel = CalledKernel(
        image, machine, stepping, arming, wanted, strict=bool(strict), progress=progress
    )
    _log.info("loaded %s: %s, %s, %s", image.path, kernel.version, image.arch, image.container)
    if planned:
        kernel.register_kprobes(planned)
    return kernel


def load_sample(arch: str, **options: Any) -> CalledKernel:
    """See :meth:`Kernel.sample`."""
    if arch not in ARCHITECTURES:
        raise UsageError(
            f"there is no sample for {arch!r}: there are {' and '.join(ARCHITECTURES)}"
        )
    return load_kernel(sample_path(arch), **options)


def boot_kernel(
    path: _Path,
    *,
    symbols: _Path | None = None,
    initrd: _Path | bytes | None = None,
    append: str = "",
    memory: int | str | None = None,
    probes: Sequence[Kprobe] = (),
    model: str | None = None,
    strict: bool | None = None,
    clock: str = "virtual",
    cpus: int = 1,
    policy: Policy | str | None = None,
    schedule: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> BootedKernel:
    """See :meth:`Kernel.boot`."""
    from kprobesim.image.load import load_image
    from kprobesim.kprobes.model import known_model

    wanted = known_model(model)
    planned = as_kprobes(probes)
    return boot_image(
        load_image(path, symbols=symbols, progress=progress),
        initrd=initrd,
        append=append,
        memory=memory,
        probes=planned,
        model=wanted,
        strict=bool(strict),
        clock=clock,
        cpus=cpus,
        policy=policy,
        schedule=schedule,
    )


def boot_image(
    image: KernelImage,
    *,
    initrd: _Path | bytes | None = None,
    append: str = "",
    memory: int | str | None = None,
    probes: Sequence[Kprobe] = (),
    model: Model | None = None,
    strict: bool = False,
    clock: str = "virtual",
    cpus: int = 1,
    policy: Policy | str | None = None,
    schedule: str | None = None,
) -> BootedKernel:
    """What :meth:`Kernel.boot` does once it has read the image."""
    from kprobesim.boot.boards import board_class
    from kprobesim.boot.missing_config import CONSOLES
    from kprobesim.kernel.booted import BootedKernel

    if not isinstance(append, str):
        raise UsageError(f"append {append!r} is no str: give the kernel's command line")
    if "console=" not in append:
        append = f"console={CONSOLES[image.arch]} {append}".strip()
    board = board_class(image.arch)(
        image,
        initrd=_read_initrd(initrd, image.arch),
        append=append,
        memory=memory_size(_BOOT_MEMORY if memory is None else memory),
        clock=clock,
        cpus=cpus,
    )
    kernel = BootedKernel(image, board, model, strict=strict)
    if policy is not None:
        kernel.policy = policy
    if schedule is not None:
        kernel.follow_schedule(schedule)
    _log.info("to boot %s: %s, %s, %s", image.path, kernel.version, image.arch, append)
    if probes:
        kernel.register_kprobes(probes)
    return kernel


def _read_initrd(initrd: _Path | bytes | None, arch: str) -> bytes:
    if initrd is None:
        from kprobesim.boot.initramfs import built_in_initramfs

        return built_in_initramfs(arch)
    from kprobesim.image.files.source import GIB, read_file

    if isinstance(initrd, bytes):
        return initrd
    if not isinstance(initrd, (str, os.PathLike)):
        raise ImageError(repr(initrd), "is no initrd; give bytes, or the path of an archive")
    return read_file(Path(initrd), GIB, "an initrd")


def resume_kernel(
    path: _Path,
    *,
    image: _Path | None = None,
    memory: int | str | None = None,
    probes: Sequence[Kprobe] = (),
    model: str | None = None,
    strict: bool | None = None,
    clock: str = "virtual",
    progress: Callable[[str], None] | None = None,
) -> BootedKernel:
    """See :meth:`Kernel.resume`."""
    with no_garbage():
        return _resume(path, image, memory, probes, model, strict, clock, progress)


def _resume(
    path: _Path,
    image: _Path | None,
    memory: int | str | None,
    probes: Sequence[Kprobe],
    model: str | None,
    strict: bool | None,
    clock: str,
    progress: Callable[[str], None] | None,
) -> BootedKernel:
    planned = as_kprobes(probes)
    size = None if memory is None else memory_size(memory)
    asked = None
    if model is not None:
        from kprobesim.kprobes.model import known_model

        asked = known_model(model)
    with SnapshotReading(path) as reading:
        from kprobesim.kernel.booted import BootedKernel
        from kprobesim.kernel.snapshots import Wanted, resume_board

        wanted = Wanted(size, asked, strict)
        resumed = resume_board(reading, image, wanted, clock, progress)
    kernel = BootedKernel(
        resumed.image,
        resumed.board,
        resumed.model,
        strict=resumed.strict,
        init_freed=resumed.probes["init_freed"],
    )
    _log.info("resumed %s: %s, %s, at %.9f s", path, kernel.version, kernel.arch, kernel.time)
    if planned or resumed.probes["probes"] or resumed.probes["all_disarmed"]:
        # else the subsystem is made when it is needed
        from kprobesim.kprobes.state import load_probes

        made = {} if resumed.programs is None else kernel.prepare_programs(resumed.programs)
        load_probes(kernel.kprobes, resumed.probes, planned, kernel.register_kprobes, made)
    if resumed.tracing is not None:
        kernel.tracing_store.restore(resumed.tracing)
    return kernel
