"""What was found out about this build of libunicorn, kept for the processes to come.

To find Unicorn's structs and slots takes 20 ms, and gives the same for the same library. So it is
kept in the user's cache, for the library's very file (its inode, size and times), with a checksum.
Addresses are kept as offsets from where the library lies. Who asks says how a fact is verified in
this process; one that is not sound is found out anew.
"""

from __future__ import annotations

import json
import logging
import os
from binascii import crc32
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from kprobesim.machine.unicorn.library import library
from kprobesim.user_cache import cache_directory

__all__ = ["learned", "recall", "remember"]

_log = logging.getLogger(__name__)

_VERSION = 1
"""Of what is kept, and of how it is found out."""


def learned(
    name: str, find: Callable[[], Any], is_sound: Callable[[Any], bool] = lambda fact: True
) -> Any:
    """A fact, plain data: as it is kept, or as ``find()`` gives it, which is kept then.

    Args:
        name: Which.
        find: Finds it out.
        is_sound: Whether one that was kept can be true in this process.
    """
    facts = _facts()
    if name in facts.known and is_sound(facts.known[name]):
        return facts.known[name]
    found = find()
    facts.keep(name, found)
    return found


def recall(name: str) -> Any:
    """A fact that is kept, if it is; who uses it verifies it."""
    return _facts().known.get(name)


def remember(name: str, fact: Any) -> None:
    """Keep a fact."""
    if recall(name) != fact:
        _facts().keep(name, fact)


class _Facts:
    """All facts about one file of a library, in the file ``path``, if anything is kept."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.known: dict[str, Any] = {}
        try:
            packed = b"" if path is None else path.read_bytes()
        except OSError:
            return
        if packed[:8] == b"%08x" % crc32(packed[8:]):
            self.known = json.loads(packed[8:])

    def keep(self, name: str, fact: Any) -> None:
        """Let later processes know, too; of two that write at once, one is lost."""
        self.known[name] = fact
        path = self._path
        if path is None:
            return
        content = json.dumps(self.known).encode()
        new = path.with_name(f".{os.urandom(8).hex()}.facts")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                new.write_bytes(b"%08x" % crc32(content) + content)
                new.replace(path)
            except BaseException:
                new.unlink(missing_ok=True)
                raise
        except OSError as error:
            _log.info("what was found out about Unicorn is not kept: %s", error)


@cache
def _facts() -> _Facts:
    folder = cache_directory()
    if folder is None:
        return _Facts(None)
    status = Path(library()._name).stat()
    file = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    which = crc32(repr((_VERSION, file)).encode())
    return _Facts(folder / f"unicorn-{which:08x}.facts")
