"""``KernelHandle``: what a user does with any kernel, called or booted: look, read, probe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from kprobesim.errors import GuestMemoryError, UsageError
from kprobesim.image import KernelImage, SymbolTable
from kprobesim.kernel.arguments import as_int, as_list
from kprobesim.kernel.probing import ProbeVerbs
from kprobesim.kprobes.kprobe import FaultHandler, HandlerAbandoned, Kprobe, PostHandler, PreHandler
from kprobesim.kprobes.manager import KprobesManager
from kprobesim.kprobes.model import Model
from kprobesim.kprobes.rules.verdict import Verdict
from kprobesim.machine.guest import Guest
from kprobesim.machine.trap import page_fault_of

__all__ = ["KernelHandle", "as_kprobe", "memory_size"]

_T = TypeVar("_T")


class KernelHandle(ProbeVerbs):
    """A kernel with its ``image``, the ``machine`` that runs it, and its ``kprobes``."""

    def __init__(self, image: KernelImage, machine: Guest, kprobes: KprobesManager) -> None:
        self.image = image
        self.machine = machine
        self.kprobes = kprobes

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.version or self.image.path.name} {self.arch}>"

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

    # -- memory ----------------------------------------------------------------------------------

    def read(self, address: int, size: int) -> bytes:
        """``size`` bytes of guest memory; raises :class:`GuestMemoryError`.

        In a handler such a fault goes to the probe's ``fault_handler`` first: if that returns
        non-zero the access is tried once more, and if it fails again the handler ends there.
        """
        address, size = as_int(address, "address"), as_int(size, "size")
        return self._access(lambda: self.machine.memory.read(address, size))

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
            raise HandlerAbandoned from None

    # -- probing ---------------------------------------------------------------------------------

    def register_kprobe(self, p: Kprobe) -> None:
        """Plant ``p``; raises :class:`KprobeError`, and then no byte of the guest has changed."""
        self.kprobes.register_kprobe(as_kprobe(p))

    def unregister_kprobe(self, p: Kprobe) -> None:
        """Take ``p`` out again and restore the instruction."""
        self.kprobes.unregister_kprobe(as_kprobe(p))

    def register_kprobes(self, probes: Sequence[Kprobe]) -> None:
        """Plant all or none."""
        self.kprobes.register_kprobes([as_kprobe(p) for p in as_list(probes, "a list of Kprobe")])

    def unregister_kprobes(self, probes: Sequence[Kprobe]) -> None:
        """Take all of ``probes`` out."""
        self.kprobes.unregister_kprobes([as_kprobe(p) for p in as_list(probes, "a list of Kprobe")])

    def disable_kprobe(self, p: Kprobe) -> None:
        """No handler of ``p`` is called until it is enabled again."""
        self.kprobes.disable_kprobe(as_kprobe(p))

    def enable_kprobe(self, p: Kprobe) -> None:
        """Undo :meth:`disable_kprobe`; raises :class:`KprobeError` if its code is gone."""
        self.kprobes.enable_kprobe(as_kprobe(p))

    def check(
        self,
        symbol_name: str | None = None,
        *,
        addr: int | None = None,
        offset: int = 0,
        kretprobe: bool = False,
        events: bool = False,
        slot_at: int | None = None,
        suggest: bool = True,
    ) -> Verdict:
        """What a kernel that has booted would answer to a probe there; nothing is planted.

        kretprobe : ask for a return probe
        events    : ask as a write into ``kprobe_events``, which refuses what ftrace cannot trace
        slot_at   : address of a slot, whose bytes the verdict then tells
        suggest   : tell names like an unknown one, which takes a while
        """
        p = Kprobe(symbol_name, addr=addr, offset=offset)
        return self.kprobes.rules.check(
            p, kretprobe=kretprobe, events=events, slot_at=slot_at, suggest=suggest
        )

    @contextmanager
    def probing(
        self,
        symbol_name: str | None = None,
        *,
        addr: int | None = None,
        offset: int = 0,
        pre_handler: PreHandler | None = None,
        post_handler: PostHandler | None = None,
        fault_handler: FaultHandler | None = None,
    ) -> Iterator[Kprobe]:
        """A probe for the time of a ``with`` block."""
        p = Kprobe(
            symbol_name,
            addr=addr,
            offset=offset,
            pre_handler=pre_handler,
            post_handler=post_handler,
            fault_handler=fault_handler,
        )
        self.register_kprobe(p)
        try:
            yield p
        finally:
            if p in self.kprobes:
                self.unregister_kprobe(p)


def as_kprobe(p: object) -> Kprobe:
    """``p``, which must be a ``Kprobe``; raises :class:`UsageError`."""
    if not isinstance(p, Kprobe):
        raise UsageError(f"{p!r} is of type {type(p).__name__}: give a Kprobe")
    return p


def memory_size(memory: int | str) -> int:
    """Bytes from bytes or "256M"; raises :class:`UsageError`."""
    if isinstance(memory, int):
        return memory
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    number, unit = str(memory)[:-1], str(memory)[-1:].upper()
    if unit not in units or not number.isdecimal() or len(number) > 18:
        raise UsageError(f"memory {memory!r}: write bytes, or a number with K, M or G")
    return int(number) * units[unit]
