"""``KernelFacts``: what of a kernel decides whether an object can be loaded into it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from kprobesim.arch.architecture import ARCHITECTURES
from kprobesim.bpf.core.target import Target
from kprobesim.bpf.helpers import helper_name
from kprobesim.types.btf import Btf
from kprobesim.types.model import DeclTag, Enum, Function

__all__ = ["KernelFacts", "kernel_version"]

#: Linux keeps 8 bits for the last number.
_MOST = 255


def _nowhere(name: str) -> Sequence[int]:
    return ()


@dataclass(frozen=True)
class KernelFacts:
    """A kernel as libbpf and the verifier see it.

    Args:
        btf: Its types; ``None`` if it was built without.
        modules: The types of modules that are loaded, by name.
        addresses: What ``/proc/kallsyms`` says of a name.
        config: Its settings, ``"CONFIG_HZ": "250"``; ``None`` if they are not known. ``n`` is what
            is not set.
        version: ``LINUX_KERNEL_VERSION`` as three numbers: see :func:`kernel_version`.
    """

    btf: Btf | None
    modules: Mapping[str, Btf] = field(default_factory=dict, repr=False)
    addresses: Callable[[str], Sequence[int]] = field(default=_nowhere, repr=False)
    config: Mapping[str, str] | None = field(default=None, repr=False)
    version: tuple[int, ...] = ()

    @cached_property
    def target(self) -> Target | None:
        """Its types, to look for those of an object."""
        return None if self.btf is None else Target(self.btf, self.modules)

    @cached_property
    def helpers(self) -> frozenset[str] | None:
        """The names of the helpers that it has; ``None`` if that cannot be told."""
        names = self.enumerators("bpf_func_id")
        return frozenset(name.replace("BPF_FUNC_", "bpf_") for name in names) or None

    @cached_property
    def kfuncs(self) -> frozenset[str] | None:
        """The functions that programs may call; ``None`` if types do not say, before 6.10."""
        found = set()
        for btf in () if self.btf is None else (self.btf, *self.modules.values()):
            for tag in btf.named("bpf_kfunc", DeclTag):
                if isinstance(tag.target, Function):
                    found.add(tag.target.name)
        return frozenset(found) or None

    @cached_property
    def wraps_syscalls(self) -> bool:
        """Whether a system call gets a pointer to its caller's registers, and nothing else."""
        return any(self.addresses(f"{isa.syscall_prefix}bpf") for isa in ARCHITECTURES.values())

    def enumerators(self, name: str) -> dict[str, int]:
        """The names of an enum of the kernel's, with their values; none if types do not say.

        Without those that count the others: ``__MAX_BPF_MAP_TYPE``.
        """
        enums = () if self.btf is None else self.btf.named(name, Enum)
        pairs = (value for one in enums for value in one.values)
        return {name: value for name, value in pairs if not name.startswith("__")}

    def is_set(self, setting: str) -> bool | None:
        """Whether a setting is ``y``; ``None`` if settings are not known."""
        return None if self.config is None else self.config.get(setting) == "y"

    def has_helper(self, number: int) -> bool | None:
        """Whether it has the helper of that number; ``None`` if that cannot be told."""
        return None if self.helpers is None else helper_name(number) in self.helpers


def kernel_version(release: str, banner: str = "") -> tuple[int, int, int]:
    """The version that libbpf tells programs: Debian's release has no third number.

    ``get_kernel_version()`` of libbpf takes it from ``uname -v``, which ``banner`` holds.

    >>> kernel_version("6.1.0-57-cloud-amd64", "... SMP Debian 6.1.192-3 (2026-11-02)")
    (6, 1, 192)
    """
    debian = re.search(r"Debian (\d+)\.(\d+)\.(\d+)", banner)
    plain = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", release)
    found = debian or plain
    if found is None:
        return 0, 0, 0
    major, minor, patch = (int(one or 0) for one in found.groups())
    return major, minor, min(patch, _MOST)
