"""The base of every error that leaves kprobesim, and the errors of files, symbols and probes.

They say what is wrong and what to do next. What goes wrong inside a guest is told by its heirs in
:mod:`kprobesim.machine.faults` and :mod:`kprobesim.boot.faults`. All of them cross a process pool.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Sequence
from typing import Any

from kprobesim.errno_names import errno_name

__all__ = [
    "AskingError",
    "BpfObjectError",
    "CatalogError",
    "DebugInfoError",
    "EngineError",
    "GuestError",
    "GuestMemoryError",
    "ImageError",
    "KprobeError",
    "KprobesimError",
    "MemberError",
    "OtherKernelError",
    "Reason",
    "SnapshotError",
    "SymbolError",
    "TypesError",
    "UsageError",
]


class KprobesimError(Exception):
    """Base of all errors of kprobesim: catch this one to catch them all.

    Errors can be pickled and copied, whatever their constructors take: they are put together again
    from what they hold, and nothing is constructed.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _put_together, (type(self), self.args), self.__dict__.copy()


def _put_together(kind: type[KprobesimError], args: tuple[Any, ...]) -> KprobesimError:
    """An error of that kind whose attributes are still to be set."""
    error = kind.__new__(kind, *args)
    if isinstance(error, OSError):
        OSError.__init__(error, *args)
    return error


class UsageError(KprobesimError, ValueError):
    """A call that makes no sense: wrong type, out of range, at the wrong time."""


class OtherKernelError(UsageError, AttributeError):
    """A verb that kernels of another kind have: those that boot, are called, or only read."""


class ScheduleError(KprobesimError, ValueError):
    """A schedule that cannot be run here: damaged, of another kernel, or left by the run."""


class EngineError(KprobesimError):
    """The CPU emulator refused something, or is not the one that kprobesim was written for."""


class ImageError(KprobesimError):
    """A file that is not a kernel image that kprobesim can load.

    ``path`` is the file, ``problem`` what is wrong with it.
    """

    def __init__(self, path: str | os.PathLike[str], problem: str) -> None:
        self.path = os.fspath(path)
        self.problem = problem
        super().__init__(f"{self.path}: {problem}")


class AskingError(KprobesimError):
    """A booted kernel cannot be asked where probes may be: why, and what to do."""


class DebugInfoError(KprobesimError, ValueError):
    """Debug information that is damaged, or in a form that is not known here."""


class BpfObjectError(KprobesimError):
    """A file that is not a compiled eBPF object, or one that no loader would take.

    ``path`` is the file, ``problem`` what is wrong with it.
    """

    def __init__(self, path: str | os.PathLike[str], problem: str) -> None:
        self.path = os.fspath(path)
        self.problem = problem
        super().__init__(f"{self.path}: {problem}")


class SnapshotError(KprobesimError):
    """A snapshot that cannot be read or written: damaged, cut short, foreign, of a newer version.

    ``path`` is the file, ``problem`` what is wrong with it.
    """

    def __init__(self, path: str | os.PathLike[str], problem: str) -> None:
        self.path = os.fspath(path)
        self.problem = problem
        super().__init__(f"{self.path}: {problem}")


class CatalogError(KprobesimError):
    """A catalogue that cannot be read or written: damaged, cut short, foreign, of a newer version.

    ``path`` is the file, ``problem`` what is wrong with it.
    """

    def __init__(self, path: str | os.PathLike[str], problem: str) -> None:
        self.path = os.fspath(path)
        self.problem = problem
        super().__init__(f"{self.path}: {problem}")


class TypesError(KprobesimError, ValueError):
    """BTF that is damaged or makes no sense.

    ``source`` says whose types they are (a file, a module), ``problem`` what is wrong with them.
    """

    def __init__(self, source: str, problem: str) -> None:
        self.source = source
        self.problem = problem
        super().__init__(f"{source}: {problem}")


class MemberError(KprobesimError, AttributeError):
    """A struct has no member of that name. ``type`` is its type in C, ``member`` what was asked."""

    def __init__(self, type: str, member: str, members: Sequence[str] = ()) -> None:
        self.type = type
        self.member = member
        self.members = tuple(members)
        super().__init__(f"a {type} has no member {member!r}")

    def __str__(self) -> str:
        import difflib  # most who ask for what is not there only try

        like = difflib.get_close_matches(self.member, self.members, n=5)
        hint = f"; it has {', '.join(like)}" if like else ""
        return f"a {self.type} has no member {self.member!r}{hint}"


class SymbolError(KprobesimError, LookupError):
    """A symbol name that is unknown or stands for several addresses.

    ``name`` is what was asked for; ``candidates`` the nearest names of an unknown symbol, or
    ``name@0xaddress`` texts of an ambiguous one.
    """

    def __init__(self, name: str, problem: str, candidates: Sequence[str] = ()) -> None:
        self.name = name
        self.candidates = tuple(candidates)
        super().__init__(problem)


class GuestMemoryError(KprobesimError):
    """The host asked for guest memory that is not mapped. ``address`` is the first bad byte."""

    def __init__(self, address: int, size: int, what: str) -> None:
        self.address = address
        self.size = size
        self.what = what
        super().__init__(
            f"cannot {what} {size} bytes of guest memory at {address:#x}: nothing is mapped there"
        )


class GuestError(KprobesimError):
    """Something went wrong inside the guest while it ran."""


class Reason(str, enum.Enum):
    """Which rule refused a probe. The value is stable and serialises as a plain string."""

    NEITHER_OR_BOTH = "neither-or-both-of-symbol-and-address"
    UNKNOWN_SYMBOL = "unknown-symbol"
    MODULE_NOT_LOADED = "module-not-loaded"
    AMBIGUOUS_SYMBOL = "ambiguous-symbol"
    NO_SYMBOL_AT_ADDRESS = "no-symbol-at-address"
    NOT_FUNCTION_ENTRY = "not-function-entry"
    NOT_TRACEABLE = "not-traceable"
    NOT_KERNEL_TEXT = "not-kernel-text"
    ALREADY_REGISTERED = "already-registered"
    NOT_REGISTERED = "not-registered"
    GONE = "gone"
    BLACKLISTED = "blacklisted"
    BUG_TABLE = "bug-table"
    JUMP_LABEL = "jump-label"
    STATIC_CALL = "static-call"
    FTRACE_SITE = "ftrace-site"
    NOT_INSTRUCTION_BOUNDARY = "not-instruction-boundary"
    UNALIGNED = "unaligned"
    UNDECODABLE = "undecodable"
    BREAKPOINT = "breakpoint"
    EXCEPTION_TABLE = "exception-table"
    UNPROBEABLE_INSTRUCTION = "unprobeable-instruction"
    FAR_BRANCH = "far-or-memory-indirect-branch"
    EXCLUSIVE_SEQUENCE = "exclusive-sequence"
    DISPLACEMENT = "displacement-out-of-range"
    NO_SLOT = "no-slot"
    CFI_PREAMBLE = "cfi-preamble"
    CFI_CHECK = "cfi-check"
    EMPTY_BATCH = "empty-batch"
    NOT_IN_THIS_KERNEL = "not-in-this-kernel"
    DATA_SIZE = "data-size-too-big"
    ANOTHER_JPROBE = "another-jprobe"
    NO_JPROBES = "no-jprobes-in-this-kernel"
    NOT_ERROR_INJECTABLE = "not-error-injectable"
    UNACCEPTABLE_VALUE = "unacceptable-return-value"
    ALREADY_INJECTED = "already-injected"

    def __str__(self) -> str:
        return self.value


class KprobeError(KprobesimError, OSError):
    """A probe that was refused, with the kernel's errno.

    ``errno`` is positive, as in any ``OSError``; ``symbol``, ``address`` (``None`` where unknown)
    and ``reason`` say what was asked and which rule refused it.
    """

    def __init__(
        self,
        errno: int,
        reason: Reason,
        message: str,
        *,
        symbol: str | None = None,
        address: int | None = None,
    ) -> None:
        OSError.__init__(self, errno, message)
        self.symbol = symbol
        self.address = address
        self.reason = reason

    def __str__(self) -> str:
        name = errno_name(self.errno)
        return f"{self.strerror} [-{name}, {self.reason}]"

    def as_dict(self) -> dict[str, object]:
        """The refusal as plain data, for ``--json`` and logs."""
        return {
            "errno": self.errno,
            "reason": self.reason.value,
            "symbol": self.symbol,
            "address": self.address,
            "message": self.strerror,
        }
