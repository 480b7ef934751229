"""Threads on all CPUs that change pages under each other, in guests with several CPUs.

    python scripts/threads_in_guest.py IMAGE... [--cpus 4] [--rounds 300]

The program ``threads_in_guest.c`` runs a thread a CPU on one memory. In each round one of them puts
another page in a place, gives it up, has it copied, or takes it away, each time on another CPU, and
all look: who still saw the old page would have a translation that was not forgotten. Then CPUs go
off and on again beside programs that fork, each with a load of its own. All of that with CPUs that
take turns in several ways, long ones and very short ones. The exit status is 0 if nobody ever sees
what is not there, and the kernel has nothing to complain about.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from kprobesim import BootedKernel, Kernel, KprobesimError  # noqa: E402
from kprobesim.asking.shell import READY, Shell, shell_initrd  # noqa: E402
from kprobesim.boot.initramfs import regular_file  # noqa: E402
from kprobesim.image import load_image  # noqa: E402

SECONDS = 900.0
TARGETS = {"x86_64": "x86_64-linux-musl", "arm64": "aarch64-linux-musl"}
POLICIES = (
    "round-robin:blocks=10000",
    "round-robin:blocks=100",
    "random:seed=1,blocks=1000",
    "random:seed=2,blocks=50",
    "priorities:seed=3,every=50",
)
COMPLAINTS = "dmesg | grep -E 'BUG|WARNING|Oops|stall|lockup|not responding'"
#: Loads that fork, beside CPUs that go off and on again; the sums of all must be one.
HOTPLUG = (
    "for i in 1 2 3 4 5 6; do (for j in 1 2 3; do sha256sum /bin/busybox | sort | cat; done) & "
    "done >/tmp/sums; for n in /sys/devices/system/cpu/cpu[1-9]; do "
    "echo 0 >$n/online; sleep 0.01; echo 1 >$n/online; done; wait; "
    "sort -u /tmp/sums | wc -l; wc -l </tmp/sums; cat /sys/devices/system/cpu/online"
)


def build(arch: str) -> bytes:
    """The program for the guests of an architecture."""
    source = Path(__file__).with_suffix(".c")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "threads"
        compiler = [
            sys.executable,
            "-m",
            "ziglang",
            "cc",
            "-target",
            TARGETS[arch],
            "-static",
            "-O2",
        ]
        subprocess.run([*compiler, "-o", program, source], check=True)
        return program.read_bytes()


def ask(kernel: BootedKernel, cpus: int, rounds: int) -> str:
    """What is wrong; empty if nothing is."""
    shell = Shell(kernel)
    status, said = shell.run(f"threads {cpus} {rounds}", timeout=SECONDS)
    if status or ", 0 wrong, " not in said:
        return f"threads: {status}, {said}"
    _, said = shell.run(HOTPLUG, timeout=SECONDS)
    if said.split() != ["1", "18", f"0-{cpus - 1}"]:
        return f"hotplug: {said}"
    _, said = shell.run(COMPLAINTS, timeout=SECONDS)
    return said


def try_kernel(path: str, cpus: int, rounds: int, programs: dict[str, bytes]) -> int:
    """All policies, each from the same state; how many failed."""
    image = load_image(path)
    arch = image.arch
    programs[arch] = programs.get(arch) or build(arch)
    initrd = shell_initrd(arch, {"bin/threads": regular_file(programs[arch], 0o755)})
    kernel = Kernel.boot(image, initrd=initrd, append="quiet", cpus=cpus)
    kernel.run(until=READY, timeout=SECONDS)
    kernel.run(seconds=0.01)
    state, failed = kernel.fork_state(), 0
    for policy in POLICIES:
        kernel.restore_state(state)
        kernel.policy = policy
        began, since = time.process_time(), kernel.time
        try:
            wrong = ask(kernel, cpus, rounds)
        except KprobesimError as error:
            wrong = f"{type(error).__name__}: {error}"
        failed += bool(wrong)
        figures = f"{kernel.time - since:.2f} s, {time.process_time() - began:.1f} s of ours"
        print(
            f"{image.release} {arch} {cpus} CPUs | {policy} | {figures} | "
            f"{f'FAILED: {wrong}' if wrong else 'ok'}",
            flush=True,
        )
    return failed


def main() -> int:
    """Try each kernel on each number of CPUs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+", metavar="IMAGE")
    parser.add_argument("--cpus", nargs="+", type=int, default=[4], metavar="N", help="2 to 8")
    parser.add_argument("--rounds", type=int, default=300, metavar="N")
    options = parser.parse_args()
    programs: dict[str, bytes] = {}
    failed = [
        try_kernel(path, cpus, options.rounds, programs)
        for path in options.images
        for cpus in options.cpus
    ]
    return int(any(failed))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (KprobesimError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"{error}")
