"""The task that runs: what ``current`` is in the kernel, by the offsets that its BTF gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

from kprobesim.errors import GuestMemoryError, ImageError
from kprobesim.hexrepr import HexRepr
from kprobesim.image import KernelImage
from kprobesim.late_dataclasses import dataclass
from kprobesim.machine.current_task import CurrentTask
from kprobesim.machine.memory import HostAccess

__all__ = ["TASK_COMM_LEN", "Task", "Tasks"]

_MEMBERS = ("pid", "tgid", "comm")
TASK_COMM_LEN = 16
"""Bytes of a task's name, its NUL among them (include/linux/sched.h)."""


@dataclass(frozen=True, repr=False)
class Task(HexRepr):
    """A ``task_struct``: its ``address``, and what it said when it was looked at.

    ``pid`` is the thread's, ``tgid`` the process's; ``comm`` the name that the kernel keeps;
    ``cpu`` the number of the CPU that it runs on, or ran on last.
    """

    pid: int
    tgid: int
    comm: str
    address: int
    cpu: int = 0

    def __str__(self) -> str:
        return f"{self.comm}-{self.pid}"


class Tasks:
    """Reads tasks of the kernel ``image`` from ``memory``; BTF is read when first needed.

    ``find_current()`` gives the address of the running ``task_struct``, ``None`` if there is none;
    ``place`` is what leads to it while the kernel runs, and ``number()`` says on which CPU.
    """

    def __init__(
        self,
        image: KernelImage,
        memory: HostAccess,
        find_current: Callable[[], int | None],
        place: CurrentTask,
        number: Callable[[], int],
    ) -> None:
        self._image = image
        self._memory = memory
        self._find_current = find_current
        self.place = place
        self._number = number

    @cached_property
    def _layout(self) -> tuple[int, int, int, int, int] | None:
        """First byte and size of what is read at once, and where in it the three members are."""
        btf = self._image.btf
        if btf is None:
            return None
        members = [btf.offset("task_struct", name) for name in _MEMBERS]
        pid, tgid, comm = members
        if pid is None or tgid is None or comm is None:
            return None
        start = min(pid, tgid, comm)
        end = max(pid + 4, tgid + 4, comm + TASK_COMM_LEN)
        return start, end - start, pid - start, tgid - start, comm - start

    @property
    def are_known(self) -> bool:
        """Whether the image says how a ``task_struct`` looks."""
        return self._layout is not None

    @property
    def offsets(self) -> Mapping[str, int]:
        """Of "pid", "tgid" and "comm" in a ``task_struct``.

        Raises:
            ImageError: The structs of the kernel are not known.
        """
        start, _, *members = self._known()
        return dict(zip(_MEMBERS, (start + member for member in members), strict=True))

    def _known(self) -> tuple[int, int, int, int, int]:
        if self._layout is None:
            raise ImageError(
                self._image.path,
                "does not say how its task_struct looks: it was built without "
                "CONFIG_DEBUG_INFO_BTF",
            )
        return self._layout

    def current(self) -> Task | None:
        """The running task; ``None`` as long as there is none, early in the boot.

        Raises :class:`ImageError` for a kernel whose structs are not known.
        """
        self._known()
        address = self._find_current()
        return None if address is None else self.at(address, self._number())

    @cached_property
    def _cpu_at(self) -> int | None:
        """Where in a ``task_struct`` its CPU is: since 5.16 in its ``thread_info``."""
        btf = self._image.btf
        if btf is None:
            return None
        at = btf.offset("task_struct", "thread_info.cpu")
        return btf.offset("task_struct", "cpu") if at is None else at

    def at(self, address: int, cpu: int | None = None) -> Task | None:
        """The ``task_struct`` at ``address``; ``None`` if nothing is mapped there.

        Args:
            address: A number.
            cpu: Which one it runs on, if that is known.
        """
        assert self._layout is not None
        start, size, pid, tgid, comm = self._layout
        try:
            data = self._memory.read(address + start, size)
            if cpu is None:
                cpu = 0 if self._cpu_at is None else self._memory.read_u32(address + self._cpu_at)
        except GuestMemoryError:
            return None
        name = data[comm : comm + TASK_COMM_LEN].partition(b"\0")[0].decode("utf-8", "replace")
        return Task(_int(data, pid), _int(data, tgid), name, address, cpu)


def _int(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little", signed=True)
