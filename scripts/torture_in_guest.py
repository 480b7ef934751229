"""The kernel's own torture and test modules, run in guests with several CPUs and probes of ours.

    python scripts/torture_in_guest.py IMAGE... [--cpus 2 4] [--seconds 3] [--modules FOLDER]

Distributions build few of them: Debian's full kernels have ``test_static_keys`` (whose text is
patched on all CPUs), ``test_user_copy`` and, asked for by ``--long``, ``test_bpf``. FOLDER may have
others, built from the kernel's source against its headers package (``make -C HEADERS M=FOLDER``):
``torture``, ``rcutorture``, ``locktorture``, ``scftorture``; ``kprobe_example`` and
``kretprobe_example``, which plant probes of the guest's own. Each runs for some seconds of the
guest's time, once alone and once with probes of ours: what it says must be a success, nothing may
be wrong in the log, and what it counts must be what our probes counted. The exit status is 0 if so.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import SupportsInt

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from kprobesim import BootedKernel, Kernel, Kprobe, KprobesimError  # noqa: E402
from kprobesim.asking.modules import module_files  # noqa: E402
from kprobesim.asking.shell import READY, Shell, shell_initrd  # noqa: E402
from kprobesim.image import KernelImage, load_image  # noqa: E402
from kprobesim.image.modules.finder import ModuleFinder  # noqa: E402

TIMEOUT = 900.0
SPLAT = re.compile(
    r"BUG:|WARNING:|Oops|Call Trace|Call trace|rcu:.*stall|FAILURE|FAIL\b|RCU_HOTPLUG|lockup"
)
HITS = dict[str, int]
LOADED = "module is loaded:"


def total(said: str, pattern: str) -> int:
    """The last number that ``pattern`` finds; all of its numbers added up."""
    found = re.findall(pattern, said)
    return sum(int(n) for n in re.findall(r"-?\d+", found[-1])) if found else -1


@dataclass(frozen=True)
class Trial:
    """One run of a module.

    Attributes:
        module: Its name.
        options: What ``modprobe`` gives it.
        success: What must be found in the log.
        probed: Functions whose calls are counted meanwhile.
        agrees: Whether the log and the counts are of one mind.
        once: It does all when it is loaded, and need not be left running.
        fails: It is one that must find a fault.
    """

    module: str
    options: str
    success: str
    probed: tuple[str, ...] = ()
    agrees: Callable[[str, HITS], bool] = lambda _said, hits: all(hits.values())
    once: bool = False
    fails: bool = False

    @property
    def name(self) -> str:
        """What it is called in the table."""
        kind = re.search(r"torture_type=(\S+)", self.options)
        return f"{self.module} {kind[1]}" if kind else self.module


def rcu(flavour: str, *readers: str) -> Trial:
    """A run of rcutorture."""
    return Trial(
        "rcutorture",
        f"torture_type={flavour} stat_interval=1 shuffle_interval=1 stutter=2 test_boost=0",
        r"End of test: SUCCESS",
        ("rcutorture:rcu_torture_one_read", *readers),
        lambda said, hits: (
            # the pipe's histogram has each read that found something to read
            total(said, r"Reader Pipe: +(.*)") > 0
            and total(said, r"Reader Pipe: +(.*)") <= hits["rcutorture:rcu_torture_one_read"]
            and all(hits.values())
        ),
    )


LOCKS = {
    "spin_lock": "torture_spin_lock_write_lock",
    "mutex_lock": "torture_mutex_lock",
    "rw_lock": "torture_rwlock_write_lock",
    "rwsem_lock": "torture_rwsem_down_write",
}
"""What takes each kind of lock for a writer of locktorture."""


def lock(kind: str) -> Trial:
    """A run of locktorture, which counts what it acquired."""
    function = f"locktorture:{LOCKS[kind]}"
    return Trial(
        "locktorture",
        f"torture_type={kind} stat_interval=1 shuffle_interval=1 stutter=2",
        r"End of test: SUCCESS",
        (function,),
        lambda said, hits: total(said, r"Writes:  Total: (\d+)") == hits[function] > 0,
    )


BUILT = (
    rcu("rcu"),
    rcu("srcu", "__srcu_read_lock"),
    rcu("tasks-rude"),
    rcu("tasks-tracing"),
    replace(rcu("busted"), success="End of test: FAILURE", fails=True),  # an RCU that waits not
    *map(lock, LOCKS),
    Trial("scftorture", "stat_interval=1", r"End of test: SUCCESS", ("smp_call_function_many",)),
    Trial("kprobe_example", "", r"handler_pre: <kernel_clone>", ("kernel_clone",)),
    Trial("kretprobe_example", "", r"kernel_clone returned \d+", ("kernel_clone",)),
)
DISTRIBUTED = (
    Trial("test_static_keys", "", "", ("jump_label_update",), once=True),
    Trial("test_user_copy", "", r"tests passed", ("vm_munmap",), once=True),
)
LONG = (
    Trial(
        "test_bpf",
        "test_suite=test_bpf",
        r"Summary: \d+ PASSED, 0 FAILED",
        ("bpf_prog_select_runtime",),
        once=True,
    ),
)


def finder_of(image: KernelImage, folder: Path | None) -> ModuleFinder:
    """Finds the modules of a kernel, those in ``folder`` first."""
    finder = ModuleFinder(image)
    for path in sorted(folder.glob("*.ko")) if folder else ():
        finder.offer(path)
    return finder


def run(kernel: BootedKernel, trial: Trial, seconds: float, *, probed: bool) -> tuple[str, HITS]:
    """Load it, wait, unload it: the log, and how often each function was called."""
    shell = Shell(kernel)
    counts: dict[str, SupportsInt] = {}
    for needed in ("torture", "test_static_key_base"):
        shell.run(f"modprobe {needed} 2>/dev/null")  # so that the next one loaded is the module
    shell.run("dmesg -c >/dev/null")
    if probed:
        loading = Kprobe("do_init_module", pre_handler=lambda *_: kernel.stop())
        kernel.register_kprobe(loading)
    kernel.console.send(f"modprobe {trial.module} {trial.options}; echo {LOADED} $?\n")
    if probed:
        kernel.run(timeout=TIMEOUT)  # until it is there, and has not begun
        kernel.unregister_kprobe(loading)
        counts.update((name, kernel.count(name)) for name in trial.probed)
    kernel.run(until=LOADED, timeout=TIMEOUT)
    kernel.run(seconds=0.01)
    if not trial.once:
        kernel.run(seconds=max(seconds, 4.0 if trial.fails else 0.0), timeout=TIMEOUT)
    status, said = shell.run(
        f"ls / >/dev/null; rmmod {trial.module}; S=$?; dmesg -c | grep -v 'PASS$'; [ $S = 0 ]",
        timeout=TIMEOUT,
    )
    if status:
        said += f"\nFAILURE of modprobe or rmmod: {status}"
    return said, {name: int(count) for name, count in counts.items()}


def judge(said: str, hits: HITS, trial: Trial, *, probed: bool) -> str:
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
        for trial in (*BUILT, *DISTRIBUTED, *(LONG if options.long else ()))
        if finder.find(trial.module) is not None and re.search(options.only, trial.name)
    ]
    files = module_files(finder, {trial.module for trial in trials})
    kernel = Kernel.boot(image, initrd=shell_initrd(image.arch, files), append="quiet", cpus=cpus)
    kernel.run(until=READY, timeout=TIMEOUT)
    kernel.run(seconds=0.01)
    state, failed = kernel.fork_state(), 0
    for trial in trials:
        for probed in (False, True):
            kernel.restore_state(state)
            began, since = time.process_time(), kernel.time
            try:
                said, hits = run(kernel, trial, options.seconds, probed=probed)
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
