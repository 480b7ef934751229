"""The x86 CPU that an image is judged for: which CPU features its alternatives find.

It is the one CPU of QEMU's ``-cpu max`` (family 15, as /proc/cpuinfo of 6.1 shows it). Of
mitigations it needs the retpolines only: no page table isolation, no return thunks, no buffer
clearing, no speculation control. It is not paravirtualised.
"""

from __future__ import annotations

from kprobesim.patching.text import Code

__all__ = ["cpu_features"]

_WORD = 32

#: As in /proc/cpuinfo.
FLAGS = frozenset(
    """
    fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush acpi mmx fxsr sse
    sse2 ss syscall nx mmxext pdpe1gb rdtscp lm 3dnowext 3dnow rep_good nopl cpuid extd_apicid pni
    pclmulqdq monitor ssse3 fma cx16 sse4_1 sse4_2 movbe popcnt aes xsave avx f16c rdrand hypervisor
    lahf_lm svm cr8_legacy abm sse4a 3dnowprefetch vmmcall fsgsbase bmi1 avx2 smep bmi2 erms mpx adx
    smap clflushopt clwb xsaveopt xgetbv1 arat npt vgif umip pku ospke vaes
    """.split()
)

#: The same as numbers, for an image without the names: those that alternatives ask for.
_KNOWN_FLAGS = {
    "rep_good": 3 * _WORD + 16,
    "cx16": 4 * _WORD + 13,
    "popcnt": 4 * _WORD + 23,
    "3dnowprefetch": 6 * _WORD + 8,
    "vmmcall": 8 * _WORD + 15,
    "fsgsbase": 9 * _WORD + 0,
    "erms": 9 * _WORD + 9,
    "smap": 9 * _WORD + 20,
    "clflushopt": 9 * _WORD + 23,
    "clwb": 9 * _WORD + 24,
    "xsaveopt": 10 * _WORD + 0,
    "pku": 16 * _WORD + 3,
    "ospke": 16 * _WORD + 4,
}

#: Linux's own features that have no name (asm/cpufeatures.h, 5.10 to 7.2).
UNNAMED = {
    "k8": 3 * _WORD + 4,
    "always": 3 * _WORD + 21,
    "syscall32": 3 * _WORD + 14,
    "rsb_ctxsw": 7 * _WORD + 19,
    "fence_swapgs_kernel": 11 * _WORD + 5,
    "retpoline": 11 * _WORD + 12,
}

#: Bits of the words that follow the last of features: X86_BUG_*.
BUGS = {
    "fxsave_leak": 6,
    "sysret_ss_attrs": 8,
    "null_seg": 10,
    "swapgs_fence": 11,
    "amd_e400": 13,
    "spectre_v1": 15,
    "spectre_v2": 16,
}
_LFENCE_RDTSC = 20 * _WORD + 2
_LFENCE_RDTSC_BEFORE_6_3 = 3 * _WORD + 18
_MOST_WORDS = 64
_USUAL_WORDS = 22  # NCAPINTS from 6.1 on


def cpu_features(code: Code) -> frozenset[int]:
    """The numbers of the features and bugs that are set, as the image counts them."""
    names = _flag_names(code)
    if names:
        flags = {number for number, name in enumerate(names) if name in FLAGS}
    else:
        flags = set(_KNOWN_FLAGS.values())
    words = len(names) // _WORD or _USUAL_WORDS
    bugs = {words * _WORD + bit for bit in BUGS.values()}
    moved = code.image.version[:2] >= (6, 3)
    flags.add(_LFENCE_RDTSC if moved else _LFENCE_RDTSC_BEFORE_6_3)
    return frozenset(flags | set(UNNAMED.values()) | bugs)


def _flag_names(code: Code) -> list[str]:
    """``x86_cap_flags``, the names in /proc/cpuinfo: one pointer a feature."""
    found = code.image.symbols.candidates("x86_cap_flags")
    if len(found) != 1:
        return []
    start, words = found[0].address, min(found[0].size // (8 * _WORD), _MOST_WORDS)
    table = code.read(start, words * 8 * _WORD)
    pointers = (int.from_bytes(table[at : at + 8], "little") for at in range(0, len(table), 8))
    return [(code.image.read_string(pointer) or "") if pointer else "" for pointer in pointers]
