"""``CalledKernel``: a kernel image in memory, whose functions are called and probed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from kprobesim.errno_names import errno_name
from kprobesim.errors import UsageError
from kprobesim.image import KernelImage, Symbol
from kprobesim.image.loaded_image import LoadedImage
from kprobesim.inside.tasks import Task, Tasks
from kprobesim.kernel.arguments import (
    as_int,
    as_number,
    check_limits,
    code_address,
    give_back,
    pass_arguments,
)
from kprobesim.kernel.base import Kernel
from kprobesim.kernel.called_forks import CalledForks
from kprobesim.kernel.called_memory import CalledMemory
from kprobesim.kernel.modules import Module, Modules
from kprobesim.kernel.racing import Racing
from kprobesim.kprobes.arch_kprobes import Stepping
from kprobesim.kprobes.arming.pages import MappedPages
from kprobesim.kprobes.arming.protocol import HowToArm, KernelArming
from kprobesim.kprobes.manager import KprobesManager
from kprobesim.kprobes.model import Model
from kprobesim.kprobes.rules.own_code import own_model
from kprobesim.machine.fork_state import ForkState
from kprobesim.machine.machine import Machine
from kprobesim.machine.row_calls import RowCalls
from kprobesim.machine.turn import in_turn
from kprobesim.sizes import MASK32, signed64
from kprobesim.stack.unwind import Unwinder
from kprobesim.unbooted.compiler_checks import CompilerChecks
from kprobesim.unbooted.environment import (
    current_task,
    find_current_task,
    percpu_offset,
    set_up_environment,
)
from kprobesim.unbooted.not_set_up import NotSetUp
from kprobesim.unbooted.trap_tables import GuestWarning, KernelExceptions

if TYPE_CHECKING:  # read when first asked for
    from kprobesim.kernel.called_races import CalledRaces
    from kprobesim.kernel.called_runs import CalledRuns
    from kprobesim.types.btf import Btf

__all__ = ["CalledKernel"]


class CalledKernel(Kernel, Racing):
    """A kernel that never boots: its functions are called, one by one, and probed.

    It looks as a kernel does that has booted, as far as functions can tell that do not need tasks,
    devices or an allocator. Between two calls nothing runs. :meth:`stop` abandons the call that
    runs now, however deep: it raises :class:`CallStopped`.
    """

    machine: Machine

    def __init__(
        self,
        image: KernelImage,
        machine: Machine,
        stepping: Stepping | None = None,
        arming: KernelArming = "auto",
        model: Model | None = None,
        *,
        strict: bool = False,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        image = LoadedImage(image)
        as_kernel = model is not None or stepping is not None or strict
        default: HowToArm = "breakpoint" if as_kernel else "hook"
        model = model or own_model(image)
        stepping = stepping or model.of(image.arch).stepping
        self.stepping = stepping
        unwinder = Unwinder(machine, image)
        machine.names = unwinder
        self._exceptions = KernelExceptions(machine, image)
        machine.vcpu.traps.faults.append(self._exceptions.handle)
        set_up_environment(machine, image)
        machine.explainers.append(CompilerChecks(machine).explain)
        machine.explainers.append(NotSetUp(machine, image).explain)
        manager = KprobesManager(
            machine,
            image,
            stepping,
            default if arming == "auto" else arming,
            MappedPages(machine),
            model=model,
            strict=strict,
            jumps=arming != "hook",
        )
        super().__init__(image, machine, lambda: manager)
        self._modules = Modules(
            machine, image, manager.module_notifier, percpu_offset(image), progress
        )
        self._targets = image.code_by_name
        self._row_calls: RowCalls | None = None  # the last ones: to begin takes 0.3 ms
        self._memory = CalledMemory(machine)
        self._forks = CalledForks(machine, manager, self._modules, self._memory, self._exceptions)

    # -- about -----------------------------------------------------------------------------------

    @cached_property
    def tasks(self) -> Tasks:
        """Reads the ``task_struct`` objects in its memory."""
        machine, image = self.machine, self.image
        find_current = find_current_task(machine, image)
        place = find_current, current_task(image)
        return Tasks(image, machine.memory, *place, lambda: machine.vcpu.number)

    @property
    def current(self) -> Task | None:
        """What ``current`` is for the functions that are called: ``init_task``, "swapper".

        An ARM64 image without ``init_task`` has a task of zeroes instead.
        ``None`` where the image does not tell where that is. Raises :class:`ImageError` for a
        kernel built without CONFIG_DEBUG_INFO_BTF.
        """
        return self.tasks.current()

    @property
    def modules(self) -> Modules:
        """The modules that are loaded: :meth:`load_module`."""
        return self._modules

    @property
    def warnings(self) -> list[GuestWarning]:
        """The WARN()s that the guest has executed, the oldest first."""
        return self._exceptions.warnings

    def _module_types(self) -> Sequence[Btf]:
        return self._modules.types()

    def _vmcoreinfo(self) -> None:
        """It never comes so far."""

    def _percpu_offset(self) -> int:
        return percpu_offset(self.image)

    def stop(self) -> None:
        """Abandon the call that runs now, with all that are nested in it.

        The outermost :meth:`call` raises :class:`CallStopped`; where no call runs nothing happens.
        For handlers, for other threads, and for handlers of signals.
        """
        self.machine.stop()

    @in_turn
    def fork_state(self) -> ForkState:
        """See :meth:`Kernel.fork_state`."""
        return self._forks.fork(self.time)

    @in_turn
    def restore_state(self, state: ForkState | None = None) -> int:
        """See :meth:`Kernel.restore_state`.

        Modules that were loaded since are unloaded. Raises :class:`UsageError` if one that was
        loaded then is not, or is live only now.
        """
        return self._forks.restore(state)

    # -- memory ----------------------------------------------------------------------------------

    @in_turn
    def alloc(self, size: int, *, executable: bool = False, guard: bool = False) -> int:
        """See :meth:`Kernel.alloc`; executable memory lies in the area of the modules."""
        return self._memory.alloc(as_int(size, "size"), executable=executable, guard=guard)

    @in_turn
    def free(self, address: int) -> None:
        """See :meth:`Kernel.free`; what has been given back is poison."""
        self._memory.free(as_int(address, "address"))

    @in_turn
    def free_initmem(self) -> None:
        """Do as a kernel that has booted: ``__init`` functions can no longer be probed.

        Probes on them are GONE from now on; the memory itself stays as it is.
        """
        self.kprobes.init_memory.free()

    # -- modules ---------------------------------------------------------------------------------

    @in_turn
    def load_module(self, module: str | os.PathLike[str], *, init: bool = False) -> Module:
        """Load a kernel module, and before it the modules that it depends on.

        It is linked and patched as the kernel does. Its functions are symbols now, also as
        ``"module:function"``. Until :meth:`module_live` it is in the state COMING, with its init
        sections; with ``init`` it is LIVE at once, if that returned 0.

        Args:
            module: The path of a ``.ko`` (``.ko.xz``, ``.ko.zst``, ``.ko.gz``), or the name of one
                in the Debian package, the ``lib/modules`` or the build tree that the kernel is in.
            init: Call its init function, and those of what it depends on; most need a kernel that
                has booted.

        Returns:
            The module.

        Raises:
            ImageError: It is no module for this kernel, or needs symbols that nobody exports.
            UsageError: It is loaded already, or its init function fails (it is unloaded again).

        It raises what :meth:`call` does, too.
        """
        if not init:
            return self.modules.load(module)
        loaded = self.modules.load(module, self._init_module)
        self._init_module(loaded)
        return loaded

    def _init_module(self, module: Module) -> None:
        name = f"{module.name}:init_module"
        try:
            result = self.call(name) & MASK32 if name in self.symbols else 0
        except BaseException:
            self.modules.unload(module.name)
            raise
        if result >> 31:
            self.modules.unload(module.name)
            number = MASK32 + 1 - result
            what = errno_name(number)
            raise UsageError(f"the init function of module {module.name} failed with -{what}")
        self.modules.live(module.name)

    @in_turn
    def module_live(self, name: str) -> None:
        """Do as if the init function of a module had run: its init sections go away.

        Probes on its init functions are GONE from now on, and new ones refused (ENOENT).
        """
        self.modules.live(name)

    @in_turn
    def unload_module(self, name: str) -> None:
        """Take a module out of memory; its exit function is not called.

        Its symbols vanish. Probes in it stay registered, but are GONE, also when it is loaded
        again. Raises :class:`UsageError` if another module depends on it.
        """
        self.modules.unload(name)

    # -- calling ---------------------------------------------------------------------------------

    def call(
        self,
        function: int | str | Symbol,
        *arguments: Any,
        signed: bool = False,
        timeout: float | None = 10.0,
        max_instructions: int = 0,
        guard: bool | None = None,
    ) -> int:
        """See :meth:`Kernel.call`. The limit ``max_instructions`` is exact.

        Counting makes a call 3-5 times slower. May be used in a handler, but not with a limit where
        probes are hooks and the call around it has none. Raises whatever a handler raises, and
        :class:`CallStopped` after :meth:`stop`.
        """
        machine = self.machine
        target = self._targets.get(function) if type(function) is str else None
        if target is None:
            target = self._target(function)
        if max_instructions or timeout != 10.0:
            check_limits(timeout, max_instructions)
            if max_instructions:
                self._check_counting()
        turn, call = machine.turn, machine.call_in_turn
        turn.begin()
        try:
            values, lent = pass_arguments(arguments, self._memory, guard is not False)
            try:
                result = call(target, values, timeout, max_instructions)
            except BaseException:
                give_back(lent, self._memory, failed=True)
                raise
            if lent:
                give_back(lent, self._memory)
        finally:
            turn.end()
        return signed64(result) if signed else result

    def _call_rows(
        self,
        function: int | str | Symbol,
        rows: Sequence[Sequence[Any]],
        results: list[int],
        *,
        timeout: float | None,
        max_instructions: int,
        guard: bool | None,
    ) -> None:
        check_limits(timeout, max_instructions)
        target, calls = self._target(function), self._row_calls
        if calls is None or calls.target != target:
            self._row_calls = calls = RowCalls(self.machine, target, as_number)
        quick = guard is not False and not max_instructions and calls.are_possible()
        while len(results) < len(rows):
            if quick:
                calls.call(rows, len(results), timeout, results)
            if len(results) < len(rows):
                result = self.call(
                    function,
                    *rows[len(results)],
                    timeout=timeout,
                    max_instructions=max_instructions,
                    guard=guard,
                )
                results.append(result)

    def _runs(
        self, function: int | str | Symbol, arguments: tuple[Any, ...], timeout: float
    ) -> CalledRuns:
        from kprobesim.kernel.called_runs import CalledRuns

        self._target(function)
        return CalledRuns(self, function, arguments, self._memory, timeout)

    @cached_property
    def _races(self) -> CalledRaces:
        from kprobesim.kernel.called_races import CalledRaces

        return CalledRaces(self, self._memory)

    def _target(self, function: int | str | Symbol) -> int:
        """The address of a function, which is found at once from now on if it has a name."""
        address = code_address(function, self.symbols, self.machine)
        if isinstance(function, str):
            self._targets[function] = address
        return address

    def _check_counting(self) -> None:
        """To start counting, all translated code is dropped; a hook is called from within it."""
        machine = self.machine
        if machine.depth and len(self.kprobes.hooks) and not machine.engine.counting:
            raise UsageError(
                "the handler of a hook cannot limit a call unless the call around it is limited, "
                "too: give that one max_instructions, or this one a timeout"
            )
