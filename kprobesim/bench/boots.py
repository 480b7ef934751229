"""What probes cost a kernel that boots."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from kprobesim.bench.contest import Contender, Contest, Target, check, seconds
from kprobesim.bench.sizes import Sizes
from kprobesim.kernel.base import Kernel
from kprobesim.kernel.booted import BootedKernel
from kprobesim.programs.actions import Count
from kprobesim.programs.program import Program

__all__ = ["USER_SPACE", "boot_contest", "boot_kernel"]

USER_SPACE = "Run /init as init process"
COUNTED_AT_MOST = 1.3
_LIMIT_S = 300


def boot_kernel(path: Path, cpus: int = 1) -> BootedKernel:
    """``path``, booted to the start of user space."""
    kernel = Kernel.boot(path, cpus=cpus)
    kernel.run(USER_SPACE, timeout=_LIMIT_S)
    return kernel


def boot_contest(path: Path, arch: str, sizes: Sizes) -> Contest:
    """A boot with nothing armed, and with functions counted from its first instruction."""
    times: dict[int, float] = {}

    def contender(count: int, target: Target | None) -> Contender:
        def run() -> float:
            kernel = Kernel.boot(path)
            names = list(islice(filter(kernel.check, kernel.functions("*", refused=True)), count))
            counts = kernel.plant(names, Program((Count(),))) if count else None
            taken = seconds(lambda: kernel.run(USER_SPACE, timeout=_LIMIT_S))
            check("whether any was counted", counts is not None and counts.hits > 0, count > 0)
            times[count] = kernel.time
            check("the guest's own time", times[count], times[min(times)])
            return taken

        label = f"{count:,} functions counted" if count else "nothing armed"
        return Contender(str(count), label, run, target)

    return Contest(
        arch,
        "boot",
        "a boot to user space",
        "s",
        f"{path.name}; what the run takes, without loading and arming",
        [contender(0, None), contender(sizes.boot_counted, Target("0", COUNTED_AT_MOST))],
        most_rounds=3,
    )
