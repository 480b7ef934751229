"""``kprobes/``: what debugfs shows of all probes of a kernel (kernel/kprobes.c, 6.12)."""

from __future__ import annotations

from kprobesim.kprobes.manager import KprobesManager
from kprobesim.trace.files.node import File, ReadOnly, Setting, Table
from kprobesim.trace.files.numbers import bool_of

__all__ = ["kprobes_folder"]


class _Private(ReadOnly):
    mode = 0o400


class _Enabled(Setting):
    mode = 0o600


def kprobes_folder(kprobes: KprobesManager) -> Table:
    """The folder with ``list``, ``blacklist`` and ``enabled``."""

    def switch(text: str) -> None:
        (kprobes.arm_all_kprobes if bool_of(text) else kprobes.disarm_all_kprobes)()

    nodes: dict[str, File] = {
        "blacklist": _Private(kprobes.blacklist),
        "enabled": _Enabled(lambda: f"{int(not kprobes.enabled.all_disarmed)}\n", switch),
        "list": _Private(kprobes.list),
    }
    return Table(nodes)
