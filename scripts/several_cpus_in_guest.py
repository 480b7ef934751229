"""What real kernels make of several CPUs, asked in a shell of theirs.

    python scripts/several_cpus_in_guest.py IMAGE... [--cpus 2 4 8]

Each kernel boots on so many CPUs to a shell, and is asked how many it has, for each CPU's timer and
for the interrupts that CPUs send each other; a program runs where it is told to; each CPU but the
first is switched off and on again; the kernel shows what all CPUs do. From there it is switched
off, restarted, and made to panic, each from the last CPU. The exit status is 0 if all of that works
in all of them.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from kprobesim import BootedKernel, GuestPanic, Kernel, KprobesimError  # noqa: E402
from kprobesim.asking.shell import READY, Shell, shell_initrd  # noqa: E402
from kprobesim.boot.stop import Stop  # noqa: E402
from kprobesim.image import load_image  # noqa: E402

SECONDS = 600.0
SYSTEM = "/sys/devices/system/cpu"
TIMERS = r"arch_timer|Local timer interrupts"
MESSAGES = r"Rescheduling interrupts|Function call interrupts"


class Wrong(Exception):
    """An answer that is not right."""


def check(right: bool, what: str, answer: object) -> None:
    """Raise if it is not ``right``."""
    if not right:
        raise Wrong(f"{what}: {answer}")


def ask(shell: Shell, line: str) -> str:
    """What a line prints; it must succeed."""
    status, said = shell.run(line, timeout=SECONDS)
    check(status == 0, line, (status, said))
    return said.strip()


def counts(shell: Shell, names: str, cpus: int) -> list[int]:
    """Of /proc/interrupts, how often each CPU had an interrupt of these names."""
    lines = [
        line for line in ask(shell, "cat /proc/interrupts").splitlines() if re.search(names, line)
    ]
    check(bool(lines), "interrupts", names)
    rows = [[int(word) for word in line.split()[1 : 1 + cpus]] for line in lines]
    return [sum(column) for column in zip(*rows, strict=True)]


def ask_all(shell: Shell, cpus: int) -> None:
    """Everything that the guest survives."""
    for line in ("nproc", "grep -c ^processor /proc/cpuinfo"):
        check(ask(shell, line) == str(cpus), line, ask(shell, line))
    timers = counts(shell, TIMERS, cpus)
    check(len(timers) == cpus and all(timers), "timers", timers)
    if cpus > 1:
        sent = counts(shell, MESSAGES, cpus)
        check(all(sent), "interrupts between CPUs", sent)
    for number in range(cpus):
        where = f"taskset {1 << number:x} awk '{{print $39}}' /proc/self/stat"
        check(ask(shell, where) == str(number), where, ask(shell, where))
    for number in range(1, cpus):
        ask(shell, f"echo 0 >{SYSTEM}/cpu{number}/online")
        check(ask(shell, "nproc") == str(cpus - 1), f"without CPU {number}", ask(shell, "nproc"))
        ask(shell, f"echo 1 >{SYSTEM}/cpu{number}/online")
        check(ask(shell, "nproc") == str(cpus), f"CPU {number} again", ask(shell, "nproc"))
    both = " ".join(f"taskset {1 << n:x} sha256sum /bin/busybox &" for n in range(cpus))
    sums = {line.split()[0] for line in ask(shell, f"{both} wait").splitlines()}
    check(len(sums) == 1, "programs on all CPUs at once", sums)
    ask(shell, "dmesg -c >/dev/null; echo l >/proc/sysrq-trigger; sleep 0.1")
    shown = {int(n) for n in re.findall(r"(?i)cpu:? ?(\d+)", ask(shell, "dmesg -c"))}
    check(shown == set(range(cpus)), "what CPUs do", shown)


def bring_down(kernel: BootedKernel, shell: Shell, cpus: int) -> None:
    """Three ends, each from the state before it, on the last CPU."""
    state, last = kernel.fork_state(), f"taskset {1 << cpus - 1:x}"
    for line, kind in (("poweroff -f", Stop.POWER_OFF), ("reboot -f", Stop.RESTART)):
        kernel.console.send(f"{last} {line}\n")
        stop = kernel.run(timeout=SECONDS)
        check(stop.kind is kind, line, stop)
        kernel.restore_state(state)
    kernel.console.send(f"{last} sh -c 'echo c >/proc/sysrq-trigger'\n")
    try:
        stop = kernel.run(timeout=SECONDS)
    except GuestPanic as panic:
        check("sysrq" in str(panic).lower(), "panic", panic)
    else:
        raise Wrong(f"no panic: {stop}")


def try_kernel(path: str, cpus: int) -> str:
    """Do all of it; figures of the boot."""
    image = load_image(path)
    began = time.process_time()
    kernel = Kernel.boot(image, initrd=shell_initrd(image.arch), append="quiet", cpus=cpus)
    kernel.run(until=READY, timeout=SECONDS)
    figures = (
        f"{time.process_time() - began:.2f} s of processor time, {kernel.time:.3f} s of its own"
    )
    shell = Shell(kernel)
    kernel.run(seconds=0.01)
    ask_all(shell, cpus)
    bring_down(kernel, shell, cpus)
    return figures


def main() -> int:
    """Try each kernel on each number of CPUs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+", metavar="IMAGE")
    parser.add_argument("--cpus", nargs="+", type=int, default=[1, 2, 4, 8], metavar="N")
    options = parser.parse_args()
    failed = 0
    for path in options.images:
        for cpus in options.cpus:
            try:
                answer = f"ok, {try_kernel(path, cpus)}"
            except (Wrong, KprobesimError) as error:
                answer, failed = f"FAILED: {type(error).__name__}: {error}", failed + 1
            print(f"{Path(path).name} on {cpus}: {answer}", flush=True)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
