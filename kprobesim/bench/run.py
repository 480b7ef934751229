"""The whole benchmark: which contests there are, in which order, and what could not be held."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from kprobesim.bench.boots import boot_contest, boot_kernel
from kprobesim.bench.calls import call_contest
from kprobesim.bench.contest import Contest
from kprobesim.bench.cpus import cpus_contest, switch_contest, turn_contest
from kprobesim.bench.crowd import crowd_contests
from kprobesim.bench.handlers import handler_contest
from kprobesim.bench.hits import hit_contest
from kprobesim.bench.kernels import cached_kernel
from kprobesim.bench.loop import Loop
from kprobesim.bench.plain import Plain
from kprobesim.bench.programs import program_contest
from kprobesim.bench.races import booted_race_contest, race_contest
from kprobesim.bench.report import Report
from kprobesim.bench.scale import scale_contests
from kprobesim.bench.sizes import Sizes
from kprobesim.bench.speed import function_contests, loop_contest
from kprobesim.errors import SymbolError, UsageError
from kprobesim.kernel.base import Kernel
from kprobesim.kernel.called import CalledKernel

__all__ = ["run_benchmark"]

_NEEDED = ("sort", "memcpy", "int_sqrt")


def run_benchmark(
    sample: Callable[[str], Path],
    arches: Sequence[str],
    *,
    image: Path | None = None,
    rounds: int = 7,
    sizes: Sizes | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Report:
    """Hold every contest on each of ``arches``.

    sample : where an architecture's sample guest is
    image  : a real kernel for its own architecture, instead of a fetched one
    rounds : how often each contender has its turn

    Raises :class:`UsageError`, :class:`ImageError`, and :class:`EngineError` when a contender did
    not do its work exactly.
    """
    if rounds < 1:
        raise UsageError(f"{rounds} rounds measure nothing: use at least 1")
    sizes = sizes or Sizes()
    given = None if image is None else Kernel.load(image)
    if given is not None and given.arch not in arches:
        raise UsageError(f"{image} is an {given.arch} kernel; do not ask for {', '.join(arches)}")
    report = Report(rounds=rounds, sizes=sizes)
    for arch in arches:
        progress(f"{arch}: loading")
        real = given if given is not None and given.arch == arch else None
        if real is None:
            real, found = cached_kernel(arch)
            report.notes.append(f"{arch}: measured on {found}" if real else f"{arch}: {found}")
        _hold(report, arch, sample(arch), real, sizes, progress)
    return report


def _hold(
    report: Report,
    arch: str,
    sample: Path,
    real: CalledKernel | None,
    sizes: Sizes,
    progress: Callable[[str], None],
) -> None:
    guest = Kernel.load(sample)
    if real is None:
        report.notes.append(
            f"{arch}: the sample guest's own functions stand in for a kernel's, unjudged"
        )
    kernel = real or guest
    for name in _NEEDED:
        try:
            kernel.symbols[name]
        except SymbolError as error:
            raise UsageError(f"{kernel.image.path} cannot be measured: {error}") from error

    def hold(contests: Sequence[Contest]) -> None:
        for contest in contests:
            contest.play(report.rounds, progress)
            report.contests.append(contest)

    hold([loop_contest(guest, sizes)])
    hold(function_contests(kernel, sizes, judged=real is not None))
    contest, absent = hit_contest(lambda stepping: Kernel.load(sample, stepping=stepping), sizes)
    report.notes += absent
    hold([contest])
    contests, notes = scale_contests(kernel, sizes)
    report.notes += notes
    hold(contests)
    hold([call_contest(kernel, sizes), switch_contest(Kernel.load(sample).machine)])
    hold([race_contest(Kernel.load(sample), sizes)])
    plain = Loop(kernel).on(Plain(kernel, "paged"))
    path = Path(kernel.image.path)
    for make in _guests(path, booted=real is not None):
        progress(f"{arch}: preparing guests that only count")
        contests, notes = crowd_contests(make, sizes)
        report.notes += notes
        hold(contests)
        loop = make()
        hold([program_contest(loop, plain, sizes), handler_contest(loop, plain, sizes)])
    if real is None:
        report.notes.append(f"{arch}: nothing is measured in a booted guest without a real kernel")
    else:
        hold([boot_contest(path, arch, sizes), cpus_contest(path, arch)])
        progress(f"{arch}: booting two CPUs")
        guest_of_two = boot_kernel(path, cpus=2)
        hold([turn_contest(guest_of_two)])
        if "sha256" in guest_of_two.symbols:
            hold([booted_race_contest(guest_of_two, sizes)])
        else:
            report.notes.append(f"{arch}: no races in a booted guest: the kernel has no sha256()")


def _guests(path: Path, *, booted: bool) -> Iterator[Callable[[], Loop]]:
    """What makes guests with the loop in them: guests that are called, then ones that booted."""
    yield lambda: Loop(Kernel.load(path))
    if booted:
        with tempfile.TemporaryDirectory() as folder:
            snapshot = Path(folder) / "booted.kps"
            boot_kernel(path).snapshot(snapshot)
            yield lambda: Loop(Kernel.resume(snapshot))
