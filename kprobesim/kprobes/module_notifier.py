"""What happens to probes when modules come and go: kprobes_module_callback(), kernel/kprobes.c."""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.image.modules.module_image import ModuleImage
from kprobesim.kprobes.enable import EnabledProbes
from kprobesim.kprobes.rules.blacklist import Blacklist

__all__ = ["ModuleNotifier"]


class ModuleNotifier:
    """Is told of each module's state, before anything of it has gone."""

    def __init__(self, blacklist: Blacklist, enabled: EnabledProbes) -> None:
        self._blacklist = blacklist
        self._enabled = enabled
        self._subscribers: list[Callable[[ModuleImage], object]] = []
        self.watched: Callable[[], object] = lambda: None
        """Is called when somebody wants to hear of modules that are still to come."""

    def subscribe(self, arrived: Callable[[ModuleImage], object]) -> None:
        """Call ``arrived(module)`` for each module that comes, before anything of it has run."""
        self._subscribers.append(arrived)
        self.watched()

    def coming(self, module: ModuleImage) -> None:
        """It is in memory: what it forbids to probe is forbidden from now on."""
        self._blacklist.add_module(module)
        for arrived in self._subscribers:
            arrived(module)

    def live(self, module: ModuleImage) -> None:
        """Its init code goes: probes there are GONE."""
        if module.init is not None:
            self._enabled.kill_range(*module.init)

    def going(self, module: ModuleImage) -> None:
        """All of it goes."""
        for part in module.parts:
            self._enabled.kill_range(part.start, part.end)
        self._blacklist.remove_module(module)
