"""Static keys: the jump labels that boot switches, on both architectures.

An image's jump labels stand as its keys are initialised. Boot switches some of them, whatever the
machine; which ones was read off running kernels of Debian.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from kprobesim.hexrepr import HexRepr
from kprobesim.patching.text import Code

__all__ = ["JumpLabel", "labels_by_keys", "switched_labels"]

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
)
#: Functions all of whose keys that were on are off by then, for keys without a name of their own:
#: DO_ONCE() has been done, or the interrupt controller's driver found no hypervisor mode.
OFF_IN = ("key_set_index_key", "alg_test", "gic_cpu_sys_reg_init")

_KEY = 16
_BRANCH, _FLAGS = 1, 3
_TRUE = b"\1\0\0\0"  # static_key.enabled


@dataclass(frozen=True, repr=False)
class JumpLabel(HexRepr):
    """A place whose instruction is a jump to ``target``, or now none: ``jumps`` says which."""

    place: int
    target: int
    jumps: bool


def switched_labels(code: Code) -> Iterator[JumpLabel]:
    """The jump labels whose keys boot switches."""
    start, table = code.image.jump_table
    keys = {address: True for name in ON if (address := _key(code, name))}
    keys |= {address: False for name in OFF if (address := _key(code, name))}
    extents = [_extent(code, name) for name in OFF_IN]
    labels = []
    rows = struct.iter_unpack("<iiq", table[: len(table) & ~15])
    for number, (place, target, key) in enumerate(rows):
        at = start + 16 * number
        label = at + place, at + 4 + target, at + 8 + key
        labels.append(label)
        if any(low <= at + place < high for low, high in extents):
            address = label[2] & ~_FLAGS
            if code.image.read(address, 4) == _TRUE:
                keys[address] = False
    for place, target, key in labels:
        wanted = keys.get(key & ~_FLAGS)
        if wanted is not None:
            yield JumpLabel(place, target, wanted != bool(key & _BRANCH))


def labels_by_keys(code: Code) -> Iterator[JumpLabel]:
    """All jump labels, as their keys are now: those of a module (jump_label_add_module())."""
    start, table = code.image.jump_table
    rows = struct.iter_unpack("<iiq", table[: len(table) & ~15])
    for at, (place, target, key) in zip(itertools.count(start, 16), rows, strict=False):
        address = at + 8 + key
        enabled = int.from_bytes(code.read(address & ~_FLAGS, 4), "little", signed=True) > 0
        yield JumpLabel(at + place, at + 4 + target, enabled != bool(address & _BRANCH))


def _key(code: Code, name: str) -> int | None:
    name, bracket, index = name.partition("[")
    address = code.symbol(name)
    if address is None or not bracket:
        return address
    return address + _KEY * int(index.rstrip("]"))


def _extent(code: Code, name: str) -> tuple[int, int]:
    found = code.image.symbols.candidates(name)
    return (found[0].address, found[0].address + found[0].size) if len(found) == 1 else (0, 0)
