"""What booting a kernel to the first line of user space costs, beside QEMU's TCG.

    python benchmarks/boot.py vmlinuz linux-image.deb [--rounds N] [--until TEXT] [--json]
    python benchmarks/boot.py vmlinuz --determinism

Ours, ours with 20 armed but rarely hit probes, and ``qemu-system-*`` (TCG, one thread, one CPU;
left out with a word where it is not installed) boot the same kernel with the same initial RAM disk,
the same memory and the same command line in turn, each time in a fresh process. The clock runs from
the start of the process until the line can be read at its output: Python's start, our imports and
the loading of the image are in it, as are QEMU's start and firmware. Nobody waits for anything, so
processor time is what counts: it hardly changes when others use the machine. ``--determinism``
boots five times to the end of the guest and compares console, hits and virtual time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

SOURCES = Path(__file__).resolve().parents[1]
MEMORY = 256  # MiB
FIRST_LINE = "kprobesim init: "
LIMIT_S = 300
AT_MOST = 1.2  # of QEMU
AT_MOST_PROBED = 1.05  # of ours without probes
REPEATS = 5
READY = "in user space "

# Functions that a boot seldom calls, or never. The first 20 that a kernel has are probed.
RARE = (
    *("panic", "emergency_restart", "kernel_power_off", "kernel_halt", "do_exit", "kernel_execve"),
    *("kernel_clone", "do_group_exit", "sys_sync", "ksys_sync", "vfs_statfs", "vfs_symlink"),
    *("vfs_rename", "vfs_link", "do_fchownat", "vfs_rmdir", "do_mount_root", "prepare_namespace"),
    *("rest_init", "start_kernel", "vfs_mknod", "force_sig", "oops_enter", "do_coredump"),
    *("kernel_restart", "orderly_poweroff", "vfs_truncate", "do_linkat", "vfs_fallocate"),
)
PROBES = 20

QEMU = {
    "x86_64": ("qemu-system-x86_64", ("-cpu", "qemu64"), "console=ttyS0"),
    "arm64": ("qemu-system-aarch64", ("-M", "virt", "-cpu", "cortex-a72"), "console=ttyAMA0"),
}


@dataclass(frozen=True)
class Timing:
    """Seconds from a process' start to the line: on the clock and of processor time.

    And, of ours, those that ``Kernel.boot`` and ``run`` took, and those of ``run`` alone.
    """

    wall: float
    cpu: float
    inside: float = 0
    run: float = 0
    details: dict[str, Any] | None = None


@dataclass(frozen=True)
class Guest:
    """What every contender boots."""

    name: str
    arch: str
    kernel: Path
    initrd: Path
    append: str
    until: str
    unpacking: float | None


# -- in the fresh process --------------------------------------------------------------------------


def boot_here(options: argparse.Namespace) -> int:
    """Boot once; print when the line was there, and what it cost."""
    began = time.perf_counter()
    from kprobesim import Kernel, Kprobe

    imported = time.perf_counter()
    hits: list[tuple[str, int]] = []

    def count(p: Kprobe, _regs: object) -> None:
        hits.append((p.symbol_name or "", round(kernel.time * 1e9)))

    kernel = Kernel.boot(
        options.images[0], initrd=options.initrd, append=options.append, memory=f"{MEMORY}M"
    )
    names = [name for name in RARE if name in kernel.symbols][:PROBES] if options.probed else []
    if names:
        kernel.register_kprobes([Kprobe(name, pre_handler=count) for name in names])
    loaded = time.perf_counter()
    kernel.run(None if options.to_the_end else options.until, timeout=LIMIT_S)
    done = time.perf_counter()
    used = resource.getrusage(resource.RUSAGE_SELF)
    state = (kernel.console.text, hits, round(kernel.time * 1e9))
    result = {
        "import_s": round(imported - began, 3),
        "load_s": round(loaded - imported, 3),
        "run_s": round(done - loaded, 3),
        "cpu_s": round(used.ru_utime + used.ru_stime, 3),
        "rss_mib": used.ru_maxrss >> 10,
        "probes": len(names),
        "hits": len(hits),
        "virtual_ns": state[2],
        "hash": hashlib.sha256(repr(state).encode()).hexdigest(),
    }
    print(READY + json.dumps(result), flush=True)
    return 0


# -- the contenders --------------------------------------------------------------------------------


def first_line(command: Sequence[str], wanted: str, environment: dict[str, str]) -> Timing:
    """Start ``command`` and read its output until a line has ``wanted``; then end it."""
    began = time.perf_counter()
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        guard = threading.Timer(LIMIT_S, os.kill, (process.pid, signal.SIGKILL))
        guard.start()
        try:
            output, mark = b"", wanted.encode()
            while mark not in output or not output.endswith(b"\n"):
                piece = os.read(process.stdout.fileno(), 1 << 16)
                if not piece:
                    tail = output[-400:].decode("utf-8", "replace")
                    raise SystemExit(f"{command[0]} ended or hung without {wanted!r}:\n{tail}")
                output += piece
            wall = time.perf_counter() - began
        finally:
            guard.cancel()
            os.kill(process.pid, signal.SIGKILL)  # Popen.kill() would forget one that has ended
            _, _, used = os.wait4(process.pid, 0)
            process.returncode = 0
    line = next(line for line in output.decode("utf-8", "replace").splitlines() if wanted in line)
    details = json.loads(line.removeprefix(READY)) if wanted == READY else None
    cpu = details["cpu_s"] if details else used.ru_utime + used.ru_stime
    if details is None:
        return Timing(wall, cpu)
    return Timing(wall, cpu, details["load_s"] + details["run_s"], details["run_s"], details)


def ours(guest: Guest, cache: str, *extra: str) -> Timing:
    """Boot in a fresh Python, which keeps compiled modules as an installed package has them."""
    environment = os.environ | {"PYTHONPATH": str(SOURCES), "PYTHONPYCACHEPREFIX": cache}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, __file__, "--here", str(guest.kernel), "--append", guest.append]
    command += ["--initrd", str(guest.initrd), "--until", guest.until, *extra]
    return first_line(command, READY, environment)


def qemu(guest: Guest) -> Timing:
    """Boot in QEMU."""
    program, machine, console = QEMU[guest.arch]
    command = [program, *machine, "-accel", "tcg,thread=single", "-smp", "1", "-m", f"{MEMORY}M"]
    command += ["-nographic", "-no-reboot", "-kernel", str(guest.kernel)]
    command += ["-initrd", str(guest.initrd), "-append", f"{console} {guest.append}".strip()]
    return first_line(command, guest.until, dict(os.environ))


def prepare(path: str, options: argparse.Namespace, folder: Path) -> Guest:
    """Unpack a package, and find out which kernel it is."""
    from kprobesim.image import load_image
    from kprobesim.image.files.deb import kernel_from_deb
    from kprobesim.image.files.source import open_file

    file, unpacking = Path(path), None
    if file.suffix == ".deb":
        began = time.perf_counter()
        data = kernel_from_deb(file, open_file(file))
        unpacking = time.perf_counter() - began
        file = folder / f"kernel-{file.stem}"
        file.write_bytes(bytes(data))
    image = load_image(file)
    initrd = options.initrd or SOURCES / f"samples/init-{image.arch}.cpio"
    return Guest(
        f"{image.release} ({image.container})",
        image.arch,
        file,
        Path(initrd),
        options.append,
        options.until,
        unpacking,
    )


# -- the figures -----------------------------------------------------------------------------------


def compare(guest: Guest, rounds: int, cache: str) -> dict[str, Any]:
    """Everybody in turn, ``rounds`` times after one that does not count."""
    contenders: dict[str, Callable[[], Timing]] = {
        "kprobesim": lambda: ours(guest, cache),
        "with probes": lambda: ours(guest, cache, "--probed"),
    }
    program = QEMU[guest.arch][0]
    if shutil.which(program):
        contenders["qemu"] = lambda: qemu(guest)
    else:
        print(f"{program} is not installed: no comparison with it", file=sys.stderr)
    times: dict[str, list[Timing]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, boot in contenders.items():
            timing = boot()
            if number:
                times[name].append(timing)
    return {
        "kernel": guest.name,
        "arch": guest.arch,
        "append": guest.append,
        "until": guest.until,
        "unpacking_s": guest.unpacking,
        "rounds": {
            name: [{"wall_s": t.wall, "cpu_s": t.cpu, **(t.details or {})} for t in timings]
            for name, timings in times.items()
        },
        "ratios": ratios(times),
    }


def ratios(times: dict[str, list[Timing]]) -> list[dict[str, Any]]:
    """The medians of the rounds' ratios, on the clock and in processor time."""
    pairs = [("with probes", "kprobesim", AT_MOST_PROBED)]
    if "qemu" in times:
        pairs.insert(0, ("kprobesim", "qemu", AT_MOST))
    found = []
    for one, other, limit in pairs:
        both = list(zip(times[one], times[other], strict=True))
        wall = median(a.wall / b.wall for a, b in both)
        cpu = median(a.cpu / b.cpu for a, b in both)
        row = {"of": one, "to": other, "wall": wall, "cpu": cpu, "at_most": limit}
        if other == "qemu":
            row["inside"] = median(a.inside / b.wall for a, b in both)
        else:
            row["run"] = median(a.run / b.run for a, b in both)
        found.append(row)
    return found


def show(figures: dict[str, Any]) -> None:
    """The figures as text."""
    where = "the first line of user space" if figures["until"] == FIRST_LINE else figures["until"]
    print(f"\n{figures['arch']}: {figures['kernel']} to {where}")
    if figures["unpacking_s"] is not None:
        print(f"  (unpacking the package, not counted: {figures['unpacking_s']:.2f} s)")
    print(f"  {'':12} {'s':>6} {'cpu s':>6}")
    for name, rounds in figures["rounds"].items():
        parts = {key: median(row[key] for row in rounds) for key in rounds[0] if key != "hash"}
        line = f"  {name:12} {parts['wall_s']:6.2f} {parts['cpu_s']:6.2f}"
        if "run_s" in parts:
            line += f"   load {parts['load_s']:.2f}, run {parts['run_s']:.2f}"
            line += f", {parts['rss_mib']:.0f} MiB"
        if parts.get("probes"):
            line += f", {parts['probes']:.0f} probes, {parts['hits']:.0f} hits"
        print(line)
    for row in figures["ratios"]:
        met = "met" if row["cpu"] <= row["at_most"] else "MISSED"
        if "inside" in row:
            more = f"{row['inside']:.2f} without Python's start"
        else:
            more = f"{row['run']:.2f} from the guest's first instruction on"
        print(
            f"  {row['of']}: {row['cpu']:.2f} x {row['to']}, at most {row['at_most']}: {met}; "
            f"on the clock {row['wall']:.2f}, {more}"
        )


def repeat(guest: Guest, cache: str) -> bool:
    """Boot to the end several times, with probes; whether all came out the same."""
    print(f"\n{guest.arch}: {guest.name}: console, hits and virtual time of {REPEATS} boots")
    hashes = set()
    for _ in range(REPEATS):
        details = ours(guest, cache, "--probed", "--to-the-end").details or {}
        hashes.add(details["hash"])
        print(f"  {details['hash']}  {details['virtual_ns']} ns, {details['hits']} hits")
    print("  all the same" if len(hashes) == 1 else "  THEY DIFFER")
    return len(hashes) == 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", nargs="+", help="bzImage, Image or .deb")
    parser.add_argument("--initrd", help="default: our own, of samples/")
    parser.add_argument("--append", default="", help="the command line beyond console=")
    parser.add_argument(
        "--until", default=FIRST_LINE, help="a text; default: the first line of our init"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON object a kernel")
    parser.add_argument("--determinism", action="store_true", help="do five boots agree?")
    for hidden in ("--here", "--probed", "--to-the-end"):
        parser.add_argument(hidden, action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        return boot_here(options)
    if options.rounds < 1:
        parser.error("--rounds: at least 1")
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for path in options.images:
            guest = prepare(path, options, Path(folder))
            if options.determinism:
                good = repeat(guest, f"{folder}/cache") and good
                continue
            figures = compare(guest, options.rounds, f"{folder}/cache")
            if options.json:
                print(json.dumps(figures))
            else:
                show(figures)
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
