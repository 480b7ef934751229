"""The ARM64 CPU that an image is judged for: which capabilities its alternatives find.

It is a Cortex-A72 as QEMU's ``virt`` machine has it: ARMv8.0 without LSE atomics, PAN or VHE, not
in need of page table isolation, with the firmware's Spectre-v2 hardening not available.
Capabilities are numbered anew in each version, but all versions (5.10 to 7.2) describe them by the
same words in ``arm64_features`` and ``arm64_errata`` (arch/arm64/kernel/cpufeature.c).
"""

from __future__ import annotations

import struct

from kprobesim.patching.text import Code

__all__ = ["capabilities"]

#: What the CPU has, as the kernel reports it while it boots.
DETECTED = (
    b"32-bit EL1 Support",
    b"CRC32 instructions",
    b"Spectre-v2",
    b"Spectre-v3a",
    b"ARM erratum 1742098",
    b"ARM errata 1165522, 1319367, or 1530923",
    b"PMUv3",
)
#: ARM64_HAS_FPSIMD (6.7) has no description; its number follows that of the last of these.
_BEFORE_FPSIMD = (b"Fine Grained Traps", b"Fine Grained Traps 2")
_FPSIMD_SINCE = (6, 7)
#: ARM64_ALWAYS_BOOT and ARM64_ALWAYS_SYSTEM, since 5.18.
_ALWAYS = frozenset({0, 1})
_ALWAYS_SINCE = (5, 18)


def capabilities(code: Code) -> frozenset[int]:
    """The numbers of the capabilities that are set, as the image counts them."""
    version = code.image.version[:2]
    found = set(_ALWAYS) if version >= _ALWAYS_SINCE else set()
    for start, constants in _constants(code):
        found |= {_number(constants, start, words) for words in DETECTED}
        if version >= _FPSIMD_SINCE:
            found.add(max(_number(constants, start, words) for words in _BEFORE_FPSIMD) + 1)
    return frozenset(found)


def _number(constants: bytes, start: int, words: bytes) -> int:
    """The number of the capability that is described so, or -1."""
    text = constants.find(b"\0" + words + b"\0")
    if text < 0:
        return -1
    # struct arm64_cpu_capabilities begins with a pointer to the text and the number.
    pointer = constants.find(struct.pack("<Q", start + text + 1))
    if not 0 <= pointer <= len(constants) - 10:
        return -1
    return int.from_bytes(constants[pointer + 8 : pointer + 10], "little")


def _constants(code: Code) -> list[tuple[int, bytes]]:
    """Where the descriptions and their table lie: between the text and what is freed."""
    image = code.image
    found = image.bounds("__start_rodata", "__end_rodata") or image.bounds("_etext", "_sinittext")
    if found:
        return [(found[0], image.read(found[0], found[1] - found[0]))]
    return [(segment.vaddr, bytes(segment.data)) for segment in image.segments]
