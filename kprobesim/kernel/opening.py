"""``Opening``: how a kernel comes to be; what does it is in ``open.py``."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kprobesim.boot.policy import Policy
    from kprobesim.kernel.booted import BootedKernel
    from kprobesim.kernel.called import CalledKernel
    from kprobesim.kprobes.arch_kprobes import Stepping
    from kprobesim.kprobes.arming.protocol import KernelArming
    from kprobesim.kprobes.kprobe import Kprobe

__all__ = ["Opening"]


class Opening:
    """The part of :class:`~kprobesim.kernel.base.Kernel` that makes kernels."""

    @staticmethod
    def load(
        path: str | os.PathLike[str],
        *,
        symbols: str | os.PathLike[str] | None = None,
        memory: int | str | None = None,
        probes: Sequence[Kprobe] = (),
        model: str | None = None,
        strict: bool | None = None,
        stepping: Stepping | None = None,
        arming: KernelArming = "auto",
        progress: Callable[[str], None] | None = None,
    ) -> CalledKernel:
        """Load a vmlinux, bzImage, ARM64 Image or Debian ``linux-image`` package, to call it.

        Args:
            path: The file of the image.
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
        from kprobesim.kernel.open import load_kernel

        return load_kernel(
            path,
            symbols=symbols,
            memory=memory,
            probes=probes,
            model=model,
            strict=strict,
            stepping=stepping,
            arming=arming,
            progress=progress,
        )

    @staticmethod
    def boot(
        path: str | os.PathLike[str],
        *,
        symbols: str | os.PathLike[str] | None = None,
        initrd: str | os.PathLike[str] | bytes | None = None,
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
        """Switch a board on with the unmodified kernel in its memory; nothing has run yet.

        Args:
            path: The file of the image, as for :meth:`load`.
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
        from kprobesim.kernel.open import boot_kernel

        return boot_kernel(
            path,
            symbols=symbols,
            initrd=initrd,
            append=append,
            memory=memory,
            probes=probes,
            model=model,
            strict=strict,
            clock=clock,
            cpus=cpus,
            policy=policy,
            schedule=schedule,
            progress=progress,
        )

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
        from kprobesim.kernel.open import resume_kernel

        return resume_kernel(
            path,
            image=image,
            memory=memory,
            probes=probes,
            model=model,
            strict=strict,
            clock=clock,
            progress=progress,
        )

    @staticmethod
    def sample(arch: str = "x86_64", **options: Any) -> CalledKernel:
        """Load the small kernel-like guest that comes with this library; for a first try.

        Args:
            arch: "x86_64" or "arm64".
            **options: As for :meth:`load`.

        Raises:
            UsageError: There is no sample for ``arch``.
        """
        from kprobesim.kernel.open import load_sample

        return load_sample(arch, **options)
