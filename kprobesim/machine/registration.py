"""``Registration``: what one gets who asks to be called, or plants a probe."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

__all__ = ["Registration"]

_R = TypeVar("_R", bound="Registration")


class Registration:
    """Something that was registered, until :meth:`remove`; a context manager, too.

    >>> with k.register_kretprobe(rp):
    ...     k.call("strlen", "abc")

    Attributes:
        what: What was registered: the probe, the probes, or the function to be called.
    """

    def __init__(self, what: object, remove: Callable[[], object]) -> None:
        """Hand out the handle.

        Args:
            what: What has just been registered.
            remove: Undoes that; it is called at most once, and must bear that it is undone already.
        """
        self.what = what
        self._remove: Callable[[], object] | None = remove

    def remove(self) -> None:
        """Undo the registration; once more does nothing, nor does it if it was undone otherwise."""
        if self._remove is not None:
            self._remove()  # which may be refused, while another thread uses the guest
            self._remove = None

    def __call__(self) -> None:
        """As :meth:`remove`."""
        self.remove()

    def __enter__(self: _R) -> _R:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()

    def __repr__(self) -> str:
        state = "removed" if self._remove is None else "of"
        return f"<{type(self).__name__} {state} {self.what!r}>"
