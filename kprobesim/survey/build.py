"""``build_catalog``: a catalogue of each kernel, made by as many processes as there are.

What was made before is kept, whatever ended the last build; each file appears whole.
"""

from __future__ import annotations

import gc
import hashlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kprobesim.catalog.file import is_catalog, open_catalog
from kprobesim.catalog.schema import FORMAT
from kprobesim.catalog.writer import CatalogWriter, abandoned
from kprobesim.errors import CatalogError, ImageError, KprobesimError, UsageError
from kprobesim.extras import needed
from kprobesim.image.files.source import open_file
from kprobesim.survey.cataloged import pack_known
from kprobesim.survey.known import open_known
from kprobesim.survey.rows import module_rows, rows_of
from kprobesim.version import __version__
from kprobesim.worker_pool import stoppable, worker_pool

__all__ = ["Built", "build_catalog"]

_log = logging.getLogger(__name__)

_CHUNK = 1 << 20
_GIVEN_UP = 3600.0  # seconds after which what is being written is nobody's any more
_UNFIT = re.compile(r"[^A-Za-z0-9_.+~-]+")


@dataclass(frozen=True)
class Built:
    """What became of one kernel.

    Attributes:
        kernel: The file that it is in.
        file: Its catalogue; ``None`` if there is none.
        kept: Whether that was there already.
        error: Why there is none.
        problems: What could not be read of it, such as a damaged module.
        seconds: The processor time that it took.
    """

    kernel: Path
    file: Path | None = None
    kept: bool = False
    error: str | None = None
    problems: tuple[str, ...] = ()
    seconds: float = 0.0

    def __bool__(self) -> bool:
        """Whether there is a catalogue of it."""
        return self.file is not None

    def __str__(self) -> str:
        if self.file is None:
            return self.error or f"{self.kernel}: there is no catalogue of it"
        if self.kept:
            return f"{self.file.name}: kept"
        more = f", without {len(self.problems)} modules" if self.problems else ""
        size = self.file.stat().st_size / (1 << 20) if self.file.exists() else 0
        return f"{self.file.name}: {size:.0f} MiB in {self.seconds:.1f} s{more}"


def build_catalog(
    kernels: Iterable[str | os.PathLike[str]],
    directory: str | os.PathLike[str],
    executor: Executor | None = None,
    jobs: int | None = None,
    progress: Callable[[str], None] | None = None,
    *,
    modules: bool = True,
) -> list[Built]:
    """Make a catalogue of each of ``kernels`` in ``directory``, unless there is one.

    >>> build_catalog(["vmlinux"], "kernels")[0].error

    One that cannot be read does not stop the others. Interrupted, it leaves whole files only, and
    goes on where it was when it is called again.

    Args:
        kernels: Images, packages or snapshots.
        directory: Where the catalogues are to be; it is made if it is not there.
        executor: Does the work: of any kind, processes of this machine or a cluster that sees the
            same files (``distributed.Client(...).get_executor()``).
        jobs: Without an executor, how many processes do it; by default this one alone. They
            import the program anew, so it must begin its work under ``if __name__ == "__main__"``.
        progress: Hears of each kernel that is done.
        modules: Keep modules themselves, not only their functions and types: else places in them
            cannot be judged by the catalogue.

    Raises:
        CatalogError: The directory cannot be made.
        UsageError: There are no kernels, ``jobs`` is no positive number, or pyarrow is missing.
    """
    needed("pyarrow.parquet", "catalog")
    paths = list(dict.fromkeys(Path(kernel).absolute() for kernel in kernels))
    if not paths:
        raise UsageError("name at least one kernel to make a catalogue of")
    if jobs is not None and (type(jobs) is not int or jobs < 1):
        raise UsageError(f"jobs {jobs!r} is no positive number")
    place = Path(directory).absolute()
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CatalogError(place, f"is no directory for catalogues ({error.strerror})") from error
    _forget_abandoned(place)
    done: dict[Path, Built] = {}
    for built in _all_built(paths, place, executor, jobs or 1, modules):
        done[built.kernel] = built
        if progress is not None:
            progress(f"{built} ({len(done)} of {len(paths)})")
    return [done[path] for path in paths]


def _all_built(
    paths: list[Path], place: Path, executor: Executor | None, jobs: int, modules: bool
) -> Iterator[Built]:
    """Each as it is done."""
    if executor is not None:
        yield from _by(executor, paths, place, modules)
    elif jobs == 1 or len(paths) == 1:
        for path in paths:
            yield build_one(path, place, modules)
    else:
        with worker_pool(min(jobs, len(paths))) as pool:
            yield from _by(pool, paths, place, modules)


def _by(executor: Executor, paths: list[Path], place: Path, modules: bool) -> Iterator[Built]:
    waiting: dict[Future[Built], Path] = {
        executor.submit(stoppable, build_one, path, place, modules): path for path in paths
    }
    try:
        for future in as_completed(waiting):
            try:
                yield future.result()
            except Exception as error:  # the worker was killed, or cannot run this at all
                why = f"{type(error).__name__}: {error}"
                yield Built(
                    waiting[future], error=f"{waiting[future]}: whoever worked on it failed ({why})"
                )
    finally:
        for future in waiting:
            future.cancel()


def build_one(path: Path, place: Path, modules: bool) -> Built:
    """The catalogue of the kernel in ``path``, found in ``place`` or made; runs in any process."""
    start = time.process_time()
    try:
        if is_catalog(path):
            raise UsageError(f"{path}: is a catalogue already; name an image or a package")
        source = _identity(path) | {"modules": modules}
        kept = _made_before(place, source)
        if kept is not None:
            return Built(path, kept, kept=True)
        with _without_collector():
            file, problems = _make(path, place, source)
    except KprobesimError as error:
        return Built(path, error=str(error), seconds=time.process_time() - start)
    except MemoryError:
        return Built(path, error=f"{path}: there is too little memory to make its catalogue")
    except Exception as error:  # a fault of ours, which the other kernels need not have
        _log.exception("no catalogue of %s", path)
        why = f"{type(error).__name__}: {error}"
        return Built(path, error=f"{path}: making its catalogue failed, which is a bug ({why})")
    return Built(path, file, problems=problems, seconds=time.process_time() - start)


def _identity(path: Path) -> dict[str, Any]:
    """Which file it is, wherever it lies."""
    data, digest = open_file(path), hashlib.sha256()
    for at in range(0, len(data), _CHUNK):
        digest.update(data[at : at + _CHUNK])
    return {"file": path.name, "size": len(data), "sha256": digest.hexdigest()}


def _made_before(place: Path, source: dict[str, Any]) -> Path | None:
    """A catalogue of that very file by this very version, with modules if they are wanted."""
    for file in sorted(place.glob(f"*_{source['sha256'][:8]}.parquet")):
        try:
            facts = open_catalog(file).facts
        except CatalogError:
            continue  # it is made anew
        made = facts.get("source", {})
        if (
            (facts["format"], facts["version"]) == (FORMAT, __version__)
            and made.get("sha256") == source["sha256"]
            and made.get("modules") in (True, source["modules"])
        ):
            return file
    return None


def _make(path: Path, place: Path, source: dict[str, Any]) -> tuple[Path, tuple[str, ...]]:
    kernel = open_known(path)
    if not kernel.image.has_symbols:
        raise ImageError(path, "has no symbols, so there is nothing to catalogue")
    release = _UNFIT.sub("-", kernel.release) or "unknown"
    file = place / f"{release}_{kernel.arch}_{source['sha256'][:8]}.parquet"
    with CatalogWriter(file, kernel.release, kernel.arch) as writer:
        became = {facts.name: facts for facts in kernel.functions.facts_of_all()}
        for record, columns in rows_of(kernel, became):
            writer.add(record, columns)
        facts, sections, functions = pack_known(
            kernel, became.values(), module_files=source["modules"]
        )
        writer.add("function", module_rows(functions))
        writer.add_sections(sections)
        about = {
            "release": kernel.release,
            "arch": kernel.arch,
            "build_id": kernel.build_id,
            "banner": kernel.image.banner.strip(),
        }
        writer.finish({**facts, "kernel": about, "source": source})
    return file, tuple(facts.get("problems", ()))


@contextmanager
def _without_collector() -> Iterator[None]:
    """Let Python not look for cycles.

    Of the million objects that a kernel is made into, which it would look at again and again for a
    tenth of all the time, hardly one is in a cycle.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _forget_abandoned(place: Path) -> None:
    """Delete what builders that were killed have left half written."""
    for file in abandoned(place):
        try:
            if file.stat().st_mtime < time.time() - _GIVEN_UP:
                file.unlink(missing_ok=True)
        except FileNotFoundError:  # somebody else did
            continue
