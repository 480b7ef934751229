"""Which inner calls of a recorded run failed, the first one first."""

from __future__ import annotations

import errno as errno_names
from dataclasses import dataclass

from kprobesim.errno_names import errno_name
from kprobesim.errors import TypesError
from kprobesim.image import KernelImage
from kprobesim.types.base import Pointer
from kprobesim.types.functions import Function
from kprobesim.types.scalars import Int
from kprobesim.why.frames import Frame, Frames
from kprobesim.why.recording import Recording
from kprobesim.why.slicing import trace_back

__all__ = ["FailedCall", "as_error", "errno_text", "failed_calls"]

_MAX_ERRNO = 4095  # linux/err.h
_UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class FailedCall:
    """A call that returned an error.

    Attributes:
        function: What was called.
        errno: The error, positive.
        caller: Who called it, as ``function+offset``.
        depth: How many calls it is below the function that was asked about.
    """

    function: str
    errno: int
    caller: str
    depth: int

    def __str__(self) -> str:
        return f"{self.function} returned {errno_text(-self.errno)}, called by {self.caller}"

    def as_dict(self) -> dict[str, object]:
        """As plain data, for JSON."""
        return {
            "function": self.function,
            "errno": errno_name(self.errno),
            "caller": self.caller,
            "depth": self.depth,
        }


def errno_text(value: int) -> str:
    """``-EINVAL``, or the number."""
    return f"-{errno_name(-value)}"


def as_error(value: int, size: int) -> int | None:
    """The errno in a returned value of ``size`` bytes, positive; ``None`` if it is no error."""
    bits = 8 * size
    value &= (1 << bits) - 1
    error = (1 << bits) - value
    return error if 0 < error <= _MAX_ERRNO else None


def failed_calls(recording: Recording, frames: Frames, image: KernelImage) -> list[FailedCall]:
    """All inner calls that returned an error, in the order of their returns.

    What was computed is none: a comparison gives -1, too. Neither is -1 that the caller does not
    pass on as an error: NUMA_NO_NODE is that, and others.
    """
    sizes: dict[str, int] = {}
    ended = [
        f for f in frames.all[1:] if f.exit >= 0 and not f.exception and f.exit + 1 <= recording.end
    ]
    found: list[FailedCall] = []
    for frame in sorted(ended, key=lambda frame: (frame.exit, -frame.number)):
        size = sizes.get(frame.function)
        if size is None:
            size = sizes[frame.function] = _error_size(frame.function, image)
        if not size:
            continue
        value = recording.register(frame.exit + 1, recording.result_number)
        error = as_error(value, 8) if size == _UNKNOWN else as_error(value, size)
        if error is None and size == _UNKNOWN and value >> 32 == 0:
            error = as_error(value, 4)
        if error is None or _is_passed_on(frame) or frame.is_thunk:
            continue
        if error == errno_names.EPERM and not _fails(frame.parent, recording):
            continue
        location = "register", recording.result_number, 4
        if trace_back(recording, frame.exit + 1, location).how not in ("flags", "result"):
            found.append(_failed(frame, error, recording, frames))
    return found


def _fails(frame: Frame | None, recording: Recording) -> bool:
    if frame is None or not 0 <= frame.exit < recording.end:
        return False
    value = recording.register(frame.exit + 1, recording.result_number)
    return as_error(value, 4) is not None


def _is_passed_on(frame: Frame) -> bool:
    """Whether it returned for itself what it jumped to, which is told already."""
    return any(child.tail for child in frame.children if child.exit == frame.exit)


def _failed(frame: Frame, error: int, recording: Recording, frames: Frames) -> FailedCall:
    called, depth, caller = frame.caller, 0, ""
    if called is not None:
        caller = frames.place(recording.address(called[1]))
    while called is not None:
        depth, called = depth + 1, called[0].caller
    return FailedCall(frame.function, error, caller, depth)


def _error_size(function: str, image: KernelImage) -> int:
    """How many bytes of what it returns may be an error; 0: it returns none; or unknown."""
    btf = image.btf
    name = function.split(".")[0]
    if btf is None:
        return _UNKNOWN
    try:
        functions = btf.named(name, Function)
        if not functions:
            return _UNKNOWN
        returned = functions[0].returns.stripped
        if isinstance(returned, Pointer):
            return 8
        if not isinstance(returned, Int) or not returned.is_signed:
            return 0
        return returned.size if returned.size in (4, 8) else 0
    except TypesError:
        return _UNKNOWN
