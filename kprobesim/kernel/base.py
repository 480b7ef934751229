"""``Kernel``: what a user does with any kernel, called or booted: open, look, read, call, probe."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from kprobesim.errors import GuestMemoryError, UsageError
from kprobesim.image import KernelImage, SymbolTable
from kprobesim.kernel.arguments import as_int
from kprobesim.kernel.calls import Calls
from kprobesim.kernel.opening import Opening
from kprobesim.kernel.other_kinds import no_such_verb
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
    from kprobesim.kernel.modules import Module
    from kprobesim.kprobes.manager import KprobesManager
    from kprobesim.kprobes.model import Model
    from kprobesim.machine.fork_state import ForkState
    from kprobesim.unbooted.trap_tables import GuestWarning

__all__ = ["Kernel"]

_T = TypeVar("_T")


class Kernel(Opening, Calls, Probing, SourceLineVerbs, TracingVerbs, Typing, Watching, ABC):
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

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> None:
            """Say where a verb is to be had that kernels of another kind have."""
            no_such_verb(self, name)

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
    def cpu(self) -> int:
        """The number of the CPU that runs now, as in a handler, or ran last."""
        return self.machine.vcpu.number

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
