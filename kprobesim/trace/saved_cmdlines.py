"""``SavedCmdlines``: the names of tasks, which entries know by number only.

The kernel saves the names of the task that leaves the CPU and of the one that comes, at the first
switch behind an entry of the same CPU (kernel/trace/trace.c, ``trace_taskinfo_save``). So an entry
is shown with the name that its task had then, not with that of the hit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kprobesim.image import KernelImage
from kprobesim.inside.tasks import TASK_COMM_LEN, Tasks
from kprobesim.kprobes.task_functions import task_functions
from kprobesim.programs.appending import Append
from kprobesim.programs.context import ids_of
from kprobesim.programs.fault import FAULT
from kprobesim.programs.leaves import Argument, Fact
from kprobesim.programs.planting import Programs
from kprobesim.programs.program import Program
from kprobesim.programs.stores.stream import Stream

__all__ = ["SavedCmdlines"]

_IDLE, _UNKNOWN = "<idle>", "<...>"
_FIRST = 128  # SAVED_CMDLINES_DEFAULT
_HEAD = 131_096  # bytes of struct saved_cmdlines_buffer, before its names
_ENTRY, _ENTRY_BEFORE_5_15 = TASK_COMM_LEN + 4, TASK_COMM_LEN  # with the number of a task, or not
_ONE_ALLOCATION = 5, 15


class SavedCmdlines:
    """Names by number.

    Attributes:
        number: Of the entries of a stream in which names are; -1: there are none.
        most: How many names are kept; the oldest is given up for a new one.
        keeps_tgids: Whether the process of each task is kept, too.
    """

    def __init__(
        self, programs: Programs, tasks: Tasks, image: KernelImage, stream: Stream
    ) -> None:
        """Nobody is known."""
        self.number = -1
        self._entry = _ENTRY_BEFORE_5_15 if image.version < _ONE_ALLOCATION else _ENTRY
        self.make_room(_FIRST)
        self.keeps_tgids = False
        self._names: dict[int, str] = {}
        self._tgids: dict[int, int] = {}
        self._programs, self._tasks, self._image = programs, tasks, image
        self._stream = stream
        self._follows = False

    def make_room(self, number: int) -> None:
        """Keep ``number`` names, and what else fits: whole powers of two of bytes are allocated."""
        size = 1 << (_HEAD + number * self._entry - 1).bit_length()
        self.most = (size - _HEAD) // self._entry

    def follow(self, wanted: bool) -> None:
        """Save names at switches from now on, where the kernel tells of them."""
        if wanted and not self._follows and self._tasks.are_known:
            places = task_functions(self._image)
            if places is not None:
                self._programs.per_cpu(self._stream)
                (outlet,) = self._programs.watch(places[1], self._program())
                self.number = outlet.number
        self._follows = self._follows or wanted

    def share(self, other: SavedCmdlines) -> None:
        """Know what ``other`` knows, and tell it."""
        self._names, self._tgids = other._names, other._tgids

    def _program(self) -> Program:
        """At ``finish_task_switch(prev)``: the task that has come, and ``prev``."""
        offsets, prev = self._tasks.offsets, Argument(0)
        values = (
            Fact("ids"),
            Fact("comm"),
            prev.deref(offsets["pid"]).u32,
            prev.deref(offsets["tgid"]).u32,
            (prev + offsets["comm"]).string.upto(TASK_COMM_LEN),
        )
        return Program((Append(values, self._stream, after_others=True),))

    def keep(self, values: Sequence[Any]) -> None:
        """What that program has recorded."""
        ids, name, pid, tgid, other = values
        self._save(*ids_of(ids), name)
        self._save(0 if pid is FAULT else pid, 0 if tgid is FAULT else tgid, other)

    def _save(self, pid: int, tgid: int, name: Any) -> None:
        if not pid or name is FAULT:
            return
        if pid not in self._names and len(self._names) >= self.most:
            del self._names[next(iter(self._names))]
        self._names[pid] = name.decode("utf-8", "backslashreplace")
        if self.keeps_tgids:
            self._tgids[pid] = tgid

    def __getitem__(self, pid: int) -> str:
        """The name of task ``pid``; that of one which runs and is not saved yet is looked up."""
        name = _IDLE if not pid else self._names.get(pid)
        if name is None:
            task = self._tasks.current() if self._tasks.are_known else None
            name = task.comm if task is not None and task.pid == pid else _UNKNOWN
        return name

    def get(self, pid: int, otherwise: str) -> str:
        """The name of task ``pid`` as it was saved; ``otherwise``, if it was not."""
        return self._names.get(pid, otherwise)

    def know(self, text: str) -> None:
        """Save what :meth:`text` has given."""
        for line in text.splitlines():
            pid, _, name = line.partition(" ")
            self._names[int(pid)] = name

    def text(self) -> str:
        """The text of the file ``saved_cmdlines``."""
        return "".join(f"{pid} {name}\n" for pid, name in self._names.items())

    def tgids(self) -> str:
        """The text of the file ``saved_tgids``."""
        return "".join(f"{pid} {tgid}\n" for pid, tgid in sorted(self._tgids.items()))
