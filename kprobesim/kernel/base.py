"""``Kernel``: what a user does with any kernel, called or booted: open, look, read, call, probe."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from kprobesim.errors import GuestMemoryError, UsageError
from kprobesim.image import KernelImage, SymbolTable
from kprobesim.kernel.arguments import as_int
from kprobesim.kernel.calls import Calls
from kprobesim.kernel.probing import Probing
from kprobesim.kernel.source_lines import SourceLineVerbs
from kprobesim.kernel.tracing import TracingVerbs
from kprobesim.kernel.typing import Typing
from kprobesim.kernel.watching import Watching
from kprobesim.machine.system import System
from kprobesim.machine.trap import page_fault_of
from kprobesim.machine.turn import in_turn

if TYPE_CHECKING:  # each way to come by a kernel needs what it needs
    from kprobesim.inside.modules import GuestModule
    from kprobesim.inside.tasks import Task
    from kprobesim.kernel.booted import BootedKernel
    from kprobesim.kernel.called import CalledKernel
    from kprobesim.kernel.modules import Module
    from kprobesim.kprobes.arch_kprobes import Stepping
    from kprobesim.kprobes.arming.protocol import KernelArming
    from kprobesim.kprobes.kprobe import Kprobe
    from kprobesim.kprobes.manager import KprobesManager
    from kprobesim.kprobes.model import Model
    from kprobesim.machine.fork_state import ForkState
    from kprobesim.unbooted.trap_tables import GuestWarning

__all__ = ["Kernel"]

_T = TypeVar("_T")


class Kernel(Calls, Probing, SourceLineVerbs, TracingVerbs, Typing, Watching, ABC):
    r"""A kernel with its ``image``, the ``machine`` that runs it, and its ``kprobes``.

    :meth:`load` gives one whose functions are called (:class:`CalledKernel`), :meth:`boot` and
    :meth:`resume` one that runs by itself (:class:`BootedKernel`). Both are a ``Kernel``.

    >>> k = Kernel.load("vmlinux")
    >>> k.call("strlen", b"hello\0")
    5
    """

    def __init__(
        self, image: KernelImage, machine: System, make_kprobes: Callable[[], KprobesManager]
    ) -> None:
        self.image = image
        self.machine = machine
        self._make_kprobes = make_kprobes
        for vcpu in machine.vcpus:
            vcpu.cpu.named_argument = self._named_argument

    @cached_property
    def kprobes(self) -> KprobesManager:  # type: ignore[override]  # the verbs only read it
        """The subsystem; it is made when it is first needed."""
        kprobes = self._make_kprobes()
        kprobes.listeners.now = lambda: self.time
        return kprobes

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.version or self.image.path.name} {self.arch}>"

    def _repr_html_(self) -> str:
        """For a notebook."""
        from kprobesim import html

        pairs = [
            ("architecture", self.arch),
            ("image", self.image.path.name),
            ("symbols", f"{len(self.symbols):,}"),
            ("time", f"{self.time:.6f} s"),
            ("model", f"{self.model.name}{', strict' if self.strict else ''}"),
            ("kprobes", len(self.kprobes)),
            ("warnings", len(self.warnings)),
        ]
        return html.facts(f"{type(self).__name__} {self.version}", pairs)

    # -- opening (the factories: kernel/open.py) ---------------------------------------------------

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
            progress: Hears what takes long, such as unpacking a package.

        Raises:
            ImageError: The file is no usable kernel, or ``initrd`` cannot be read.
            KprobeError: One of ``probes`` is refused.
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

    # -- about -----------------------------------------------------------------------------------

    @property
    def arch(self) -> str:
        """``"x86_64"`` or ``"arm64"``."""
        return self.image.arch

    @property
    def version(self) -> str:
        """What ``uname -r`` prints on it, such as "6.1.0-56-cloud-amd64"."""
        return self.image.release

    @property
    def model(self) -> Model:
        """The kernel whose kprobes are imitated."""
        return self.kprobes.model

    @property
    def strict(self) -> bool:
        """Whether it is imitated also where it is wrong."""
        return self.kprobes.strict

    @property
    def symbols(self) -> SymbolTable:
        """All symbols: ``k.symbols["name"]``, ``k.symbols.at(address)``."""
        return self.image.symbols

    @property
    def time(self) -> float:
        """Seconds of the guest's own time (a called one's: of its counter); handlers take none."""
        return self.machine.clock.now() / 1e9

    @property
    @abstractmethod
    def current(self) -> Task | None:
        """The task that runs now, also in a handler: ``k.current.pid``, ``.tgid``, ``.comm``.

        ``None`` where there is none: early in a boot, or in a kernel that is called and names no
        task.

        Raises:
            ImageError: The kernel was built without CONFIG_DEBUG_INFO_BTF.
        """

    @property
    @abstractmethod
    def warnings(self) -> list[GuestWarning]:
        """The WARN()s that the guest has executed, the oldest first."""

    @property
    @abstractmethod
    def modules(self) -> Collection[Module | GuestModule]:
        """The modules that are loaded, each with ``name``, ``state``, ``address`` and ``size``.

        ``k.modules["ext4"]`` is one of them, and ``"ext4" in k.modules`` tells whether it is.
        """

    # -- running ---------------------------------------------------------------------------------

    @abstractmethod
    def stop(self) -> None:
        """Let what runs now end as soon as possible; for handlers, and for other threads.

        What a stop does to a call or a run is said at :class:`CalledKernel` and
        :class:`BootedKernel`.
        """

    @abstractmethod
    def fork_state(self) -> ForkState:
        """The guest's state in memory, for :meth:`restore_state`: the base of campaigns.

        Takes some 0.1 s; the state is freed with its last reference.

        Raises:
            UsageError: The guest runs; so also in a handler.
        """

    @abstractmethod
    def restore_state(self, state: ForkState | None = None) -> int:
        """Back to ``state``, by default the one that was last forked or restored.

        Registers, memory and time are as they were, and devices and console where there are any.
        Only pages that were written since are touched; going back to another state than the last
        one resets all pages. Probes stay as they are: those registered now, with their counts.

        Returns:
            How many pages were reset.

        Raises:
            UsageError: The guest runs, or the state is not this kernel's.
        """

    # -- memory ----------------------------------------------------------------------------------

    @abstractmethod
    def alloc(self, size: int, *, executable: bool = False, guard: bool = False) -> int:
        """The address of ``size`` fresh zeroed bytes; executable memory is read-only for the guest.

        With ``guard`` they end where a page ends, with nothing mapped behind it. Fill them with
        :meth:`write`, give them back with :meth:`free`.

        Raises:
            UsageError: There is not so much memory.
        """

    @abstractmethod
    def free(self, address: int) -> None:
        """Give memory from :meth:`alloc` back; raises :class:`UsageError` if it is none."""

    def read(self, address: int, size: int) -> bytes:
        """``size`` bytes of guest memory; raises :class:`GuestMemoryError`.

        In a handler such a fault goes to the probe's ``fault_handler`` first: if that returns
        non-zero the access is tried once more, and if it fails again the handler ends there.
        """
        address, size = as_int(address, "address"), as_int(size, "size")
        return self._access(lambda: self.machine.memory.read(address, size))

    @in_turn
    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Write guest memory (code, too); faults as :meth:`read`."""
        address = as_int(address, "address")
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise UsageError(f"data is of type {type(data).__name__}: give bytes")
        self._access(lambda: self.machine.write(address, bytes(data)))

    def read_cstr(self, address: int, limit: int = 1 << 20) -> bytes:
        """The NUL-terminated string at ``address`` without its NUL; faults as :meth:`read`."""
        address = as_int(address, "address")
        return self._access(lambda: self.machine.memory.read_cstr(address, limit))

    def _access(self, action: Callable[[], _T]) -> _T:
        try:
            return action()
        except GuestMemoryError as error:
            trap = page_fault_of(error, self.arch)
            handled = self.machine.in_handler and self.kprobes.faults.host_fault(trap)
            if not handled:
                raise
        try:
            return action()
        except GuestMemoryError:
            from kprobesim.kprobes.kprobe import HandlerAbandoned

            raise HandlerAbandoned from None
