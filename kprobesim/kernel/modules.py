"""``Modules``: the modules that are loaded into a kernel whose functions are called.

What happens when, and in which state, is that of load_module(), do_init_module() and
delete_module() (kernel/module/main.c, 6.1).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator

from kprobesim.errors import ImageError, SymbolError, UsageError
from kprobesim.image import Symbol
from kprobesim.image.loaded_image import LoadedImage
from kprobesim.image.modules.file import ModuleFile
from kprobesim.image.modules.finder import ModuleFinder
from kprobesim.image.modules.link import Linker
from kprobesim.image.modules.module_image import ModuleImage, ModuleState
from kprobesim.image.placement import module_area
from kprobesim.image.segment import Segment
from kprobesim.kprobes.module_notifier import ModuleNotifier
from kprobesim.machine.machine import Machine
from kprobesim.machine.memory import Prot, Region
from kprobesim.machine.memory_map import MODULES
from kprobesim.patching.running_text import module_text
from kprobesim.sizes import PAGE, page_up
from kprobesim.types.btf import Btf

__all__ = ["Module", "ModuleState", "Modules"]

_log = logging.getLogger(__name__)

_ALIGN = 2 << 20
_PROT = {
    "text": Prot.RX,
    "rodata": Prot.R,
    "ro_after_init": Prot.RW,
    "data": Prot.RW,
}


class Module:
    """A loaded module. ``image`` knows its symbols, sections and tables."""

    def __init__(self, image: ModuleImage, file: ModuleFile) -> None:
        self.image = image
        self.depends = file.depends
        self._file = file
        self._types: tuple[Btf | None] | None = None
        self.state = ModuleState.COMING
        """COMING while its init sections exist, LIVE afterwards, GOING once it is unloaded."""
        self.regions: list[Region] = []
        self.init_regions: list[Region] = []

    @property
    def name(self) -> str:
        """As lsmod shows it."""
        return self.image.name

    @property
    def address(self) -> int:
        """Where it begins, as /proc/modules shows it."""
        return self.image.parts[0].start

    @property
    def size(self) -> int:
        """Bytes that stay in memory, in whole pages."""
        return sum(part.end - part.start for part in self.image.parts if not part.init)

    def types(self, kernel: Btf) -> Btf | None:
        """What it has for types beyond those of the ``kernel``; ``None`` if it has none.

        Raises:
            TypesError: They are damaged, or of another kernel.
        """
        if self._types is None:
            from kprobesim.types.module_types import module_types

            own, base = (self._file.section(name) for name in (".BTF", ".BTF.base"))
            distilled = None if base is None else self._file.contents(base)
            self._types = (
                own
                if own is None
                else module_types(self._file.contents(own), distilled, kernel, self.name),
            )
        return self._types[0]

    def __getitem__(self, name: str) -> Symbol:
        """The first symbol that it calls ``name``; raises :class:`SymbolError`."""
        found = self.image.named(name)
        if not found:
            raise SymbolError(name, f"the module {self.name} has no symbol {name}")
        return found[0]

    def __repr__(self) -> str:
        return f"<Module {self.name} {self.state.value} {self.address:#x}>"


class Modules:
    """The modules of one guest, by name; iterates over them, the oldest first."""

    def __init__(
        self,
        machine: Machine,
        image: LoadedImage,
        notifier: ModuleNotifier,
        percpu_offset: int,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        self._machine = machine
        self._image = image
        self._notifier = notifier
        self._percpu_offset = percpu_offset
        self._loaded: dict[str, Module] = {}
        self._finder = ModuleFinder(image, progress)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._loaded.values())

    def __len__(self) -> int:
        return len(self._loaded)

    def types(self) -> list[Btf]:
        """What each has for types beyond the kernel's; those without any are left out.

        Raises:
            TypesError: They are damaged, or of another kernel.
        """
        kernel = self._image.btf
        if kernel is None:
            return []
        found = (module.types(kernel) for module in self)
        return [types for types in found if types is not None]

    def __repr__(self) -> str:
        return f"<Modules: {', '.join(self._loaded) or 'none is loaded'}>"

    def __contains__(self, name: object) -> bool:
        """Whether a module of that name is loaded."""
        return name in self._loaded

    def __getitem__(self, name: str) -> Module:
        """The loaded module; raises :class:`UsageError`."""
        module = self._loaded.get(name.replace("-", "_"))
        if module is None:
            loaded = ", ".join(self._loaded) or "none is"
            raise UsageError(f"no module {name} is loaded ({loaded}): load_module() first")
        return module

    # -- finding ---------------------------------------------------------------------------------

    def offer(self, path: str | os.PathLike[str]) -> str:
        """Let the module in the file ``path`` be found by its name, which is returned."""
        return self._finder.offer(path)

    def find(self, name: str) -> ModuleFile | None:
        """An offered module, or one of those that came with the kernel; else ``None``."""
        return self._finder.find(name)

    def available(self) -> list[str]:
        """The names of all that :meth:`find` would find."""
        return self._finder.names()

    def _file(self, module: str | os.PathLike[str]) -> ModuleFile:
        """``module`` is a path if it looks like one, else a name."""
        if not isinstance(module, (str, os.PathLike)):
            raise UsageError(f"{module!r} is no module: give its name or the path of its .ko")
        return self._finder.load(module)

    def bring(self, name: str) -> bool:
        """Load the module ``name`` if it is not, and let it be LIVE; false if it cannot be found.

        That is modprobe, without the init functions.
        """
        name = name.replace("-", "_")
        if name not in self:
            file = self.find(name)
            if file is None:
                return False
            self._check_idle()
            self.live(self._load(file, self._finish).name)
        return True

    # -- loading ---------------------------------------------------------------------------------

    def load(
        self, module: str | os.PathLike[str], finish: Callable[[Module], None] | None = None
    ) -> Module:
        """Load it, and before it what it depends on; it is COMING then, and they are LIVE.

        ``finish`` is called to get them there, if it shall be more than :meth:`live`.
        """
        self._check_idle()
        return self._load(self._file(module), finish or self._finish)

    def _finish(self, module: Module) -> None:
        self.live(module.name)

    def _load(
        self, file: ModuleFile, finish: Callable[[Module], None], users: tuple[str, ...] = ()
    ) -> Module:
        if file.name in self._loaded:
            raise UsageError(f"the module {file.name} is loaded already: unload_module() first")
        if file.name in users:
            raise ImageError(file.path, f"depends on itself: {' -> '.join((*users, file.name))}")
        self._finder.check(file)
        for name in file.depends:
            if name not in self._loaded:
                needed = self._finder.needed(file, name)
                finish(self._load(needed, finish, (*users, file.name)))
        loaded = self._map(file)
        self._loaded[file.name] = loaded
        self._image.add(loaded.image)
        self._notifier.coming(loaded.image)
        _log.info("loaded module %s at %#x", file.name, loaded.address)
        return loaded

    def _map(self, file: ModuleFile) -> Module:
        """Link it and put it into memory, in the state in which its init function is called."""
        linker = Linker(file)
        memory = self._machine.memory
        core = self._place(linker.core_size)
        init = self._place(linker.init_size, core + linker.core_size)
        # Code addresses per-CPU variables by their distance, so they cannot be anywhere.
        percpu = self._place(linker.percpu_size, init + linker.init_size)
        image = linker.link(
            *(core, init, percpu - self._percpu_offset),
            *(self._image.exported_to_modules, memory.read, self._image.banner),
        )
        text = module_text(image, self._image.kernel).areas
        module = Module(image, file)
        try:
            if linker.percpu_size:
                size, name = linker.percpu_size, f"per-CPU data of {image.name}"
                module.regions.append(memory.map_new(percpu, size, Prot.RW, name))
                memory.write(percpu, linker.percpu_contents())
            for part in image.parts:
                regions = module.init_regions if part.init else module.regions
                for segment in part.segments:
                    code = bytes(text.get(segment.vaddr, segment.data))
                    regions.append(self._fill(segment, code, image.name))
        except BaseException:  # no memory is left
            self._unmap(module.init_regions)
            self._unmap(module.regions)
            raise
        return module

    def _fill(self, segment: Segment, contents: bytes, name: str) -> Region:
        machine, memory = self._machine, self._machine.memory
        region = memory.map_new(segment.vaddr, segment.memsz, _PROT[segment.name], f"module {name}")
        memory.write(segment.vaddr, contents)
        if segment.executable:
            machine.see_code(segment.vaddr, contents)
        return region

    def _place(self, size: int, start: int = 0) -> int:
        """The lowest free address for ``size`` bytes in the modules' area."""
        ours = self._machine.isa.modules_start + MODULES.offset
        low, end = module_area(self._image)
        return self._machine.memory.find_gap(max(ours, low, start), end, page_up(size) or PAGE)

    # -- what comes then -------------------------------------------------------------------------

    def live(self, name: str) -> None:
        """The init function of module ``name`` has run: its init sections are freed."""
        module = self[name]
        if module.state is not ModuleState.COMING:
            raise UsageError(f"the module {name} is {module.state.value}, not coming")
        self._check_idle()
        self._notifier.live(module.image)
        module.state = ModuleState.LIVE
        module.image = module.image.without_init()
        self._image.add(module.image)
        self._unmap(module.init_regions)
        constant = [s.vaddr for s in module.image.segments if s.name == "ro_after_init"]
        for region in [region for region in module.regions if region.start in constant]:
            module.regions.remove(region)
            module.regions.append(self._machine.protect(region, Prot.R))

    def unload(self, name: str) -> None:
        """Take module ``name`` out; probes in it are GONE."""
        module = self[name]
        self._check_idle()
        users = [other.name for other in self if module.name in other.depends]
        if users:
            raise UsageError(f"the module {name} is used by {', '.join(users)}: unload that first")
        module.state = ModuleState.GOING
        self._notifier.going(module.image)
        del self._loaded[module.name]
        self._image.remove(module.name)
        self._unmap(module.init_regions)
        self._unmap(module.regions)
        _log.info("unloaded module %s", name)

    def _unmap(self, regions: list[Region]) -> None:
        for region in regions:
            self._machine.unmap(region)
        regions.clear()

    def _check_idle(self) -> None:
        if self._machine.depth:
            raise UsageError("the guest is running: load and unload modules between two calls")
