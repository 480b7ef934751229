"""``instances/``: a folder that is made there records for itself (instance_mkdir(), 6.12)."""

from __future__ import annotations

import errno
from collections.abc import Iterable

from kprobesim.trace.files.array import KernelParts, array_files
from kprobesim.trace.files.node import Folder, Node, ReadOnly, Setting, Table
from kprobesim.trace.files.output import Buffer
from kprobesim.trace.files.refusal import refusal
from kprobesim.trace.instance import Instance
from kprobesim.trace.tracing import Tracing
from kprobesim.trace.triggers.by_array import TriggersByArray

__all__ = ["InstancesFolder"]

_NOP = "nop"


class InstancesFolder(Folder):
    """The folder.

    Args:
        tracing: The kernel's tracing.
        parts: What the files of all buffers need.
        triggers: The triggers of its events, also of an instance's.
    """

    def __init__(self, tracing: Tracing, parts: KernelParts, triggers: TriggersByArray) -> None:
        self._tracing, self._parts, self._triggers = tracing, parts, triggers
        self._folders: dict[str, tuple[Instance, Table]] = {}

    def names(self) -> Iterable[str]:
        """See :meth:`Folder.names`."""
        return list(self._tracing.instances)

    def find(self, name: str) -> Node | None:
        """See :meth:`Folder.find`."""
        instance = self._tracing.instances.get(name)
        if instance is None:
            return None
        known = self._folders.get(name)
        if known is None or known[0] is not instance:
            known = self._folders[name] = instance, self._make(instance)
        return known[1]

    def make(self, name: str) -> None:
        """See :meth:`Folder.make`; raises ``OSError`` (EEXIST)."""
        self._tracing.make_instance(name)

    def remove(self, name: str) -> None:
        """See :meth:`Folder.remove`; raises ``OSError`` (ENOENT)."""
        self._tracing.remove_instance(name)
        self._folders.pop(name, None)

    def _make(self, instance: Instance) -> Table:
        buffer = Buffer(instance)

        def choose(text: str) -> None:
            if text.strip() != _NOP:
                raise refusal(errno.EINVAL, "there are no tracers in instances here: choose nop")

        return Table(
            {
                **array_files(instance, buffer, self._triggers.of(instance), self._parts),
                "available_tracers": ReadOnly(lambda: f"{_NOP}\n"),
                "current_tracer": Setting(lambda: f"{_NOP}\n", choose),
            }
        )
