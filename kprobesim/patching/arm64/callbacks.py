"""Alternatives of ARM64 whose bytes a function of the kernel makes up (5.10 to 7.2).

The others than these make up what depends on the machine's memory and on chance (the addresses of
KVM's hypervisor code), or leave everything as it is on the CPU of
:mod:`~kprobesim.patching.arm64.capabilities`.
"""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.patching.arm64.words import NOP

__all__ = ["CALLBACKS"]

_MOVZ_X = 0xD2800000
_BHB_ITERATIONS = 8  # of a Cortex-A72 (spectre_bhb_loop_affected())


def _nops(words: list[int]) -> list[int]:
    return [NOP] * len(words)


def _loop_iterations(words: list[int]) -> list[int]:
    return [_MOVZ_X | _BHB_ITERATIONS << 5 | word & 0x1F for word in words]


#: What becomes of the instructions, by the function's name.
CALLBACKS: dict[str, Callable[[list[int]], list[int]]] = {
    "alt_cb_patch_nops": _nops,
    "spectre_v4_patch_fw_mitigation_enable": _nops,
    "spectre_bhb_patch_clearbhb": _nops,
    "spectre_bhb_patch_loop_iter": _loop_iterations,
}
