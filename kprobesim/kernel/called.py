"""``Kernel``: one loaded kernel image, ready to be called and probed."""

from __future__ import annotations

import errno as errno_names
import os
from collections.abc import Callable, Sequence
from typing import Any

from kprobesim.errors import UsageError
from kprobesim.image import KernelImage, Symbol, load_image
from kprobesim.image.loaded_image import LoadedImage
from kprobesim.kernel.arguments import as_int, as_result, check_limits, code_address, passed
from kprobesim.kernel.base import KernelHandle, memory_size
from kprobesim.kernel.booted import BootedKernel
from kprobesim.kernel.modules import Module, Modules
from kprobesim.kprobes.arch_kprobes import Stepping
from kprobesim.kprobes.arming.arming import HowToArm
from kprobesim.kprobes.arming.pages import ProbePages
from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.kprobes.manager import KprobesManager
from kprobesim.kprobes.model import Model, known_model, model_of
from kprobesim.machine.heap import Heap
from kprobesim.machine.machine import Machine
from kprobesim.machine.memory import PAGE, Prot, page_up
from kprobesim.snapshot.container import is_snapshot
from kprobesim.stack.unwind import Unwinder
from kprobesim.unbooted.environment import percpu_offset, set_up_environment
from kprobesim.unbooted.loader import load_into_machine
from kprobesim.unbooted.trap_tables import GuestWarning, KernelExceptions

__all__ = ["Kernel"]

_STEPPING = ("breakpoint", "trap")
_ARMING = ("breakpoint", "hook")
_CODE_AREA = 64 << 20  # from the start of the modules' area: beyond the slot pages
_CODE_CHUNK = 1 << 20
_INT_MASK = (1 << 32) - 1


class Kernel(KernelHandle):
    r"""A kernel image in memory, whose functions can be called and probed by symbol.

    >>> k = Kernel.load("vmlinux")
    >>> k.call("strlen", b"hello\0")
    5
    """

    machine: Machine

    def __init__(
        self,
        image: KernelImage,
        machine: Machine,
        stepping: Stepping | None = None,
        arming: HowToArm = "breakpoint",
        model: Model | None = None,
        *,
        strict: bool = False,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        image = LoadedImage(image)
        model = model or model_of(image.version)
        stepping = stepping or model.of(image.arch).stepping
        self.stepping = stepping
        unwinder = Unwinder(machine, image)
        machine.symbolize = unwinder.symbolize
        machine.unwind = unwinder.trace
        self._exceptions = KernelExceptions(machine, image)
        machine.trap_handlers.append(self._exceptions.handle)
        set_up_environment(machine, image)
        manager = KprobesManager(
            *(machine, image, stepping, arming, ProbePages(machine)),
            model=model,
            strict=strict,
        )
        super().__init__(image, machine, manager)
        self.modules = Modules(
            machine, image, manager.module_notifier, percpu_offset(image), progress
        )
        self._code_heaps: list[Heap] = []
        self._next_code = machine.cpu.modules_start + _CODE_AREA

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        symbols: str | os.PathLike[str] | None = None,
        stepping: Stepping | None = None,
        arming: HowToArm = "breakpoint",
        model: str | None = None,
        strict: bool = False,
        memory: int | str = 0,
        progress: Callable[[str], None] | None = None,
    ) -> Kernel:
        """Load a vmlinux, bzImage, ARM64 Image or Debian ``linux-image`` package.

        symbols  : a vmlinux, System.map or kallsyms text for an image without symbols
        stepping : "breakpoint" (a breakpoint behind the copied instruction, as current kernels
                   do) or "trap" (the CPU's own single step, as older ones); by default as the
                   model does
        arming   : "breakpoint" (INT3 or BRK in guest memory, as the kernel) or "hook" (no byte of
                   the guest changes, and what must be stepped is stepped in its place)
        model    : the kernel whose kprobes to imitate: "2.6", "5.4", "5.10", "6.1", "6.17" (all of
                   them: docs/models.md); by default the newest that is not newer than the image
        strict   : imitate the kernel also where it is wrong, and refuse what the model lacks
        memory   : RAM of the guest in bytes, or "256M"; by default what the image needs
        progress : hears what takes long, such as unpacking a package

        Raises :class:`ImageError` for a file that is no usable kernel, and :class:`UsageError` for
        a snapshot: that is a kernel that has booted, see :meth:`resume`.
        """
        for name, value, known in (
            ("stepping", stepping, (*_STEPPING, None)),
            ("arming", arming, _ARMING),
        ):
            if value not in known:
                names = " or ".join(filter(None, known))
                raise UsageError(f"{name} is {names}, not {value!r}")
        for name, file in (("path", path), ("symbols", "" if symbols is None else symbols)):
            if not isinstance(file, (str, os.PathLike)):
                raise UsageError(f"{name} is of type {type(file).__name__}: name a file")
        if is_snapshot(path):
            raise UsageError(
                f"{os.fspath(path)} is a snapshot of a booted kernel: Kernel.resume(path) goes on "
                "from it"
            )
        wanted = known_model(model)
        image = load_image(path, symbols=symbols, progress=progress)
        machine = load_into_machine(image, memory_size(memory))
        return cls(image, machine, stepping, arming, wanted, strict=strict, progress=progress)

    @classmethod
    def boot(
        cls,
        path: str | os.PathLike[str],
        *,
        symbols: str | os.PathLike[str] | None = None,
        initrd: str | os.PathLike[str] | bytes | None = None,
        append: str = "",
        memory: int | str = "256M",
        probes: Sequence[Kprobe] = (),
        clock: str = "virtual",
        model: str | None = None,
        strict: bool = False,
        progress: Callable[[str], None] | None = None,
    ) -> BootedKernel:
        """Boot the unmodified kernel instead of calling its functions.

        The board is switched on and ``probes`` are armed, but nothing has run yet: see
        :class:`BootedKernel`, whose :meth:`~BootedKernel.run` goes on from here. ``model`` and
        ``strict`` as for :meth:`load`.
        """
        wanted = known_model(model)
        image = load_image(path, symbols=symbols, progress=progress)
        return BootedKernel.start(
            image,
            initrd=initrd,
            append=append,
            memory=memory,
            probes=probes,
            clock=clock,
            model=wanted,
            strict=strict,
        )

    resume = staticmethod(BootedKernel.resume)

    # -- about -----------------------------------------------------------------------------------

    @property
    def warnings(self) -> list[GuestWarning]:
        """The WARN()s that the guest has executed."""
        return self._exceptions.warnings

    # -- memory ----------------------------------------------------------------------------------

    def alloc(self, size: int, *, executable: bool = False) -> int:
        """The address of ``size`` fresh zeroed bytes; executable memory is read-only for the guest.

        Fill it with :meth:`write`, give it back with :meth:`free`.
        """
        size = as_int(size, "size")
        address = self._alloc_code(size) if executable else self.machine.heap.alloc(size)
        self.machine.write(address, bytes(size))
        return address

    def free(self, address: int) -> None:
        """Give memory from :meth:`alloc` back."""
        address = as_int(address, "address")
        self._heap_of(address).free(address)

    def free_initmem(self) -> None:
        """Do as a kernel that has booted: ``__init`` functions can no longer be probed.

        Probes on them are GONE from now on; the memory itself stays as it is.
        """
        self.kprobes.free_initmem()

    # -- modules ---------------------------------------------------------------------------------

    def load_module(self, module: str | os.PathLike[str], *, init: bool = False) -> Module:
        """Load a kernel module, and before it the modules that it depends on.

        module : the path of a ``.ko`` (``.ko.xz``, ``.ko.zst``, ``.ko.gz``), or the name of one in
                 the Debian package, the ``lib/modules`` or the build tree that the kernel is in
        init   : call its init function, and those of what it depends on; most need a kernel that
                 has booted

        It is linked and patched as the kernel does. Its functions are symbols now, also as
        ``"module:function"``. Until :meth:`module_live` it is in the state COMING, with its init
        sections; with ``init`` it is LIVE at once, if that returned 0.

        Raises :class:`ImageError` for a file that is no module for this kernel, or needs symbols
        that nobody exports, :class:`UsageError` for one that is loaded, or whose init function
        fails (it is unloaded again), and what :meth:`call` does.
        """
        if not init:
            return self.modules.load(module)
        loaded = self.modules.load(module, self._init_module)
        self._init_module(loaded)
        return loaded

    def _init_module(self, module: Module) -> None:
        name = f"{module.name}:init_module"
        try:
            result = self.call(name) & _INT_MASK if name in self.symbols else 0
        except BaseException:
            self.modules.unload(module.name)
            raise
        if result >> 31:
            self.modules.unload(module.name)
            number = _INT_MASK + 1 - result
            what = errno_names.errorcode.get(number, str(number))
            raise UsageError(f"the init function of module {module.name} failed with -{what}")
        self.modules.live(module.name)

    def module_live(self, name: str) -> None:
        """Do as if the init function of a module had run: its init sections go away.

        Probes on its init functions are GONE from now on, and new ones refused (ENOENT).
        """
        self.modules.live(name)

    def unload_module(self, name: str) -> None:
        """Take a module out of memory; its exit function is not called.

        Its symbols vanish. Probes in it stay registered, but are GONE, also when it is loaded
        again. Raises :class:`UsageError` if another module depends on it.
        """
        self.modules.unload(name)

    def _heap_of(self, address: int) -> Heap:
        for heap in self._code_heaps:
            if address in heap:
                return heap
        return self.machine.heap

    def _alloc_code(self, size: int) -> int:
        for heap in self._code_heaps:
            if heap.fits(size):
                return heap.alloc(size)
        memory, size = self.machine.memory, max(_CODE_CHUNK, page_up(size))
        start = memory.find_gap(self._next_code, 1 << 64, size)
        region = memory.map_new(start, size, Prot.RX, "executable memory")
        self._next_code = region.end + PAGE
        self._code_heaps.append(Heap(region.start, region.end))
        return self._code_heaps[-1].alloc(size)

    # -- calling ---------------------------------------------------------------------------------

    def call(
        self,
        function: int | str | Symbol,
        *arguments: Any,
        signed: bool = False,
        timeout: float | None = 10.0,
        max_instructions: int = 0,
    ) -> int:
        """Call a guest function and return its 64-bit result.

        function  : its symbol, or its address
        arguments : integers (negative ones as two's complement), symbols (their address), ``None``
                    (NULL); ``str`` (UTF-8 with a trailing NUL), ``bytes`` and ``bytearray`` are
                    placed in guest memory for the time of the call and their address is passed; a
                    ``bytearray`` gets its content back afterwards
        signed    : give the result as a signed 64-bit number
        timeout   : seconds after which the call is abandoned (``None``: never)
        max_instructions : stop exactly there (0: no limit); counting makes a call 3-5 times slower

        May be used in a handler. Raises :class:`GuestFault`, :class:`GuestBug`,
        :class:`GuestTimeout`, :class:`GuestLimit`, and whatever a handler raises;
        :class:`UsageError` for a limit in a handler, where probes are hooks and the call around it
        has none.
        """
        target = code_address(function, self.symbols, self.machine)
        check_limits(timeout, max_instructions)
        if max_instructions:
            self._check_counting()
        heap = self.machine.heap
        with passed(arguments, self.machine, heap.alloc, heap.free) as values:
            result = self.machine.call(
                target, values, timeout=timeout, max_instructions=max_instructions
            )
        return as_result(result, signed=signed)

    def _check_counting(self) -> None:
        """To start counting, all translated code is dropped; a hook is called from within it."""
        machine = self.machine
        if machine.depth and self.kprobes.hooks is not None and not machine.engine.counting:
            raise UsageError(
                "the handler of a hook cannot limit a call unless the call around it is limited, "
                "too: give that one max_instructions, or this one a timeout"
            )
