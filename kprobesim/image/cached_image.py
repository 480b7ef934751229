"""Images that were loaded once: the next time they come out of the cache."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from kprobesim.errors import SnapshotError
from kprobesim.image.cache import entry_beside, entry_for, keep_in, write_entry
from kprobesim.image.files.source import Buffer
from kprobesim.image.findings import Findings
from kprobesim.image.kernel_image import KernelImage
from kprobesim.image.state import pack_image, unpack_image
from kprobesim.snapshot.container import Container, read_container

__all__ = ["load_cached"]

_T = TypeVar("_T")

_log = logging.getLogger(__name__)


def load_cached(path: Path, data: Buffer, load: Callable[[], KernelImage]) -> KernelImage:
    """The image in the file ``path`` with the bytes ``data``: the kept one, or what ``load`` gives.

    What is found by searching through it is kept beside it.

    Raises:
        ImageError: As ``load`` does.
    """
    entry = entry_for(data, "image")
    if entry is None:
        return load()
    image = keep_in(
        entry,
        lambda container: unpack_image(container, None, path),
        load,
        lambda image: ({}, pack_image(image, None)),
    )
    image.findings = _findings(entry_beside(entry, "findings"))
    return image


def _findings(entry: Path) -> Findings:
    def read() -> Mapping[str, Any]:
        try:
            return read_container(entry).facts if entry.is_file() else {}
        except (SnapshotError, OSError) as error:
            _log.info("what was found is searched anew: %s", error)
            return {}

    def keep(
        name: str,
        read: Callable[[Container], _T],
        make: Callable[[], _T],
        pack: Callable[[_T], tuple[dict[str, Any], dict[str, bytes]]],
    ) -> _T:
        return keep_in(entry_beside(entry, name), read, make, pack)

    return Findings(read, lambda found: write_entry(entry, dict(found), {}), keep)
