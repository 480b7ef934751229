"""``GuestImage``: a booted kernel's image with the modules that the guest has loaded itself.

Each is a :class:`ModuleImage` that is read from the guest's memory: symbols, code and tables. The
list is read when somebody first asks. From then on the guest's own functions tell when it changes:
do_init_module() when a module has come, ftrace_free_mem() when its init code goes, free_module()
when all of it does (kernel/module/main.c).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from kprobesim.errors import GuestMemoryError, ImageError
from kprobesim.image import KernelImage
from kprobesim.image.loaded_image import LoadedImage
from kprobesim.machine.code_watch import INSIDE
from kprobesim.machine.system import System

if TYPE_CHECKING:  # a guest that has loaded no module needs none of it
    from kprobesim.image.modules.module_image import ModuleImage
    from kprobesim.inside.module_layout import ModuleLayout
    from kprobesim.inside.module_types import GuestModuleTypes
    from kprobesim.inside.modules import GuestModule

__all__ = ["GuestImage", "ModuleEvents"]

_LIVE, _GOING = "live", "going"  # of ModuleState
_STARTS, _INIT_GOES, _GOES = "do_init_module", "ftrace_free_mem", "free_module"


class ModuleEvents(Protocol):
    """Who hears of modules that come and go."""

    def coming(self, module: ModuleImage) -> None:
        """It is in memory."""

    def live(self, module: ModuleImage) -> None:
        """Its init code goes."""

    def going(self, module: ModuleImage) -> None:
        """All of it goes."""


class GuestImage(LoadedImage):
    """``kernel``, which runs on ``machine``, and its modules of now."""

    def __init__(self, kernel: KernelImage, machine: System) -> None:
        super().__init__(kernel)
        self._machine = machine
        self._structs: dict[int, tuple[GuestModule, ModuleImage]] = {}
        self._stale = True
        self._watches = False
        self._events: ModuleEvents | None = None

    def tell(self, events: ModuleEvents) -> None:
        """Let ``events`` hear of modules: now of those that are known to be there."""
        self._events = events
        for _, module in self._structs.values():
            events.coming(module)

    @property
    def modules(self) -> Mapping[str, ModuleImage]:
        """By name, the oldest first; none where the kernel does not say how they look."""
        if self._stale:
            self._look()
        return self._modules

    def module_at(self, address: int) -> ModuleImage | None:
        """The module that holds ``address``."""
        if not (self._modules or self._stale) or self.kernel.contains(address):
            return None  # judging a probe asks seven times
        return super().module_at(address)

    @property
    def ftrace_sites(self) -> frozenset[int]:
        """Where ftrace patches the code."""
        return super().ftrace_sites if self.modules else self.kernel.ftrace_sites

    @cached_property
    def module_types(self) -> GuestModuleTypes:
        """What the modules have for types beyond the kernel's."""
        from kprobesim.inside.module_types import GuestModuleTypes

        return GuestModuleTypes(self.kernel, self._machine.memory)

    def look_again(self) -> None:
        """The guest's memory is another than it was."""
        self._stale = True

    def watch(self) -> None:
        """Hear of modules that come and go from now on."""
        if self._watches or not self.has_symbols:
            return
        self._watches = True
        told: tuple[tuple[str, Callable[[int], object]], ...] = (
            (_STARTS, lambda _: self._look()),
            (_INIT_GOES, lambda _: self._init_goes()),
            (_GOES, lambda _: self._goes()),
        )
        for name, tell in told:
            for symbol in self.kernel.symbols.candidates(name)[:1]:
                self._machine.code_watch.watch(symbol.address, tell, INSIDE)

    def _look(self) -> None:
        """Read the guest's list, and take what is new there and leave what has gone."""
        self._stale = False
        self.watch()
        present = {each.struct: each for each in reversed(self._listed())}
        for struct, (known, module) in list(self._structs.items()):
            now = present.get(struct)
            if now is None or (now.name, now.address) != (known.name, known.address):
                self._leave(struct, module)
        for struct, now in present.items():
            if struct in self._structs:
                self._goes_on(struct, now)
            elif now.state.value != _GOING:
                self._take(now)

    def _listed(self) -> list[GuestModule]:
        from kprobesim.inside.modules import GuestModules

        if not self.has_symbols:
            return []
        try:
            return list(GuestModules(self.kernel, self._machine.memory))
        except (ImageError, GuestMemoryError):  # built without modules; or so early in the boot
            return []

    def _take(self, listed: GuestModule) -> None:
        from kprobesim.inside.guest_module import read_module

        if self._layout is None:
            return
        module = read_module(self.kernel, self._machine.memory, self._layout, listed)
        if module is None:
            return
        self._structs[listed.struct] = listed, module
        self.add(module)
        if self._events is not None:
            self._events.coming(module)

    @cached_property
    def _layout(self) -> ModuleLayout | None:
        from kprobesim.inside.module_layout import ModuleLayout

        btf = self.kernel.btf
        return None if btf is None else ModuleLayout(self._machine.memory, btf)

    def _goes_on(self, struct: int, now: GuestModule) -> None:
        known, module = self._structs[struct]
        if now.state.value != _LIVE or known.state.value == _LIVE:
            return
        if self._events is not None:
            self._events.live(module)
        module = module.without_init()
        self._structs[struct] = now, module
        self.add(module)

    def _leave(self, struct: int, module: ModuleImage) -> None:
        del self._structs[struct]
        if self._modules.get(module.name) is module:
            self.remove(module.name)
        if self._events is not None:
            self._events.going(module)

    def _init_goes(self) -> None:
        """ftrace_free_mem(mod, ...): its state is LIVE by now."""
        self._look()

    def _goes(self) -> None:
        """free_module(mod): it is in the list still, as GOING, and nothing of it runs any more."""
        struct = self._machine.regs.arg(0)
        known = self._structs.get(struct)
        if known is not None:
            self._leave(struct, known[1])
