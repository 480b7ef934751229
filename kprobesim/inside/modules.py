"""The modules that a booted guest has loaded itself: its list of ``struct module``.

``modules`` (kernel/module/main.c) is static, so a kernel without CONFIG_KALLSYMS_ALL does not name
it. But ``m_start()``, which begins /proc/modules, hands its address on, in its first instructions;
of what they hold, only the list's head is a list.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from functools import cached_property

from kprobesim.arch.architecture import halves
from kprobesim.errors import GuestMemoryError, ImageError, UsageError
from kprobesim.hexrepr import HexRepr
from kprobesim.image import KernelImage
from kprobesim.image.modules.module_image import ModuleState
from kprobesim.late_dataclasses import dataclass
from kprobesim.machine.memory import HostAccess
from kprobesim.sizes import MASK64

__all__ = ["GuestModule", "GuestModules"]

_READER, _READER_BYTES = "m_start", 128
_X86_ADDRESS = re.compile(rb"(?s)\x48\xc7\xc7(?P<direct>.{4})|\x48\x8d\x3d(?P<relative>.{4})")
_STATES = (ModuleState.LIVE, ModuleState.COMING, ModuleState.GOING)  # enum module_state
_NAME = 56  # MODULE_NAME_LEN
_MOST = 4096  # more modules than any kernel has


@dataclass(frozen=True, repr=False)
class GuestModule(HexRepr):
    """One module, as it was when it was looked at.

    Attributes:
        name: As lsmod shows it.
        state: Whether its init function has run.
        address: Where its text begins, as /proc/modules shows it.
        size: Bytes of its text.
    """

    name: str
    state: ModuleState
    address: int
    size: int


class GuestModules:
    """The modules that the guest has loaded, by name; iterates over them, the newest first.

    Each look reads the guest's memory. Raises :class:`ImageError` for a kernel without modules, or
    without the CONFIG_DEBUG_INFO_BTF that tells how its ``struct module`` looks.
    """

    def __init__(self, image: KernelImage, memory: HostAccess) -> None:
        self._image = image
        self._memory = memory

    def __iter__(self) -> Iterator[GuestModule]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __contains__(self, name: object) -> bool:
        return any(module.name == name for module in self)

    def __getitem__(self, name: str) -> GuestModule:
        """The module; raises :class:`UsageError`."""
        wanted, modules = str(name).replace("-", "_"), self._read()
        for module in modules:
            if module.name == wanted:
                return module
        loaded = ", ".join(module.name for module in modules) or "none is"
        raise UsageError(f"the guest has no module {name} loaded ({loaded}): it loads them itself")

    def __repr__(self) -> str:
        return f"<GuestModules: {', '.join(one.name for one in self) or 'none is loaded'}>"

    def _read(self) -> list[GuestModule]:
        head, layout, found = self._head(), self._layout, list[GuestModule]()
        at = self._memory.read_u64(head) if head else head
        while at != head and len(found) < _MOST:
            module = at - layout["list"] & MASK64
            number = self._memory.read_u32(module + layout["state"])
            if number < len(_STATES):  # else MODULE_STATE_UNFORMED: not to be seen yet
                name = self._memory.read(module + layout["name"], _NAME).partition(b"\0")[0]
                found.append(
                    GuestModule(
                        name=name.decode("utf-8", "replace"),
                        state=_STATES[number],
                        address=self._memory.read_u64(module + layout["base"]),
                        size=self._memory.read_u32(module + layout["size"]),
                    )
                )
            at = self._memory.read_u64(at)
        return found

    @cached_property
    def _layout(self) -> dict[str, int]:
        """Where the members are; the text was ``core_layout`` up to 6.3, then ``mem[MOD_TEXT]``."""
        btf = self._image.btf
        paths = {name: name for name in ("state", "list", "name")}
        found = {} if btf is None else {n: btf.offset("module", p) for n, p in paths.items()}
        if btf is not None:
            text = btf.offset("module", "mem")
            size = btf.offset("module_memory", "size")
            found["base"] = btf.offset("module", "core_layout.base") if text is None else text
            found["size"] = (
                btf.offset("module", "core_layout.size")
                if text is None or size is None
                else text + size
            )
        layout = {name: offset for name, offset in found.items() if offset is not None}
        if len(layout) < 5:
            raise ImageError(
                self._image.path,
                "does not say how its struct module looks: it was built without modules, or "
                "without CONFIG_DEBUG_INFO_BTF",
            )
        return layout

    def _head(self) -> int:
        """The address of the list's head; 0 before there is one."""
        candidates = [symbol.address for symbol in self._image.symbols.candidates("modules")]
        candidates = candidates or self._handed_on
        for address in candidates:
            if self._is_list(address):
                return address
        if not candidates:
            raise ImageError(self._image.path, "does not tell where its list of modules is")
        return 0

    def _is_list(self, address: int) -> bool:
        try:
            after, before = (self._memory.read_u64(address + at) for at in (0, 8))
            ends = self._memory.read_u64(after + 8 & MASK64), self._memory.read_u64(before)
        except GuestMemoryError:
            return False
        return ends == (address, address)

    @cached_property
    def _handed_on(self) -> list[int]:
        """The addresses that functions called m_start hand on."""
        find = _ADDRESSES[self._image.arch]
        return [
            address
            for symbol in self._image.symbols.candidates(_READER)
            for address in find(self._image.read(symbol.address, _READER_BYTES), symbol.address)
        ]


def _x86_addresses(code: bytes, start: int) -> Iterator[int]:
    """What is put into RDI, as it is or relative to RIP."""
    for match in _X86_ADDRESS.finditer(code):
        word = match["direct"] or match["relative"]
        (value,) = struct.unpack("<i", word)
        yield (value if match["direct"] else start + match.end() + value) & MASK64


def _arm64_addresses(code: bytes, start: int) -> Iterator[int]:
    """What ADRP and ADD make."""
    pages: dict[int, int] = {}
    for index, (word,) in enumerate(struct.iter_unpack("<I", code)):
        rd, rn = word & 31, word >> 5 & 31
        if word & 0x9F00_0000 == 0x9000_0000:
            distance = (word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3
            distance -= (distance & 1 << 20) << 1
            pages[rd] = (start + 4 * index & ~0xFFF) + (distance << 12)
        elif word & 0xFFC0_0000 == 0x9100_0000 and rn in pages:
            yield pages[rn] + (word >> 10 & 0xFFF) & MASK64


_ADDRESSES = halves(x86_64=_x86_addresses, arm64=_arm64_addresses)
