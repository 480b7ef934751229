"""A booted kernel in one file, and back: what the rooms below know of it, put together.

Sections: ``machine`` (CPU, devices, clock and console, as plain data), ``ram`` and ``pages`` (the
guest's memory), ``image`` and ``symbols/...`` (the kernel, so that the file stands alone) and
``probes``. Everything is checked before a CPU is touched.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kprobesim.boot.board import Board
from kprobesim.boot.boards import board_class
from kprobesim.boot.host_time import CLOCKS
from kprobesim.errors import SnapshotError, UsageError
from kprobesim.image import KernelImage, load_image
from kprobesim.image.state import identity, pack_image, page_reader, unpack_image
from kprobesim.kprobes.manager import KprobesManager
from kprobesim.kprobes.state import check_probes, save_probes
from kprobesim.machine.memory import PAGE
from kprobesim.snapshot.container import Container, read_container, write_container
from kprobesim.snapshot.packing import PackingError, pack_value, unpack_value
from kprobesim.snapshot.pages import PagesError, PageWriter

__all__ = ["Resumed", "check_place", "describe", "resume_board", "write_snapshot"]

_LEAST_MEMORY = 1 << 20  # no board has less


@dataclass(frozen=True)
class Resumed:
    """What a snapshot held: a board that stands where it stood, and the state of its probes."""

    image: KernelImage
    board: Board
    probes: Any


def check_place(path: str | os.PathLike[str]) -> None:
    """Raise :class:`SnapshotError` if no file can be at ``path``: better before a long run."""
    try:
        folder = Path(path).absolute().parent
        if not folder.is_dir() or Path(path).is_dir():
            raise SnapshotError(path, "cannot be written: name a file in an existing directory")
    except (TypeError, ValueError) as error:
        raise SnapshotError(str(path), f"is no path: {error}") from error


def write_snapshot(
    path: str | os.PathLike[str], image: KernelImage, board: Board, kprobes: KprobesManager
) -> None:
    """Write all of a booted kernel to ``path``, replacing a file that is there."""
    check_place(path)
    state = board.save_state()
    probes = save_probes(kprobes)
    pages = PageWriter()
    ram = pages.add(board.ram)
    try:
        sections = {
            "machine": pack_value(state),
            "probes": pack_value(probes),
            "ram": ram,
            **pack_image(image, pages),
        }
    except PackingError as error:
        raise SnapshotError(path, f"cannot be written: {error}") from error
    sections["pages"], sections["pages/sizes"] = pages.frames()
    facts = {
        **identity(image),
        "memory": len(board.ram),
        "time": board.time,
        "console": _last_line(board.console.tail()),
        "pages": len(pages),
    }
    write_container(path, facts, sections)


def _last_line(text: str) -> str:
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def resume_board(
    path: str | os.PathLike[str],
    other: str | os.PathLike[str] | None = None,
    clock: str = "virtual",
    progress: Callable[[str], None] | None = None,
) -> Resumed:
    """Read the snapshot ``path``; ``other`` is a file that must hold the same kernel.

    ``clock`` is what the board's time follows. Raises :class:`SnapshotError`, and
    :class:`ImageError` for an unusable ``other``.
    """
    if clock not in CLOCKS:
        raise UsageError(f"clock is {' or '.join(CLOCKS)}, not {clock!r}")
    container = read_container(path)
    if other is not None:
        _check_image(container, load_image(other, progress=progress))
    pages = page_reader(container)
    image = unpack_image(container, pages)
    memory = container.facts.get("memory")
    if type(memory) is not int or memory < _LEAST_MEMORY or memory % PAGE:
        raise container.damaged("it does not say how much memory the guest has")
    try:
        state = unpack_value(container.section("machine"))
        probes = unpack_value(container.section("probes"))
        check_probes(probes)
        board = board_class(image.arch).empty(image, memory, clock)
        pages.fill(board.ram, container.section("ram"))
        put = board.parse_state(state)
    except (PackingError, PagesError) as error:
        raise container.damaged(str(error)) from error
    except UsageError as error:
        raise SnapshotError(container.path, f"cannot be resumed here: {error}") from error
    put()
    return Resumed(image, board, probes)


def _check_image(container: Container, image: KernelImage) -> None:
    """Whether ``image`` is the very kernel: by build ID where both have one, else by content."""
    stored, found = container.facts, identity(image)
    which = "sha256"
    if stored.get("build_id") and found["build_id"]:
        which = "build_id"
    if stored.get("arch") != found["arch"] or stored.get(which) != found[which]:
        raise SnapshotError(
            container.path,
            f"is of another kernel than {image.path.name}: of {stored.get('release')} for "
            f"{stored.get('arch')}, {which.replace('_', ' ')} {stored.get(which)}, and not of "
            f"{found['release']} for {found['arch']}, {which.replace('_', ' ')} {found[which]}",
        )


def describe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a snapshot says of itself, for people: plain data. Raises :class:`SnapshotError`."""
    container = read_container(path)
    facts = container.facts
    try:
        probes = check_probes(unpack_value(container.section("probes")))
        return {
            "file": os.fspath(path),
            "size": container.path.stat().st_size,
            "memory": int(facts["memory"]),
            "stored_pages": int(facts["pages"]),
            "time": float(facts["time"]),
            "console": str(facts["console"]),
            "sha256": str(facts["sha256"]),
            "probes": [
                {
                    "symbol": probe["symbol_name"],
                    "offset": probe["offset"],
                    "address": f"{probe['addr']:#x}",
                    "nmissed": probe["nmissed"],
                }
                for probe in probes
            ],
        }
    except (PackingError, UsageError, LookupError, TypeError, ValueError, OSError) as error:
        raise container.damaged(f"it does not describe itself ({error!r})") from error
