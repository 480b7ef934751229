"""``compatibility``: every probe of the sources on every kernel, one by one or at once."""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, as_completed
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from kprobesim.compat.differences import compared
from kprobesim.compat.finding import Answer, AskedKernel, Compatibility, Unread
from kprobesim.compat.hits import Run, modules_of, with_hits
from kprobesim.compat.judge import Judge
from kprobesim.compat.kernel_facts import KernelFacts
from kprobesim.compat.own_answers import with_own_answers
from kprobesim.errors import KprobesimError
from kprobesim.image import load_image
from kprobesim.sources.read import read_sources
from kprobesim.sources.wanted import Interface, Source, SourceKind
from kprobesim.survey.kernel_files import kernel_files
from kprobesim.survey.known import KnownKernel, open_known
from kprobesim.worker_pool import stoppable, worker_pool

__all__ = ["compatibility"]

_OF_NO_KERNEL = "is of the build of no kernel that is asked: take it from the same package version"
_Told = Callable[[str], None]
_Judged = tuple[AskedKernel, tuple[int, ...], list[Answer]]


def compatibility(
    sources: Iterable[str | os.PathLike[str] | Source],
    kernels: Iterable[str | os.PathLike[str]],
    *,
    by: Interface = Interface.KPROBE_PERF,
    jobs: int = 1,
    executor: Executor | None = None,
    ask: bool = False,
    run: Run | None = None,
    cpus: int = 1,
    debug: Iterable[str | os.PathLike[str]] = (),
    progress: _Told | None = None,
) -> Compatibility:
    """Whether the probes of ``sources`` attach and hit on ``kernels``.

    >>> found = compatibility(["probes.txt"], ["vmlinux"])
    >>> found.exit_status()
    0

    A source's line or a kernel that cannot be read is told in ``problems``; the others are
    answered all the same.

    Args:
        sources: Files, folders, patterns, or sources that were read already.
        kernels: Images, packages, snapshots, catalogues; folders of such, and patterns.
        by: How the functions of plain lists of names are attached to, which say nothing of it.
        jobs: How many processes share the kernels.
        executor: Who runs them instead: any :class:`concurrent.futures.Executor`.
        ask: Boot each kernel, and let its own kprobes judge the same probes.
        run: Boot each kernel, and count hits while it does this.
        cpus: How many CPUs kernels boot with, from 1 to 8.
        debug: Files with the debug information of some of the kernels, which tells exactly what
            was inlined; each is used for the kernel of its build.
        progress: Hears of each kernel that is done.

    Raises:
        UsageError: A name is of nothing.
    """
    read = [_listed_by(source, by) for source in _read(sources)]
    paths = kernel_files(kernels)
    judged: list[_Judged] = []
    problems = [
        Unread(str(source.path), problem.line, problem.text)
        for source in read
        for problem in source.problems
    ]
    files = tuple(map(Path, debug))
    work = _Work(tuple(read), ask, run, cpus, files)
    unused = set(files)
    for number, (path, done) in enumerate(_judge_all(work, paths, jobs, executor, progress), 1):
        problems += done.problems
        unused -= {done.debug}
        if done.judged is not None:
            judged.append(done.judged)
        if progress is not None and len(paths) > 1:
            progress(f"{number} of {len(paths)}: {path.name}")
    problems += [Unread(str(file), None, _OF_NO_KERNEL) for file in files if file in unused]
    return _together(tuple(read), judged, problems)


def _read(sources: Iterable[str | os.PathLike[str] | Source]) -> Iterator[Source]:
    for source in sources:
        if isinstance(source, Source):
            yield source
        else:
            yield from read_sources([source])


def _listed_by(source: Source, by: Interface) -> Source:
    """A plain list of names, asked for by another interface."""
    if source.kind is not SourceKind.NAMES:
        return source
    wanted = tuple(
        replace(one, interface=by) if one.interface is Interface.REGISTER_KPROBE else one
        for one in source.wanted
    )
    return replace(source, wanted=wanted)


@dataclass(frozen=True)
class _Work:
    """What is to be done with each kernel."""

    sources: tuple[Source, ...]
    ask: bool
    run: Run | None
    cpus: int
    debug: tuple[Path, ...]


@dataclass
class _Done:
    """What came of one kernel."""

    judged: _Judged | None = None
    debug: Path | None = None
    problems: list[Unread] = field(default_factory=list)


def _judge_all(
    work: _Work,
    paths: Sequence[Path],
    jobs: int,
    executor: Executor | None,
    progress: _Told | None,
) -> Iterator[tuple[Path, _Done]]:
    if executor is None and min(jobs, len(paths)) < 2:
        for path in paths:
            yield path, _judge_one(work, path, progress)
            if len(paths) > 1:
                gc.collect()  # a kernel's parts refer to each other, and are 200 MB
        return
    pool = worker_pool(min(jobs, len(paths))) if executor is None else nullcontext(executor)
    with pool as workers:
        pending = {workers.submit(stoppable, _judge_alone, work, path): path for path in paths}
        for future in as_completed(pending):
            try:
                done = future.result()
            except Exception as error:  # the worker was killed, or cannot run this at all
                why = f"whoever judged it failed ({type(error).__name__}: {error})"
                done = _Done(problems=[Unread(str(pending[future]), None, why)])
            yield pending[future], done


def _judge_alone(work: _Work, path: Path) -> _Done:
    """The same in a process of its own, which will judge others."""
    try:
        return _judge_one(work, path)
    finally:
        gc.collect()


def _judge_one(work: _Work, path: Path, progress: _Told | None = None) -> _Done:
    """The answers of one kernel."""
    done = _Done()
    try:
        _judge(work, path, progress, done)
    except KprobesimError as error:
        done.problems.append(Unread(str(path), None, str(error).removeprefix(f"{path}: ")))
    except OSError as error:
        why = f"cannot be read: {error.strerror or error}"
        done.problems.append(Unread(str(path), None, why))
    return done


def _judge(work: _Work, path: Path, progress: _Told | None, done: _Done) -> None:
    known = open_known(path, progress=progress)
    done.debug = _debug_of(known, work.debug)
    facts = KernelFacts(known, done.debug)
    answers = Judge(facts).answers(work.sources)
    done.judged = facts.kernel, known.version, answers
    if work.ask:
        at_hand = modules_of(facts, answers, work.run) if work.run is not None else ()
        answers[:] = with_own_answers(facts, answers, progress, at_hand, work.cpus)
    if work.run is not None:
        answers[:], wrong = with_hits(facts, answers, work.run, progress, work.cpus)
        done.problems += wrong


def _debug_of(known: KnownKernel, files: Sequence[Path]) -> Path | None:
    """The file that is of the same build, as its banner tells."""
    return next((file for file in files if load_image(file).banner == known.image.banner), None)


def _together(
    sources: tuple[Source, ...], judged: list[_Judged], problems: list[Unread]
) -> Compatibility:
    judged.sort(key=lambda one: (one[1], one[0].arch, one[0].release, one[0].path))
    labels = Counter(kernel.label for kernel, _, _ in judged)
    kernels = []
    columns = []
    for kernel, _, answers in judged:
        if labels[kernel.label] > 1:
            named = replace(kernel, label=f"{kernel.label} ({Path(kernel.path).name})")
            answers = [replace(answer, kernel=named) for answer in answers]
            kernel = named
        kernels.append(kernel)
        columns.append(answers)
    by_probe = [answer for row in zip(*columns, strict=True) for answer in compared(row)]
    return Compatibility(sources, tuple(kernels), tuple(by_probe), tuple(problems))
