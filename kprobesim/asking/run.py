"""``run_counted``: a kernel boots and does lines of shell, with places of it counted all along."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from kprobesim.asking.booted import boot_to_shell, booted_kernel
from kprobesim.asking.counters import Counters
from kprobesim.asking.counts import CountedPlace, Counts
from kprobesim.asking.modules import module_files, named_modules
from kprobesim.asking.shell import Shell
from kprobesim.errors import UsageError
from kprobesim.image import load_image
from kprobesim.image.modules.finder import ModuleFinder
from kprobesim.machine.faults import GuestStop
from kprobesim.snapshot.container import is_snapshot

__all__ = ["LineOutcome", "RunOutcome", "modules_for", "run_counted"]


@dataclass(frozen=True)
class LineOutcome:
    """One line of shell: its text, its exit status, and what was on the console meanwhile.

    ``status`` is ``None`` for a line that did not come to its end.
    """

    line: str
    status: int | None
    output: str


@dataclass
class RunOutcome:
    """A whole run.

    Attributes:
        release: The kernel's.
        counts: One for each place, in their order.
        lines: One for each line that was begun.
        problem: What ended the run before the last line; empty if nothing did.
    """

    release: str
    counts: list[Counts]
    lines: list[LineOutcome] = field(default_factory=list)
    problem: str = ""


def run_counted(
    path: str | os.PathLike[str],
    places: Sequence[CountedPlace],
    lines: Iterable[str],
    *,
    modules: Iterable[str] = (),
    timeout: float = 300.0,
    cpus: int = 1,
    progress: Callable[[str], None] | None = None,
    finder: ModuleFinder | None = None,
) -> RunOutcome:
    """Boot a kernel to a shell, let it do ``lines``, and count ``places`` all the time.

    Counting begins with the kernel's first instruction. The modules that places are in are loaded
    when the shell is there, which is still counted as of the boot, and their functions are counted
    from that on; modules that the lines load can be loaded.

    >>> outcome = run_counted("amd64.deb", [CountedPlace("vfs_read", "vfs_read")], ["ls /proc"])

    Args:
        path: A kernel that can be booted.
        places: What to count. One that is refused by the kernel's rules has a problem.
        lines: Shell, for BusyBox.
        modules: More modules to have at hand.
        timeout: Seconds of this computer's time, for all lines together.
        cpus: How many CPUs it boots with, from 1 to 8.
        progress: Hears what takes long.
        finder: Finds the kernel's modules, if one was made already.

    Raises:
        ImageError: The file is no kernel.
        FetchError: There is no BusyBox.
        BootError: The kernel does not come to user space.
        UsageError: ``path`` is a snapshot, or a line cannot be typed.
    """
    if is_snapshot(path):
        raise UsageError(
            f"{os.fspath(path)} is a snapshot, perhaps without a shell: give its image"
        )
    lines = [line for line in lines if line.strip()]
    finder = finder or ModuleFinder(load_image(path, progress=progress), progress)
    at_hand = [*modules_for(places, lines), *modules]
    files = module_files(finder, [name for name in at_hand if finder.find(name) is not None])
    counters = list[Counters]()
    if places:
        kernel = boot_to_shell(
            finder.image,
            files,
            cpus=cpus,
            progress=progress,
            before=lambda kernel: counters.append(Counters(kernel, places)),
        )
    else:  # one that has booted before will do
        kernel = booted_kernel(path, files, image=finder.image, cpus=cpus, progress=progress)
        counters.append(Counters(kernel, places))
    shell = Shell(kernel)
    for name in modules_for(places, ()):
        shell.run(f"modprobe {name}", timeout)
    (counted,) = counters
    boot = counted.tallies()
    outcome = RunOutcome(kernel.version, [])
    end = time.monotonic() + timeout
    for line in lines:
        before = len(kernel.console.text)
        if progress is not None:
            progress(f"{kernel.version}: {line}")
        try:
            status, output = shell.run(line, max(end - time.monotonic(), 0.001))
        except GuestStop as error:
            outcome.problem = error.headline
            outcome.lines.append(LineOutcome(line, None, kernel.console.text[before:]))
            break
        outcome.lines.append(LineOutcome(line, status, output))
    rows = zip(places, boot, counted.tallies(), counted.problems(), strict=True)
    outcome.counts = [
        Counts(place, before, now.since(before), problem) for place, before, now, problem in rows
    ]
    return outcome


def modules_for(places: Iterable[CountedPlace], lines: Iterable[str]) -> list[str]:
    """The modules that places are in, and those that lines of shell load, by name."""
    probed = {place.module for place in places if place.module}
    return sorted(probed.union(named_modules(lines)))
