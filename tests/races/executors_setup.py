"""What workers of other processes race: they import it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kprobesim import CalledKernel, call


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
