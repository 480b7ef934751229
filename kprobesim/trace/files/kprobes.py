"""``kprobes/``: what debugfs shows of all probes of a kernel (kernel/kprobes.c, 6.12)."""

from __future__ import annotations

from kprobesim.kprobes.manager import KprobesManager
from kprobesim.trace.files.node import File, ReadOnly, Setting, Table
from kprobesim.trace.files.numbers import bool_of, letter_of

__all__ = ["kprobes_folder"]

_HELPER = 5, 16  # write_enabled_file_bool() calls kstrtobool_from_user()


class _Private(ReadOnly):
    mode = 0o400


class _Enabled(Setting):
    mode = 0o600


def kprobes_folder(kprobes: KprobesManager, version: tuple[int, ...]) -> Table:
    """The folder with ``list``, ``blacklist`` and ``enabled``, of a kernel of that ``version``."""
    read = bool_of if version >= _HELPER else letter_of

    def switch(text: str) -> None:
        (kprobes.arm_all_kprobes if read(text) else kprobes.disarm_all_kprobes)()

    nodes: dict[str, File] = {
        "blacklist": _Private(kprobes.blacklist),
        "enabled": _Enabled(lambda: f"{int(not kprobes.enabled.all_disarmed)}\n", switch),
        "list": _Private(kprobes.list),
    }
    return Table(nodes)
