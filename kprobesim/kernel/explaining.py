"""``Explaining``: the verbs that tell why something came out as it did."""

from __future__ import annotations

import errno as errno_names
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kprobesim.arch.architecture import architecture
from kprobesim.errors import UsageError
from kprobesim.image import KernelImage, Symbol
from kprobesim.kernel.arguments import code_address
from kprobesim.machine.system import System
from kprobesim.sizes import MASK32

if TYPE_CHECKING:
    import os

    from kprobesim.why.answer import Why
    from kprobesim.why.replay import Runs

__all__ = ["Explaining", "as_errno"]


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
        lines = open_source_lines(self.image, None if debug is None else Path(debug))
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
        raise UsageError("a booted kernel explains what its own tasks call: give run=")

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
        found = getattr(errno_names, name, None) if name.startswith("E") else None
        number = int(name) if name.isascii() and name.isdigit() else found or 0
    if not 0 < number <= 4095:
        raise UsageError(f"{errno!r} is no error: give a name such as EINVAL, or its number")
    return number
