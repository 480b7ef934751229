"""CPUID as this board needs it: what is not on the board must not be promised."""

from __future__ import annotations

import mmap
from collections.abc import Callable

from kprobesim.boot.x86_64.state import X86State
from kprobesim.errors import EngineError
from kprobesim.machine.unicorn.engine import Engine

__all__ = ["make_cpuid", "native_cpuid"]

_CODE = b"\x0f\xa2\xf4"  # cpuid; hlt
_FEATURES = 1
_LOW = 0xFFFF_FFFF

# Leaf 1 (Intel SDM volume 2, CPUID). RDRAND reads the host's random numbers.
_APIC_EDX = 1 << 9
_X2APIC, _TSC_DEADLINE, _OSXSAVE, _RDRAND = 1 << 21, 1 << 24, 1 << 27, 1 << 30
_CR4_OSXSAVE = 1 << 18


def native_cpuid(engine: Engine, ram: mmap.mmap, at: int, leaf: int) -> tuple[int, int, int, int]:
    """EAX, EBX, ECX and EDX of ``leaf`` as Unicorn's CPU gives them; ``at`` is scratch memory.

    The engine is as it was made; RAX, RBX, RCX and RDX are changed.
    """
    kept = bytes(ram[at : at + len(_CODE)])
    ram[at : at + len(_CODE)] = _CODE
    words = engine.words
    words[0], words[1] = leaf, 0
    engine.run(at)
    ram[at : at + len(_CODE)] = kept
    engine.forget_code(at, at + len(_CODE))
    if words[16] != at + len(_CODE):
        raise EngineError(f"CPUID stopped Unicorn at {words[16]:#x}")
    values = words[0] & _LOW, words[3] & _LOW, words[1] & _LOW, words[2] & _LOW
    for number in range(4):
        words[number] = 0
    return values


def make_cpuid(
    engine: Engine, state: X86State, features: tuple[int, int, int, int]
) -> Callable[[], bool]:
    """The callback for the engine's CPUID hook; ``features`` is what the CPU says of leaf 1.

    Takes away the APIC and its timer, so that a kernel stays with the 8259A and the 8254, and
    RDRAND, which would make two runs differ.
    """
    words, cr = engine.words, state.cr
    eax, ebx, ecx, edx = features
    ecx &= ~(_X2APIC | _TSC_DEADLINE | _OSXSAVE | _RDRAND)
    edx &= ~_APIC_EDX

    def cpuid() -> bool:
        if words[0] & _LOW != _FEATURES:
            return False
        words[0], words[3], words[2] = eax, ebx, edx
        words[1] = ecx | (_OSXSAVE if cr[4] & _CR4_OSXSAVE else 0)
        return True

    return cpuid
