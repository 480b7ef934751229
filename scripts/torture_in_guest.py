"""The kernel's own torture and test modules, run in guests with several CPUs and probes of ours.

    python scripts/torture_in_guest.py IMAGE... [--cpus 2 4] [--seconds 3] [--modules FOLDER]

Distributions build few of them: Debian's full kernels have ``test_static_keys`` (whose text is
patched on all CPUs), ``test_user_copy`` and, asked for by ``--long``, ``test_bpf``. FOLDER may have
others, built from the kernel's source against its headers package (``make -C HEADERS M=FOLDER``):
``torture``, ``rcutorture``, ``locktorture``, ``scftorture``, ``refscale``; ``kprobe_example`` and
``kretprobe_example``, which plant probes of the guest's own; tests of the library, such as
``test_rhashtable`` and ``test_vmalloc`` (``torture_trials.py`` has all). Each runs for some seconds
of the guest's time, once alone and once with probes of ours: what it says must be a success,
nothing may be wrong in the log, and what it counts must be what our probes counted. The exit status
is 0 if so.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from torture_trials import BUILT, DISTRIBUTED, LIBRARY, LONG, Hits, Trial

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from kprobesim import BootedKernel, Kernel, KprobesimError  # noqa: E402
from kprobesim.asking.modules import module_files  # noqa: E402
from kprobesim.asking.shell import READY, Shell, shell_initrd  # noqa: E402
from kprobesim.image import KernelImage, load_image  # noqa: E402
from kprobesim.image.modules.finder import ModuleFinder  # noqa: E402

TIMEOUT = 900.0
SPLAT = re.compile(
    r"BUG:|WARNING:|Oops|Call Trace|Call trace|rcu:.*stall|FAILURE|FAIL\b|RCU_HOTPLUG"
    r"|soft lockup|hard LOCKUP"
)
LOADED = "module is loaded:"


def finder_of(image: KernelImage, folder: Path | None) -> ModuleFinder:
    """Finds the modules of a kernel, those in ``folder`` first."""
    finder = ModuleFinder(image)
    for path in sorted(folder.glob("*.ko")) if folder else ():
        finder.offer(path)
    return finder


def run(
    kernel: BootedKernel, trial: Trial, seconds: float, planted: ExitStack, *, probed: bool
) -> tuple[str, Hits]:
    """Load it, wait, unload it: the log, and how often each function was called."""
    shell, cpus = Shell(kernel), kernel.board.cpus
    counts: dict[str, Any] = {}
    for needed in ("torture", "test_static_key_base"):
        shell.run(f"modprobe {needed} 2>/dev/null")  # so that the next one loaded is the module
    shell.run("dmesg -c >/dev/null")
    options = trial.options.format(cpus=cpus)
    kernel.console.send(f"modprobe {trial.module} {options}; echo {LOADED} $?\n")
    if probed:
        with kernel.probing("do_init_module", pre_handler=lambda *_: kernel.stop()):
            kernel.run(timeout=TIMEOUT)  # until it is there, and has not begun
        counts = {name: planted.enter_context(kernel.count(name)) for name in trial.probed}
    kernel.run(until=LOADED, timeout=TIMEOUT)
    kernel.run(seconds=0.01)
    if not trial.once:
        kernel.run(seconds=max(seconds, 4.0 if trial.fails else 0.0), timeout=TIMEOUT)
    unload = "true" if trial.leaves else f"rmmod {trial.module}"
    status, said = shell.run(
        f"ls / >/dev/null; {unload}; S=$?; dmesg -c | grep -v 'PASS$'; [ $S = 0 ]",
        timeout=TIMEOUT,
    )
    if status:
        said += f"\nFAILURE of modprobe or rmmod: {status}"
    return said, {name: int(count) for name, count in counts.items()}


def judge(said: str, hits: Hits, trial: Trial, *, probed: bool) -> str:
    """What is wrong; empty if nothing is."""
    splat = SPLAT.search(said)
    if splat and not trial.fails:
        return f"FAILED: {splat[0]}\n{said}"
    if not re.search(trial.success, said):
        return f"FAILED: never said {trial.success!r}\n{said}"
    if probed and not trial.agrees(said, hits):
        return f"FAILED: counts differ {hits}\n{said[-1500:]}"
    return ""


def try_kernel(path: str, cpus: int, options: argparse.Namespace) -> int:
    """All trials that there are modules for, each from the same state; how many failed."""
    image = load_image(path)
    finder = finder_of(image, options.modules)
    trials = [
        trial
        for trial in (*BUILT, *LIBRARY, *DISTRIBUTED, *(LONG if options.long else ()))
        if (file := finder.find(trial.module)) is not None
        and trial.is_in(bytes(file.data[:]))
        and re.search(options.only, trial.name)
    ]
    files = module_files(finder, {trial.module for trial in trials})
    kernel = Kernel.boot(image, initrd=shell_initrd(image.arch, files), append="quiet", cpus=cpus)
    kernel.board.progress.busy = 300.0  # a test of the library lets nothing else run
    kernel.run(until=READY, timeout=TIMEOUT)
    kernel.run(seconds=0.01)
    state, failed = kernel.fork_state(), 0
    for trial in trials:
        for probed in (False, True):
            kernel.restore_state(state)
            began, since = time.process_time(), kernel.time
            try:
                with ExitStack() as planted:
                    said, hits = run(kernel, trial, options.seconds, planted, probed=probed)
                wrong = judge(said, hits, trial, probed=probed)
            except KprobesimError as error:
                wrong, hits = f"FAILED: {type(error).__name__}: {error}", {}
            failed += bool(wrong)
            figures = f"{kernel.time - since:.2f} s, {time.process_time() - began:.1f} s of ours"
            print(
                f"{image.release} {image.arch} {cpus} CPUs | {trial.name} | "
                f"{'probed' if probed else 'alone'} | {figures} | {hits or ''} {wrong or 'ok'}",
                flush=True,
            )
    return failed


def main() -> int:
    """Try each kernel on each number of CPUs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+", metavar="IMAGE")
    parser.add_argument("--cpus", nargs="+", type=int, default=[2, 4], metavar="N")
    parser.add_argument("--seconds", type=float, default=3.0, help="of the guest's, for each")
    parser.add_argument("--modules", type=Path, metavar="FOLDER", help="modules built for IMAGE")
    parser.add_argument("--only", default="", metavar="REGEX", help="trials whose names match")
    parser.add_argument("--long", action="store_true", help="also those that take minutes")
    options = parser.parse_args()
    failed = [try_kernel(path, n, options) for path in options.images for n in options.cpus]
    return int(any(failed))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (KprobesimError, OSError) as error:
        sys.exit(f"{error}")
