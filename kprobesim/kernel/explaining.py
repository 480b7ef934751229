"""``Explaining``: the verbs that tell why something came out as it did."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from kprobesim.arch.architecture import architecture
from kprobesim.errno_names import errno_number
from kprobesim.errors import ImageError, UsageError
from kprobesim.image import KernelImage, Symbol
from kprobesim.kernel.arguments import as_int, code_address
from kprobesim.kernel.calls import Calls
from kprobesim.machine.system import System
from kprobesim.machine.turn import in_turn
from kprobesim.sizes import MASK32, MASK64

if TYPE_CHECKING:
    import os

    from kprobesim.kernel.base import Kernel
    from kprobesim.kernel.watchpoint import MemoryAccess, Watchpoint
    from kprobesim.trace.graph import CallGraph
    from kprobesim.trace.passing import Followed
    from kprobesim.typed.value import TypedValue
    from kprobesim.why.answer import Why
    from kprobesim.why.replay import Runs

__all__ = ["Explaining", "as_errno"]

_LINE_SECONDS = 20.0
"""The guest's seconds that a line may take; when it idles, they are over at once."""


class Explaining:
    """The verbs of :class:`~kprobesim.kernel.base.Kernel` that explain."""

    machine: System
    image: KernelImage

    def why(
        self,
        function: int | str | Symbol | None = None,
        *arguments: Any,
        run: str | None = None,
        errno: int | str | None = None,
        debug: str | os.PathLike[str] | None = None,
        timeout: float | None = None,
    ) -> Why:
        """Which branch made a function return what it returns.

        The function is called, and every instruction noted; the returned value is followed back to
        where it was made, and the last branch is looked for that could have led elsewhere. Then it
        is called once more from the same state, goes the other way there, and the answer tells what
        it would have returned. In the end the guest is as it was before.

        >>> print(k.why("kstrtoint", "12x", 10, k.alloc(4)))
        kstrtoint returned -22 (-EINVAL)
        decided in _kstrtoull
          ...
        >>> print(k.why("openat", run="cat /nowhere"))
        openat returned -2 (-ENOENT)
          ...

        Args:
            function: Its symbol, or its address, or the name of a system call; with ``run`` it may
                be left out: any system call then.
            *arguments: As for :meth:`Kernel.call`; none with ``run``.
            run: A line that a booted guest's shell, which waits on the console, is to do: the
                first call of the function that fails is explained.
            errno: The error to explain: ``"EINVAL"`` or 22; another result is refused, or with
                ``run`` passed over.
            debug: The vmlinux with the kernel's debug information, or the package that has it, for
                source lines; by default the image's own file is looked into.
            timeout: Seconds of the host's time for each run; by default 10, and 60 with ``run``.

        Raises:
            UsageError: It does not return, or not this error, or is not called.
            ImageError: ``debug`` is of another build.

        Probes stay, so their handlers are called in each of the runs.
        """
        from kprobesim.functions.dwarf.source_lines import open_source_lines
        from kprobesim.why.decode import Code
        from kprobesim.why.explain import explain

        wanted = None if errno is None else as_errno(errno)
        lines = open_source_lines(self.image, debug)
        machine, image = self.machine, self.image

        def check(returned: int) -> None:
            if wanted is not None and returned & MASK32 != -wanted & MASK32:
                from kprobesim.why.answer import result_text

                raise UsageError(f"it returned {result_text(returned)}, not -{errno}")

        if run is None:
            if function is None:
                raise UsageError("name the function that is to be called, or give run=")
            runs = self._runs(function, arguments, timeout or 10.0)
        else:
            if arguments:
                raise UsageError("arguments are for a call of ours: leave them out with run=")
            runs = self._shell_runs(self._functions_meant(function), run, wanted, timeout or 60.0)
        code = Code(machine.arch, machine.read_code)
        with closing(runs):
            return explain(runs, code, image, machine.symbolize, lines, check=check)

    def graph(
        self,
        function: int | str | Symbol,
        *arguments: Any,
        run: str | Callable[[], object] | None = None,
        most: int = 1_000_000,
        deepest: int = 1000,
        ftrace: bool = False,
        timeout: float | None = 60.0,
    ) -> CallGraph:
        """What a function calls, and what those call, with times: function_graph's text.

        >>> print(k.graph("kstrtoint", "12", 10, k.alloc(4)))
        # tracer: function_graph
        ...
         0)               |  kstrtoint() {
         0)               |    kstrtoll() {

        All functions with a symbol are shown, also those that ftrace cannot trace. Times are the
        guest's own: a block of instructions is 8 ns.

        Args:
            function: Its symbol, or its address, or the name of a system call.
            *arguments: As for :meth:`Kernel.call`, which is what happens then; none with ``run``.
            run: What calls the function instead: a line for a booted guest's shell, or a function
                of Python's that lets the guest run. Each call is recorded, of one task at a time.
            most: How many calls are kept.
            deepest: How many calls inside of each other are.
            ftrace: Show only functions that ftrace can trace, as the guest's own tracer does.
            timeout: Seconds of the host's time.

        Returns:
            The calls; each is iterated over in the order of their beginnings.

        Raises:
            UsageError: ``function`` is none, or there are arguments beside ``run``.

        It raises what :meth:`Kernel.call` or the run does, too.
        """
        from kprobesim.trace.graph import record_calls

        if run is not None and arguments:
            raise UsageError("arguments are for a call of ours: leave them out with run=")
        roots = self._functions_meant(function)
        going = run
        if going is None:
            going = partial(cast(Calls, self).call, function, *arguments, timeout=timeout)
        elif isinstance(going, str):
            going = partial(self._do_line, going, timeout)
        sites = self.image.ftrace_sites if ftrace else None
        return record_calls(
            self.machine,
            roots,
            self.image.symbols,
            going,
            most=most,
            deepest=deepest,
            sites=sites,
        )

    @in_turn
    def watch(
        self,
        address: int | str | Symbol | TypedValue,
        size: int = 0,
        *,
        reads: bool = False,
        writes: bool = True,
        name: str = "",
        most: int = 100_000,
        callback: Callable[[MemoryAccess], object] | None = None,
    ) -> Watchpoint:
        """Note who writes some bytes of memory, and who reads them; as many at a time as you like.

        The instruction, the value before and after, the task and the time of each access are
        exact, also through other mappings of the same memory. What devices and the host write is
        not noted. While anything is watched each store of the guest's takes a slower path.

        >>> with k.watch("jiffies", name="the clock") as watch:
        ...     k.run(seconds=0.1)
        >>> print(watch)
        do_timer+0x1a/0x20 [swapper/0-0] writes 8 bytes at 0xffff...: 0xfffedb08 -> 0xfffedb09

        Args:
            address: Where they are: a number, a variable's name or symbol, or a typed value, as
                ``k.variable("init_task").comm``.
            size: How many; by default what the typed value has, or 8.
            reads: Whether reads are noted.
            writes: Whether writes are.
            name: What it is called, by default the variable's name.
            most: How many accesses are kept; all are counted.
            callback: Is called before each access, with the :class:`MemoryAccess`; it may read
                memory and registers, and must not let the guest stop.

        Returns:
            The accesses so far; it ends with a ``with`` block, or by ``end()``.

        Raises:
            SymbolError: There is no such variable.
            GuestMemoryError: Nothing is mapped there.
            UsageError: ``size`` is negative, or nothing is to be noted.
        """
        from kprobesim.kernel.watchpoint import Watchpoint

        called, where, whole = self._object(address)
        return Watchpoint(
            self.machine,
            name or called or f"{where:#x}",
            where,
            size or whole or 8,
            reads=reads,
            writes=writes,
            most=most,
            callback=callback,
            current=self._who_runs,
        )

    @in_turn
    def follow(
        self, address: int | str | Symbol, size: int = 1, *, most: int = 100_000
    ) -> Followed:
        """Note each function that gets a pointer to an object as an argument: where it goes.

        >>> with k.follow(buffer) as followed:
        ...     k.call("do_sys_open", 0, buffer, 0, 0)
        >>> print(followed)
        do_sys_open(argument 2 = 0xffff...) from ...

        Arguments in registers are looked at, of each function with a symbol, when it begins; a
        register that still holds the pointer by chance counts, too. Each block of the guest's takes
        half a microsecond more meanwhile.

        Args:
            address: Where the object is, as for :meth:`watch`.
            size: Pointers into so many bytes count; 1: only that to the object itself.
            most: How many are kept; all are counted.

        Returns:
            What happened so far; it ends with a ``with`` block, or by ``end()``.

        Raises:
            SymbolError: There is no such variable.
            UsageError: ``size`` is not positive.
        """
        from kprobesim.trace.passing import Followed

        if size <= 0:
            raise UsageError(f"an object of {size} bytes cannot be followed")
        _, where, _ = self._object(address)
        return Followed(self.machine, self.image.symbols, where, size, most, self._who_runs)

    def _object(self, what: int | str | Symbol | TypedValue) -> tuple[str, int, int]:
        """The name, the address and the size of a variable or a field; "" and 0 for a number."""
        from kprobesim.typed.value import TypedValue

        if isinstance(what, str):
            symbol = self.image.symbols.get(what)
            what = cast("Kernel", self).variable(what) if symbol is None else symbol
        if isinstance(what, Symbol):
            return what.name, what.address, 0
        if isinstance(what, TypedValue):
            if what.address_ is None:
                raise UsageError(f"{what!r} is nowhere in memory: give a variable or a field")
            return "", what.address_, what.type_.size or 0
        return "", as_int(what, "address") & MASK64, 0

    def _who_runs(self) -> tuple[int | None, str | None]:
        """The pid and the name of the current task, where they can be known."""
        try:
            task = cast("Kernel", self).current
        except ImageError:
            task = None
        return (None, None) if task is None else (task.pid, task.comm)

    def _do_line(self, line: str, timeout: float | None) -> None:
        """Let a booted guest's shell do a line."""
        from kprobesim.kernel.booted import BootedKernel

        if not isinstance(self, BootedKernel):
            raise UsageError("run= is for a guest that has booted to a shell: see Kernel.resume()")
        self.console.send(line + "\n")
        self.run(seconds=_LINE_SECONDS, timeout=timeout)

    def _functions_meant(self, function: int | str | Symbol | None) -> list[int]:
        """The addresses of a function, of a system call, or of all system calls."""
        prefix = architecture(self.machine.arch).syscall_prefix
        symbols = self.image.symbols
        if function is None:
            found = symbols.matching(f"{prefix}*")
            if not found:
                raise UsageError("this kernel names no functions of system calls: name one")
            return sorted({symbol.address for symbol in found})
        if isinstance(function, str) and prefix + function in symbols:
            function = prefix + function
        return [code_address(function, symbols, self.machine)]

    def _runs(
        self, function: int | str | Symbol, arguments: tuple[Any, ...], timeout: float
    ) -> Runs:
        """Calls a function again and again."""
        from kprobesim.kernel.booted import BootedKernel
        from kprobesim.kernel.booted_runs import BootedCalls

        assert isinstance(self, BootedKernel)  # the other kind has a way of its own
        return BootedCalls(self, function, arguments, timeout)

    def _shell_runs(
        self, functions: list[int], line: str, errno: int | None, timeout: float
    ) -> Runs:
        """Lets a booted guest call one of them again and again."""
        from kprobesim.kernel.booted import BootedKernel
        from kprobesim.kernel.booted_runs import BootedRuns

        if not isinstance(self, BootedKernel):
            raise UsageError("run= is for a guest that has booted to a shell: see Kernel.resume()")
        return BootedRuns(self, functions, line, errno, timeout)


def as_errno(errno: int | str) -> int:
    """``"EINVAL"``, ``"-EINVAL"``, 22 or -22 as 22; raises :class:`UsageError`."""
    if isinstance(errno, int):
        number = abs(errno)
    else:
        name = errno.strip().lstrip("-").upper()
        found = errno_number(name)
        number = int(name) if name.isascii() and name.isdigit() else found or 0
    if not 0 < number <= 4095:
        raise UsageError(f"{errno!r} is no error: give a name such as EINVAL, or its number")
    return number
