"""Static keys: the jump labels that boot switches, on both architectures.

An image's jump labels stand as its keys are initialised. Boot switches some of them, whatever the
machine; which ones was read off running kernels of Debian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from kprobesim.arch.code import Code
from kprobesim.image.tables import JUMP_TABLE

__all__ = ["JumpLabel", "switched_labels"]

#: Keys that are on once user space runs. A number in brackets: of an array, in keys of 16 bytes.
ON = (
    "__use_tsc",
    "cr_pinning",
    "blake2s_use_ssse3",
    "__sched_clock_stable",
    "sched_clock_running",
    "timers_nohz_active",
    "timers_migration_enabled",
    "crypto_boot_test_finished",
    "crng_is_ready",
    "kvm_arm_pmu_available",
    "nf_hooks_needed[14]",  # NFPROTO_IPV4 and IPV6, POST_ROUTING: AppArmor's
    "nf_hooks_needed[54]",
)
#: Keys that are off by then.
OFF = (
    "deferred_pages",
    "crct10dif_fallback",
    "crc64_rocksoft_fallback",
    "supports_deactivate_key",
)
#: Functions whose DO_ONCE() has been done, which switches the key off.
DONE_ONCE = ("key_set_index_key", "alg_test")

_KEY = 16
_BRANCH, _FLAGS = 1, 3


@dataclass(frozen=True)
class JumpLabel:
    """A place whose instruction is a jump to ``target``, or now none: ``jumps`` says which."""

    place: int
    target: int
    jumps: bool


def switched_labels(code: Code) -> Iterator[JumpLabel]:
    """The jump labels whose keys boot switches."""
    found = code.image.table(*JUMP_TABLE)
    if found is None:
        return
    start, table = found
    keys = {address: True for address in map(_key, (code,) * len(ON), ON) if address}
    keys |= {address: False for address in map(_key, (code,) * len(OFF), OFF) if address}
    done = [_extent(code, name) for name in DONE_ONCE]
    entries = struct.iter_unpack("<iiq", table[: len(table) // 16 * 16])
    for at, (place, target, key) in enumerate(entries):
        at = start + 16 * at
        key += at + 8
        enabled = keys.get(key & ~_FLAGS)
        if enabled is None and any(low <= at + place < high for low, high in done):
            name = code.image.symbols.at(key & ~_FLAGS)
            if name is not None and name.symbol.name.startswith("___once_key"):
                enabled = False
        if enabled is not None:
            yield JumpLabel(at + place, at + 4 + target, enabled != bool(key & _BRANCH))


def _key(code: Code, name: str) -> int | None:
    name, bracket, index = name.partition("[")
    address = code.symbol(name)
    if address is None or not bracket:
        return address
    return address + _KEY * int(index.rstrip("]"))


def _extent(code: Code, name: str) -> tuple[int, int]:
    found = code.image.symbols.candidates(name)
    return (found[0].address, found[0].address + found[0].size) if len(found) == 1 else (0, 0)
