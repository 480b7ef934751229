"""The modules that a booted guest has loaded itself: its list of ``struct module``.

``modules`` (kernel/module/main.c) is static, so a kernel without CONFIG_KALLSYMS_ALL does not name
it. But ``m_start()``, which begins /proc/modules, hands its address on, in its first instructions;
of what they hold, only the list's head is a list.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from kprobesim.errors import GuestMemoryError, ImageError, UsageError
from kprobesim.hexrepr import HexRepr
from kprobesim.image import KernelImage
from kprobesim.image.modules.module_image import ModuleState
from kprobesim.inside.code_addresses import handed_on
from kprobesim.late_dataclasses import dataclass
from kprobesim.machine.memory import HostAccess
from kprobesim.sizes import MASK64

__all__ = ["GuestModule", "GuestModules"]

_READER = "m_start"
_STATES = (ModuleState.LIVE, ModuleState.COMING, ModuleState.GOING)  # enum module_state
_NAME = 56  # MODULE_NAME_LEN
_MOST = 4096  # more modules than any kernel has


@dataclass(frozen=True, repr=False)
class GuestModule(HexRepr):
    """One module, as it was when it was looked at.

    Attributes:
        name: As lsmod shows it.
        struct: Where its ``struct module`` is.
        state: Whether its init function has run.
        address: Where its text begins, as /proc/modules shows it.
        size: Bytes of its text.
    """

    name: str
    state: ModuleState
    struct: int
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
        head, found = self.head(), list[GuestModule]()
        at = self._memory.read_u64(head) if head else head
        if at == head:  # so nobody need know how they look
            return found
        layout = self._layout
        while at != head and len(found) < _MOST:
            module = at - layout["list"] & MASK64
            number = self._memory.read_u32(module + layout["state"])
            if number < len(_STATES):  # else MODULE_STATE_UNFORMED: not to be seen yet
                name = self._memory.read(module + layout["name"], _NAME).partition(b"\0")[0]
                found.append(
                    GuestModule(
                        name=name.decode("utf-8", "replace"),
                        state=_STATES[number],
                        struct=module,
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

    def head(self) -> int:
        """The address of the list's head, the variable ``modules``; 0 before it is a list.

        Raises:
            ImageError: The kernel does not tell where it is.
        """
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
        return handed_on(self._image, _READER)
