"""What workers of other processes race: they import it."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

from kprobesim import BootedKernel, CalledKernel, call


def forks(k: CalledKernel) -> dict[str, Any]:
    """Two forks, after another one."""
    k.call("do_fork", 0, 0)
    fork = call("do_fork", 0, 0)
    return {"a": fork, "b": fork, "invariant": "a != b"}


def elsewhere_other_forks(k: CalledKernel) -> dict[str, Any]:
    """Something else in each process."""
    if os.environ.get("RACE_MAIN") != str(os.getpid()):
        k.call("do_fork", 0, 0)
    return forks(k)


def dies_elsewhere(k: CalledKernel) -> dict[str, Any]:
    """Ends every process but the one that said it is the first."""
    if os.environ.get("RACE_MAIN") != str(os.getpid()):
        os._exit(3)
    return forks(k)


def no_keywords(_: CalledKernel) -> Any:
    """Nothing to race."""
    return Path()


def counts(k: BootedKernel) -> dict[str, Any]:
    """Two CPUs put a letter into one seq_file."""
    file = k.alloc(256)
    k.write(file, struct.pack("<4Q", file + 128, 64, 0, 0))  # buf, size, from, count
    both = {name: call("seq_putc", file, ord(name)) for name in "ab"}
    return {**both, "data_races": False, "invariant": f"u64({file + 24}) == 2"}
