"""The real kernels that have been fetched, if any."""

from __future__ import annotations

import os
from pathlib import Path

from kprobesim.arch.architecture import architecture
from kprobesim.errors import KprobesimError
from kprobesim.kernel.base import Kernel
from kprobesim.kernel.called import CalledKernel

__all__ = ["cached_kernel"]

_PATTERNS = ("vmlinux*{name}*", "linux-*{name}*.deb")


def cached_kernel(arch: str) -> tuple[CalledKernel | None, str]:
    """The newest kernel of ``arch`` in the cache, and why there is none or which it is.

    The cache is ``$KPROBESIM_KERNELS`` or ``.cache/kernels``, beside the sources or here.
    """
    chosen = os.environ.get("KPROBESIM_KERNELS")
    sources = Path(__file__).resolve().parents[2]
    folders = [Path(chosen)] if chosen else [sources / ".cache/kernels", Path(".cache/kernels")]
    reason = f"no {arch} kernel in {folders[0]}: `make kernels` fetches one"
    for path in _candidates(folders, architecture(arch).debian):
        try:
            kernel = Kernel.load(path)
        except (KprobesimError, OSError) as error:
            reason = f"{path.name} cannot be loaded: {error}"
            continue
        if kernel.arch == arch:
            return kernel, path.name
    return None, reason


def _candidates(folders: list[Path], name: str) -> list[Path]:
    for folder in folders:
        for pattern in _PATTERNS:
            found = [path for path in folder.rglob(pattern.format(name=name)) if path.is_file()]
            if found:
                return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)
    return []
