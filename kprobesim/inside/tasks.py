"""The task that runs: what ``current`` is in the kernel, by the offsets that its BTF gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from kprobesim.errors import GuestMemoryError, ImageError
from kprobesim.hexrepr import HexRepr
from kprobesim.image import KernelImage
from kprobesim.machine.memory import HostAccess

__all__ = ["Task", "Tasks"]

_COMM = 16  # TASK_COMM_LEN


@dataclass(frozen=True, repr=False)
class Task(HexRepr):
    """A ``task_struct``: its ``address``, and what it said when it was looked at.

    ``pid`` is the thread's, ``tgid`` the process's; ``comm`` the name that the kernel keeps.
    """

    pid: int
    tgid: int
    comm: str
    address: int

    def __str__(self) -> str:
        return f"{self.comm}-{self.pid}"


class Tasks:
    """Reads tasks of the kernel ``image`` from ``memory``; BTF is read when first needed.

    ``find_current()`` gives the address of the running ``task_struct``, ``None`` if there is none.
    """

    def __init__(
        self, image: KernelImage, memory: HostAccess, find_current: Callable[[], int | None]
    ) -> None:
        self._image = image
        self._memory = memory
        self._find_current = find_current

    @cached_property
    def _layout(self) -> tuple[int, int, int, int, int] | None:
        """First byte and size of what is read at once, and where in it the three members are."""
        btf = self._image.btf
        if btf is None:
            return None
        members = [btf.offset("task_struct", name) for name in ("pid", "tgid", "comm")]
        pid, tgid, comm = members
        if pid is None or tgid is None or comm is None:
            return None
        start = min(pid, tgid, comm)
        end = max(pid + 4, tgid + 4, comm + _COMM)
        return start, end - start, pid - start, tgid - start, comm - start

    @property
    def are_known(self) -> bool:
        """Whether the image says how a ``task_struct`` looks."""
        return self._layout is not None

    def current(self) -> Task | None:
        """The running task; ``None`` as long as there is none, early in the boot.

        Raises :class:`ImageError` for a kernel whose structs are not known.
        """
        if self._layout is None:
            raise ImageError(
                self._image.path,
                "does not say how its task_struct looks: it was built without "
                "CONFIG_DEBUG_INFO_BTF",
            )
        address = self._find_current()
        return None if address is None else self.at(address)

    def at(self, address: int) -> Task | None:
        """The ``task_struct`` at ``address``; ``None`` if nothing is mapped there."""
        assert self._layout is not None
        start, size, pid, tgid, comm = self._layout
        try:
            data = self._memory.read(address + start, size)
        except GuestMemoryError:
            return None
        name = data[comm : comm + _COMM].partition(b"\0")[0].decode("utf-8", "replace")
        return Task(_int(data, pid), _int(data, tgid), name, address)


def _int(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little", signed=True)
