"""A booted kernel in one file, and back: what the rooms below know of it, put together.

Sections: ``machine`` (CPUs, devices, clock and console, as plain data), ``ram`` and ``pages`` (the
guest's memory), ``image`` and ``symbols/...`` (the kernel, so that the file stands alone),
``probes``, ``programs`` and ``programs/...`` (what probes do that is no Python, and what that has
kept), ``tracing`` (trace events and entries), and ``kernel`` (whose kprobes are imitated).
Everything is checked before a CPU is touched. Format 1 has no section ``kernel``, and one CPU where
format 2 has a list.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from kprobesim.boot.board import Board
from kprobesim.boot.boards import board_class
from kprobesim.boot.computer import MOST_CPUS
from kprobesim.boot.host_time import CLOCKS
from kprobesim.errors import SnapshotError, UsageError
from kprobesim.image import KernelImage
from kprobesim.image.state import identity, late_pages, pack_image, unpack_image
from kprobesim.kernel.reading import SnapshotReading, memory_of
from kprobesim.kprobes.checked_state import check_probes
from kprobesim.kprobes.model_facts import MODEL_NAMES, check_facts, own_facts, with_facts
from kprobesim.late_dataclasses import dataclass
from kprobesim.snapshot.container import Container, read_container, write_container
from kprobesim.snapshot.packing import PackingError, pack, pack_value, unpack, unpack_value
from kprobesim.snapshot.pages import PagesError, PageWriter

if TYPE_CHECKING:  # most snapshots hold none
    from kprobesim.kprobes.manager import KprobesManager
    from kprobesim.kprobes.model import Model
    from kprobesim.programs.saved import SavedPrograms
    from kprobesim.trace.saved_tracing import TracingStore

MakeModel: TypeAlias = "Callable[[], Model | None]"

__all__ = ["Resumed", "Wanted", "check_place", "describe", "resume_board", "write_snapshot"]


@dataclass(frozen=True)
class Resumed:
    """What a snapshot held: a board that stands where it stood, and the state of its probes.

    ``model()`` is the kernel whose kprobes to imitate (``None``: that of the image's version), also
    where it is wrong if ``strict``.
    """

    image: KernelImage
    board: Board
    probes: Any
    programs: SavedPrograms | None
    tracing: Any
    model: MakeModel
    strict: bool


@dataclass(frozen=True)
class Wanted:
    """What the kernel of a snapshot must be like; ``None`` takes it as it is."""

    memory: int | None = None
    model: Model | None = None
    strict: bool | None = None


def check_place(path: str | os.PathLike[str]) -> None:
    """Raise :class:`SnapshotError` if no file can be at ``path``: better before a long run."""
    try:
        folder = Path(path).absolute().parent
        if not folder.is_dir() or Path(path).is_dir():
            raise SnapshotError(path, "cannot be written: name a file in an existing directory")
    except (TypeError, ValueError) as error:
        raise SnapshotError(str(path), f"is no path: {error}") from error


def write_snapshot(
    path: str | os.PathLike[str],
    image: KernelImage,
    board: Board,
    kprobes: KprobesManager,
    tracing: TracingStore | None = None,
) -> None:
    """Write all of a booted kernel to ``path``, replacing a file that is there."""
    from kprobesim.kprobes.state import save_probes
    from kprobesim.programs.saved import save_programs

    check_place(path)
    state = board.save_state()
    probes = save_probes(kprobes)
    programs = save_programs(kprobes)
    pages = PageWriter()
    ram = pages.add(board.ram)
    try:
        sections = {
            "machine": pack_value(state),
            "probes": pack_value(probes),
            "kernel": pack_value(
                {
                    "model": kprobes.model.name,
                    "facts": own_facts(kprobes.model),
                    "strict": kprobes.strict,
                }
            ),
            "ram": ram,
            **_pack_programs(programs),
            **_pack_tracing(tracing),
            **pack_image(image, pages),
        }
    except PackingError as error:
        raise SnapshotError(path, f"cannot be written: {error}") from error
    sections["pages"], sections["pages/sizes"] = pages.frames()
    facts = {
        **identity(image),
        "memory": len(board.ram),
        "model": kprobes.model.name,
        "strict": kprobes.strict,
        "time": board.time,
        "console": _last_line(board.console.tail()),
        "pages": len(pages),
    }
    write_container(path, facts, sections)


def _pack_programs(saved: SavedPrograms) -> dict[str, bytes]:
    if not saved.facts:
        return {}
    kept = {f"programs/{number}": pack(data) for number, data in enumerate(saved.kept)}
    return {"programs": pack_value(saved.facts), **kept}


def _pack_tracing(tracing: TracingStore | None) -> dict[str, bytes]:
    if tracing is None or tracing.is_empty:
        return {}
    return {"tracing": pack_value(tracing.save())}


def _unpack_programs(container: Container) -> SavedPrograms | None:
    if "programs" not in container.sections:
        return None
    from kprobesim.programs.saved import SavedPrograms

    facts = unpack_value(container.section("programs"))
    count = sum(name.startswith("programs/") for name in container.sections)
    return SavedPrograms(
        facts, [unpack(container.section(f"programs/{number}")) for number in range(count)]
    )


def _last_line(text: str) -> str:
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def resume_board(
    reading: SnapshotReading,
    other: str | os.PathLike[str] | None = None,
    wanted: Wanted | None = None,
    clock: str = "virtual",
    progress: Callable[[str], None] | None = None,
) -> Resumed:
    """Make a board of what is read; ``other`` is a file that must hold the same kernel.

    ``clock`` is what the board's time follows. Raises :class:`SnapshotError`, also for a kernel
    that is not as ``wanted``, and :class:`ImageError` for an unusable ``other``.
    """
    wanted = wanted or Wanted()
    if clock not in CLOCKS:
        raise UsageError(f"clock is {' or '.join(CLOCKS)}, not {clock!r}")
    container = reading.container()
    if other is not None:
        from kprobesim.image.load import load_image

        _check_image(container, load_image(other, progress=progress))
    image = unpack_image(container, late_pages(container))
    memory = memory_of(container)
    if wanted.memory not in (None, memory):
        raise _contradiction(container, "memory", f"{wanted.memory} bytes", f"{memory} bytes")
    model, strict = _imitated(container, wanted)
    try:
        state = unpack_value(container.section("machine"))
        probes = unpack_value(container.section("probes"))
        check_probes(probes)
        programs = _unpack_programs(container)
        traced = "tracing" in container.sections
        tracing = unpack_value(container.section("tracing")) if traced else None
        cpus = _cpus_of(state)
        board = board_class(image.arch).empty(image, memory, clock, reading.ram(), cpus)
        put = board.parse_state(state)
        reading.wait()
    except (PackingError, PagesError) as error:
        raise container.damaged(str(error)) from error
    except UsageError as error:
        raise SnapshotError(container.path, f"cannot be resumed here: {error}") from error
    put()
    return Resumed(image, board, probes, programs, tracing, model, strict)


def _cpus_of(state: Any) -> int:
    """How many CPUs a board's state is of; what is none is told when it is parsed."""
    cpus = state.get("cpus") if isinstance(state, dict) else None
    return len(cpus) if isinstance(cpus, list) and 1 <= len(cpus) <= MOST_CPUS else 1


def _imitated(container: Container, wanted: Wanted) -> tuple[MakeModel, bool]:
    """The model and whether to be strict; format 1 says neither, so there it is as ``wanted``."""
    if "kernel" not in container.sections:
        return lambda: wanted.model, bool(wanted.strict)
    try:
        stored = unpack_value(container.section("kernel"))
        name, strict = stored["model"], stored["strict"]
    except (PackingError, LookupError, TypeError) as error:
        raise container.damaged(f"its section 'kernel' cannot be read ({error!r})") from error
    if type(name) is not str or type(strict) is not bool:
        raise container.damaged("it does not say which model it imitates")
    if name not in MODEL_NAMES:
        raise SnapshotError(
            container.path,
            f"imitates the kprobes of {name[:40]}, a model that this kprobesim does not have; "
            "read it with the kprobesim that wrote it",
        )
    if wanted.model is not None and wanted.model.name != name:
        raise _contradiction(container, "model", wanted.model.name, name)
    if wanted.strict not in (None, strict):
        raise _contradiction(container, "strict", wanted.strict, strict)
    facts = stored.get("facts")
    try:
        if facts is not None:
            check_facts(facts)
    except (ValueError, TypeError) as error:
        raise container.damaged(f"it does not say which model it imitates ({error})") from error

    def make() -> Model:
        from kprobesim.kprobes.model import MODELS

        return MODELS[name] if facts is None else with_facts(MODELS[name], facts)

    return make, strict


def _contradiction(
    container: Container, what: str, wanted: object, stored: object
) -> SnapshotError:
    return SnapshotError(
        container.path,
        f"has {what} {stored}, not {wanted}: leave {what} out, or boot the kernel anew with it",
    )


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
            "model": facts.get("model"),
            "strict": facts.get("strict"),
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
