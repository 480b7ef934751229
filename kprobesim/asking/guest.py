"""``GuestRules``: a booted kernel's own code judges where probes may be.

Its ``register_kprobe()`` and ``register_kretprobe()`` are called with a probe that is never armed,
and what a write into ``kprobe_events`` calls gets a definition. The guest is afterwards as it was.
"""

from __future__ import annotations

import struct

from kprobesim.errors import AskingError
from kprobesim.kernel.booted import BootedKernel

__all__ = ["GuestRules"]

_DISABLED = 2  # KPROBE_FLAG_DISABLED: a registered probe that is never armed
_SIZE = 1024  # of a struct kretprobe, whose first member is a kprobe; less than 512 in 7.3
_SECONDS = 120.0  # of this computer's: an unknown symbol may cost a second of the guest's time
_MAX_ERRNO = 4095
_COMMANDS = ("create_or_delete_trace_kprobe", "trace_kprobe_create")


class GuestRules:
    """The rules of the ``kernel`` itself, which has booted and is not used for anything else.

    Raises:
        AskingError: It has no kprobes, or no type information that tells of them.
    """

    def __init__(self, kernel: BootedKernel) -> None:
        self._kernel = kernel
        btf = kernel.image.btf
        self._fields = {}
        for name in ("addr", "symbol_name", "offset", "flags"):
            offset = btf.offset("kprobe", name) if btf is not None else None
            if offset is None:
                raise AskingError(
                    f"{kernel.version} has no type information about kprobe.{name}, so its own "
                    "register_kprobe() cannot be called"
                )
            self._fields[name] = offset
        self._create = next(
            (found.address for name in _COMMANDS if (found := kernel.symbols.get(name))), None
        )
        kernel.fork_state()

    def has_module(self, name: str) -> bool:
        """Whether the guest has loaded the module ``name``."""
        return any(module.name == name for module in self._kernel.modules)

    def register_kprobe(
        self, symbol: str | None, offset: int = 0, *, addr: int = 0, kretprobe: bool = False
    ) -> int:
        """What it answers to such a probe: 0, or the positive errno.

        Args:
            symbol: The symbol; or ``None``, and
            addr: the address.
            offset: Bytes from there.
            kretprobe: Ask ``register_kretprobe()``.

        Raises:
            AskingError: The kernel does not have it.
            GuestStop: The guest died of it.
        """
        function = "register_kretprobe" if kretprobe else "register_kprobe"
        if self._kernel.symbols.get(function) is None:
            raise AskingError(f"{self._kernel.version} has no {function}(): CONFIG_KPROBES=n")
        try:
            probe = bytearray(_SIZE)
            name = 0
            if symbol is not None:
                text = symbol.encode("utf-8", "surrogateescape") + b"\0"
                name = self._kernel.alloc(len(text))
                self._kernel.write(name, text)
            struct.pack_into("<Q", probe, self._fields["symbol_name"], name)
            struct.pack_into("<Q", probe, self._fields["addr"], addr)
            struct.pack_into("<I", probe, self._fields["offset"], offset & 0xFFFF_FFFF)
            struct.pack_into("<I", probe, self._fields["flags"], _DISABLED)
            address = self._kernel.alloc(_SIZE)
            self._kernel.write(address, bytes(probe))
            return _errno(self._kernel.call(function, address, timeout=_SECONDS))
        finally:
            self._kernel.restore_state()

    def kprobe_event(self, definition: str) -> int:
        """What it answers to a definition such as ``p:group/event vfs_read+4``, as above.

        Raises:
            AskingError: The kernel has no kprobe events.
            GuestStop: The guest died of it.
        """
        if self._create is None:
            raise AskingError(
                f"{self._kernel.version} has no kprobe events: CONFIG_KPROBE_EVENTS=n"
            )
        try:
            if self._kernel.image.version < (5, 12):  # the command comes as argc and argv
                answer = self._kernel.call(
                    "trace_run_command", definition, self._create, timeout=_SECONDS
                )
            else:
                answer = self._kernel.call(self._create, definition, timeout=_SECONDS)
            return _errno(answer)
        finally:
            self._kernel.restore_state()

    def point(
        self,
        symbol: str | None,
        offset: int = 0,
        *,
        addr: int = 0,
        kretprobe: bool = False,
        events: bool = False,
    ) -> int:
        """What it answers to a probe at such a point, by the interface that ``check`` is asked of.

        Raises:
            AskingError: It cannot be asked by that interface.
            GuestStop: The guest died of it.
        """
        if not events:
            return self.register_kprobe(symbol, offset, addr=addr, kretprobe=kretprobe)
        sign = "-" if offset < 0 else "+"
        place = f"{addr + offset:#x}" if symbol is None else f"{symbol}{sign}{abs(offset):#x}"
        return self.kprobe_event(f"{'r' if kretprobe else 'p'}:kprobesim/asked {place}")


def _errno(answer: int) -> int:
    """What a C int in a register says: 0, or the positive errno."""
    value = (answer & 0xFFFF_FFFF ^ 0x8000_0000) - 0x8000_0000
    return -value if -_MAX_ERRNO <= value < 0 else 0
