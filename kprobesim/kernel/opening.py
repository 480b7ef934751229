"""``Opening``: how a kernel comes to be, from an image, on a board, from a snapshot.

Each way imports what it needs when it is taken: to go on from a snapshot takes no longer than to
import what only the others need.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, get_args

from kprobesim.arch.architecture import ARCHITECTURES
from kprobesim.errors import UsageError
from kprobesim.garbage import no_garbage
from kprobesim.image import KernelImage, load_image
from kprobesim.kernel.arguments import memory_size
from kprobesim.kernel.probing import as_kprobes
from kprobesim.snapshot.container import is_snapshot

if TYPE_CHECKING:
    from kprobesim.boot.boot_schedule import BootSchedule
    from kprobesim.boot.policy import Policy
    from kprobesim.kernel.booted import BootedKernel
    from kprobesim.kernel.called import CalledKernel
    from kprobesim.kprobes.arch_kprobes import Stepping
    from kprobesim.kprobes.arming.protocol import KernelArming
    from kprobesim.kprobes.kprobe import Kprobe
    from kprobesim.kprobes.model import Model

__all__ = ["Opening"]

_log = logging.getLogger(__name__)

_STEPPING = ("breakpoint", "trap")
_BOOT_MEMORY = "256M"


class Opening:
    """The part of :class:`~kprobesim.kernel.base.Kernel` that makes kernels."""

    @staticmethod
    def load(
        path: str | os.PathLike[str] | KernelImage,
        *,
        symbols: str | os.PathLike[str] | None = None,
        memory: int | str | None = None,
        probes: Sequence[Kprobe] = (),
        model: str | Model | None = None,
        strict: bool | None = None,
        stepping: Stepping | None = None,
        arming: KernelArming = "auto",
        progress: Callable[[str], None] | None = None,
    ) -> CalledKernel:
        """Load a vmlinux, bzImage, ARM64 Image or Debian ``linux-image`` package, to call it.

        Args:
            path: The file of the image, or the image that was read from it.
            symbols: A vmlinux, System.map or kallsyms text for an image without symbols.
            memory: RAM of the guest in bytes, or "256M"; by default what the image needs.
            probes: Are registered at once.
            model: The kernel whose kprobes to imitate: "2.6", "5.4", "5.10", "6.1" ... (all of
                them: docs/models.md); by default the newest that is not newer than the image.
            strict: Imitate the kernel also where it is wrong, and refuse what the model lacks; by
                default not.
            stepping: "breakpoint" (a breakpoint behind the copied instruction, as current kernels
                do) or "trap" (the CPU's own single step, as older ones); by default as the model.
            arming: "breakpoint" (INT3 or BRK in memory, as the kernel) or "hook" (no byte changes);
                by default hooks, unless ``model``, ``strict`` or ``stepping`` is given.
            progress: Hears what takes long, such as unpacking a package.

        Raises:
            ImageError: The file is no usable kernel.
            KprobeError: One of ``probes`` is refused.
            UsageError: It is a snapshot, which is a kernel that has booted (see :meth:`resume`),
                or another argument makes no sense.
        """
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
        if isinstance(path, (str, os.PathLike)) and is_snapshot(path):
            raise UsageError(
                f"{os.fspath(path)} is a snapshot of a booted kernel: Kernel.resume(path) goes on "
                "from it"
            )
        wanted = known_model(model)
        planned = as_kprobes(probes)
        image = _image(path, symbols, progress)
        machine = load_into_machine(image, memory_size(0 if memory is None else memory))
        kernel = CalledKernel(
            image, machine, stepping, arming, wanted, strict=bool(strict), progress=progress
        )
        _log.info("loaded %s: %s, %s, %s", image.path, kernel.version, image.arch, image.container)
        if planned:
            kernel.register_kprobes(planned)
        return kernel

    @staticmethod
    def boot(
        path: str | os.PathLike[str] | KernelImage,
        *,
        symbols: str | os.PathLike[str] | None = None,
        initrd: str | os.PathLike[str] | bytes | None = None,
        append: str = "",
        memory: int | str | None = None,
        probes: Sequence[Kprobe] = (),
        model: str | Model | None = None,
        strict: bool | None = None,
        clock: str = "virtual",
        cpus: int = 1,
        policy: Policy | str | None = None,
        schedule: str | BootSchedule | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> BootedKernel:
        """Switch a board on with the unmodified kernel in its memory; nothing has run yet.

        Args:
            path: As for :meth:`load`.
            symbols: As for :meth:`load`.
            initrd: A cpio archive, packed or not: its bytes, or the name of its file; without one
                a small ``/init`` of ours does some work and powers off.
            append: The kernel's command line; ``console=`` is added if it names none.
            memory: RAM in bytes, or "512M"; by default 256M.
            probes: Are registered before the first instruction.
            model: As for :meth:`load`.
            strict: As for :meth:`load`.
            clock: "virtual" (time passes with what the guest does and is skipped when it idles:
                the same in each run) or "host" (real seconds, for somebody who types).
            cpus: How many CPUs the board has, from 1 to 8. One runs at a time, each for a while of
                the guest's time, so that every boot is the same.
            policy: Who chooses which of them: see :attr:`BootedKernel.policy`.
            schedule: Let them run as they did in another boot: the text of its
                :attr:`BootedKernel.schedule`.
            progress: Hears what takes long, such as unpacking a package.

        Raises:
            ImageError: The file is no usable kernel, or ``initrd`` cannot be read.
            KprobeError: One of ``probes`` is refused.
            ScheduleError: ``schedule`` is damaged, or of another boot.
            UsageError: Another argument makes no sense.
        """
        from kprobesim.boot.boards import board_class
        from kprobesim.boot.initramfs import read_initrd
        from kprobesim.boot.missing_config import CONSOLES
        from kprobesim.kernel.booted import BootedKernel
        from kprobesim.kprobes.model import known_model

        wanted = known_model(model)
        planned = as_kprobes(probes)
        if not isinstance(append, str):
            raise UsageError(f"append {append!r} is no str: give the kernel's command line")
        size = memory_size(_BOOT_MEMORY if memory is None else memory)
        image = _image(path, symbols, progress)
        if "console=" not in append:
            append = f"console={CONSOLES[image.arch]} {append}".strip()
        board = board_class(image.arch)(
            image,
            initrd=read_initrd(initrd, image.arch),
            append=append,
            memory=size,
            clock=clock,
            cpus=cpus,
        )
        kernel = BootedKernel(image, board, wanted, strict=bool(strict))
        if policy is not None:
            kernel.policy = policy
        if schedule is not None:
            kernel.follow_schedule(schedule)
        _log.info("to boot %s: %s, %s, %s", image.path, kernel.version, image.arch, append)
        if planned:
            kernel.register_kprobes(planned)
        return kernel

    @staticmethod
    def resume(
        path: str | os.PathLike[str],
        *,
        image: str | os.PathLike[str] | None = None,
        memory: int | str | None = None,
        probes: Sequence[Kprobe] = (),
        model: str | None = None,
        strict: bool | None = None,
        clock: str = "virtual",
        progress: Callable[[str], None] | None = None,
    ) -> BootedKernel:
        """Go on from a file that :meth:`BootedKernel.snapshot` wrote, exactly where it stood.

        The file is all that is needed: registers, memory, devices, time, probes, the kernel's
        symbols and tables, ``model`` and ``strict`` are in it.

        Args:
            path: The file of the snapshot.
            image: A kernel image that must be of the same kernel.
            memory: RAM of the guest; what the snapshot has, or it is refused.
            probes: Handlers are functions and are in no file. A probe here that names the place of
                a stored one, in the same words, takes its place and gets its ``nmissed`` and
                ``flags``; others are registered. The stored ones are all registered again, without
                handlers: ``for p in k.kprobes: p.pre_handler = ...``.
            model: The model that the snapshot has, or it is refused. (A file of kprobesim 0.1 names
                none: then this one is taken, by default that of the kernel's version.)
            strict: As ``model``.
            clock: "virtual" or "host", as for :meth:`boot`; time goes on from where it stood.
            progress: Hears what takes long, such as unpacking ``image``.

        Raises:
            SnapshotError: The file is damaged, cut short, of another kernel than ``image``, of
                other ``memory``, ``model`` or ``strict`` than asked for, or of a version or an
                emulator that is not this one.
            KprobeError: One of ``probes`` is refused.
        """
        with no_garbage():
            return _resume(path, image, memory, probes, model, strict, clock, progress)

    @staticmethod
    def sample(arch: str = "x86_64", **options: Any) -> CalledKernel:
        """Load the small kernel-like guest that comes with this library; for a first try.

        Args:
            arch: "x86_64" or "arm64".
            **options: As for :meth:`load`.

        Raises:
            UsageError: There is no sample for ``arch``.
        """
        from kprobesim.kernel.samples import sample_path

        if arch not in ARCHITECTURES:
            raise UsageError(
                f"there is no sample for {arch!r}: there are {' and '.join(ARCHITECTURES)}"
            )
        return Opening.load(sample_path(arch), **options)


def _image(
    path: str | os.PathLike[str] | KernelImage,
    symbols: str | os.PathLike[str] | None,
    progress: Callable[[str], None] | None,
) -> KernelImage:
    """The image that is to run: it was read already, or is read now."""
    if isinstance(path, KernelImage):
        if symbols is not None:
            raise UsageError("symbols are for files: give them where the image is read")
        return path
    for name, file in (("path", path), ("symbols", "" if symbols is None else symbols)):
        if not isinstance(file, (str, os.PathLike)):
            raise UsageError(f"{name} is of type {type(file).__name__}: name a file")
    return load_image(path, symbols=symbols, progress=progress)


def _resume(
    path: str | os.PathLike[str],
    image: str | os.PathLike[str] | None,
    memory: int | str | None,
    probes: Sequence[Kprobe],
    model: str | None,
    strict: bool | None,
    clock: str,
    progress: Callable[[str], None] | None,
) -> BootedKernel:
    from kprobesim.kernel.reading import SnapshotReading

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
