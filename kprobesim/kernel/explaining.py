"""``Explaining``: the verbs that tell why something came out as it did."""

from __future__ import annotations

import errno as errno_names
from abc import abstractmethod
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kprobesim.errors import UsageError
from kprobesim.image import KernelImage, Symbol
from kprobesim.kernel.arguments import as_int
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
        function: int | str | Symbol,
        *arguments: Any,
        errno: int | str | None = None,
        debug: str | os.PathLike[str] | None = None,
        timeout: float = 10.0,
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

        Args:
            function: Its symbol, or its address.
            *arguments: As for :meth:`Kernel.call`.
            errno: The error to explain: ``"EINVAL"`` or 22; another result is refused then.
            debug: The vmlinux with the kernel's debug information, or the package that has it, for
                source lines; by default the image's own file is looked into.
            timeout: Seconds of the host's time for each run.

        Raises:
            UsageError: It does not return, or not this error.
            ImageError: ``debug`` is of another build.

        Probes stay, so their handlers are called in each of the runs.
        """
        from kprobesim.functions.dwarf.source_lines import open_source_lines
        from kprobesim.image.loaded_image import LoadedImage
        from kprobesim.why.decode import Code
        from kprobesim.why.explain import explain

        wanted = None if errno is None else as_errno(errno)
        lines = open_source_lines(self.image, None if debug is None else Path(debug))
        machine, image = self.machine, self.image
        assert isinstance(image, LoadedImage)

        def check(returned: int) -> None:
            if wanted is not None and returned & MASK32 != -wanted & MASK32:
                from kprobesim.why.answer import result_text

                raise UsageError(f"it returned {result_text(returned)}, not -{errno}")

        name = function if isinstance(function, str) else getattr(function, "name", "")
        if not name:
            name = machine.symbolize(as_int(function, "function"))
        code = Code(machine.arch, machine.read_code)
        with closing(self._runs(function, arguments, timeout)) as runs:
            return explain(name, runs, code, image, machine.symbolize, lines, check=check)

    @abstractmethod
    def _runs(
        self, function: int | str | Symbol, arguments: tuple[Any, ...], timeout: float
    ) -> Runs:
        """Runs a function again and again."""


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
