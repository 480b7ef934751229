"""``run_counted``: shell lines in a booted guest, with places of its kernel counted meanwhile."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from kprobesim.asking.booted import booted_kernel
from kprobesim.asking.modules import module_files, named_modules
from kprobesim.asking.shell import Shell
from kprobesim.errors import KprobeError, SymbolError, UsageError
from kprobesim.hexrepr import HexRepr
from kprobesim.image import load_image
from kprobesim.image.modules.finder import ModuleFinder
from kprobesim.kernel.booted import BootedKernel
from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.kprobes.kretprobe import Kretprobe
from kprobesim.machine.faults import GuestStop
from kprobesim.machine.registers import PtRegs
from kprobesim.snapshot.container import is_snapshot

__all__ = ["CountedPlace", "Counts", "LineOutcome", "RunOutcome", "modules_for", "run_counted"]


@dataclass(frozen=True, repr=False)
class CountedPlace(HexRepr):
    """A place whose executions are counted.

    Attributes:
        text: What it is called in the outcome.
        symbol: The symbol, or ``"module:symbol"``; or ``None``, and
        address: the address.
        offset: Bytes from there.
        returns: Count returns of the function instead, with a return probe of the kernel's size.
        copies: The addresses at which copies of it begin that were inlined into others.
    """

    text: str
    symbol: str | None = None
    address: int | None = None
    offset: int = 0
    returns: bool = False
    copies: tuple[int, ...] = ()


@dataclass
class Counts:
    """What was counted at one place.

    Attributes:
        place: Where.
        hits: How often its handler was called.
        nmissed: How often it could not be: the kernel's own count.
        lost: How often an inlined copy ran, which no probe at the symbol sees; ``None`` if no
            copies are known.
        problem: Why nothing was counted; empty if something could be.
    """

    place: CountedPlace
    hits: int = 0
    nmissed: int = 0
    lost: int | None = None
    problem: str = ""


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
    progress: Callable[[str], None] | None = None,
    finder: ModuleFinder | None = None,
) -> RunOutcome:
    """Boot a kernel to a shell, count ``places`` while it does ``lines``.

    It boots once, and the snapshot is kept; counting begins with the first line. The modules that
    places are in are loaded before that, and those that the lines load can be loaded.

    >>> outcome = run_counted("amd64.deb", [CountedPlace("vfs_read", "vfs_read")], ["ls /proc"])

    Args:
        path: A kernel that can be booted.
        places: What to count. One that is refused by the kernel's rules has a problem.
        lines: Shell, for BusyBox.
        modules: More modules to have at hand.
        timeout: Seconds of this computer's time, for all lines together.
        progress: Hears what takes long.
        finder: Finds the kernel's modules, if one was made already.

    Raises:
        ImageError: The file is no kernel, or a module is not to be had.
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
    files = module_files(finder, [*modules_for(places, lines), *modules])
    kernel = booted_kernel(path, files, image=finder.image, progress=progress)
    shell = Shell(kernel)
    for name in modules_for(places, ()):
        shell.run(f"modprobe {name}", timeout)
    counters = [_Counter(kernel, place) for place in places]
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
    outcome.counts = [counter.counts() for counter in counters]
    return outcome


def modules_for(places: Iterable[CountedPlace], lines: Iterable[str]) -> list[str]:
    """The modules that places are in, and those that lines of shell load, by name."""
    probed = {module for place in places if (module := _module(place))}
    return sorted(probed.union(named_modules(lines)))


def _module(place: CountedPlace) -> str:
    module, colon, _ = (place.symbol or "").partition(":")
    return module.replace("-", "_") if colon else ""


class _Counter:
    """Counts one place of ``kernel`` from now on."""

    def __init__(self, kernel: BootedKernel, place: CountedPlace) -> None:
        self._kernel = kernel
        self._counts = Counts(place, lost=0 if place.copies else None)
        self._probe: Kprobe | Kretprobe | None = None
        try:
            address = self._address(place)
            if _module(place):  # the guest's own module: nothing of it is in the image
                kernel.machine.code_watch.watch(address, self._arrived)
            else:
                self._probe = self._plant(address, returns=place.returns)
        except (KprobeError, SymbolError) as error:
            self._counts.problem = str(error)
        for copy in place.copies:
            kernel.machine.code_watch.watch(copy, self._lost)

    def _address(self, place: CountedPlace) -> int:
        if place.symbol is None:
            return (place.address or 0) + place.offset
        if not _module(place):
            found = self._kernel.symbols.candidates(place.symbol)
            if not found:
                self._kernel.symbols[place.symbol]  # says that there is none, and what there is
            return found[0].address + place.offset  # the kernel takes the first, too
        address = self._kernel.call("module_kallsyms_lookup_name", place.symbol)
        if not address:
            raise SymbolError(place.symbol, f"the guest has no {place.symbol}")
        return address + place.offset

    def _plant(self, address: int, *, returns: bool) -> Kprobe | Kretprobe:
        if returns:
            rp = Kretprobe(handler=self._returned, addr=address)
            self._kernel.register_kretprobe(rp)
            return rp
        p = Kprobe(addr=address, pre_handler=self._hit)
        self._kernel.register_kprobe(p)
        return p

    def _hit(self, _p: Kprobe, _regs: PtRegs) -> None:
        self._counts.hits += 1

    def _returned(self, _ri: object, _regs: PtRegs) -> None:
        self._counts.hits += 1

    def _arrived(self, _address: int) -> None:
        self._counts.hits += 1

    def _lost(self, _address: int) -> None:
        assert self._counts.lost is not None
        self._counts.lost += 1

    def counts(self) -> Counts:
        """What was counted until now."""
        if self._probe is not None:
            self._counts.nmissed = self._probe.nmissed
        return self._counts
