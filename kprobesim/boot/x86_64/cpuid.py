"""CPUID as this board needs it: what is not on the board must not be promised."""

from __future__ import annotations

import mmap
from collections.abc import Callable

from kprobesim.boot.x86_64.state import X86State
from kprobesim.errors import EngineError
from kprobesim.machine.unicorn.engine import Engine

__all__ = ["LEAVES", "make_cpuid", "native_cpuid"]

_CODE = b"\x0f\xa2\xf4"  # cpuid; hlt
_LOW = 0xFFFF_FFFF

# Intel SDM volume 2, and AMD's manual volume 3 for those from 0x8000_0000 on.
_FEATURES, _POWER, _STRUCTURED, _TOPOLOGY = 1, 6, 7, 0xB
_MORE_FEATURES, _MORE_POWER, _SIZES = 0x8000_0001, 0x8000_0007, 0x8000_0008
LEAVES = (_FEATURES, _POWER, _STRUCTURED, _MORE_FEATURES, _MORE_POWER, _SIZES)
"""Those that are what Unicorn's CPU says, with changes."""

_APIC_EDX, _THREADS_EDX = 1 << 9, 1 << 28  # leaf 1
_X2APIC, _TSC_DEADLINE, _OSXSAVE, _RDRAND = 1 << 21, 1 << 24, 1 << 27, 1 << 30
_CR4_OSXSAVE = 1 << 18
_TIMER_NEVER_STOPS = 1 << 2  # leaf 6: ARAT
_TSC_ADJUST = 1 << 1  # it reads as 0: all counters agree
_CORES_NOT_THREADS = 1 << 1  # CmpLegacy
_TSC_NEVER_STOPS = 1 << 8
_THREAD_LEVEL, _CORE_LEVEL = 1 << 8, 2 << 8  # leaf 0xb

Registers = tuple[int, int, int, int]
"""EAX, EBX, ECX and EDX."""


def native_cpuid(engine: Engine, ram: mmap.mmap, at: int, leaf: int) -> Registers:
    """What Unicorn's CPU says of ``leaf``; ``at`` is scratch memory.

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
    engine: Engine,
    state: X86State,
    native: dict[int, Registers],
    cpus: int,
    apic: Callable[[], tuple[int, bool] | None],
) -> Callable[[], bool]:
    """The callback for the engine's CPUID hook.

    RDRAND is taken away, which would make two runs differ; and without local APICs all that goes
    with them, so that a kernel stays with the 8259A and the 8254.

    Args:
        engine: The engine.
        state: Its registers.
        native: What its CPU says of :data:`LEAVES`.
        cpus: How many CPUs there are: cores of one package.
        apic: Gives the ID of the local APIC of the CPU that asks, and whether it is enabled;
            ``None``: there are none.
    """
    words, cr = engine.words, state.cr
    id_bits = (cpus - 1).bit_length()

    def features(found: tuple[int, bool] | None) -> Registers:
        eax, ebx, ecx, edx = native[_FEATURES]
        ecx &= ~(_X2APIC | _TSC_DEADLINE | _OSXSAVE | _RDRAND)
        edx &= ~_APIC_EDX
        if cr[4] & _CR4_OSXSAVE:
            ecx |= _OSXSAVE
        if found is not None:
            number, enabled = found
            ebx = ebx & 0xFFFF | number << 24
            ecx |= _X2APIC | _TSC_DEADLINE
            edx |= _APIC_EDX if enabled else 0
            if cpus > 1:
                ebx |= cpus << 16
                edx |= _THREADS_EDX
        return eax, ebx, ecx, edx

    def with_apic(leaf: int, level: int, number: int) -> Registers | None:
        if leaf == _TOPOLOGY:
            if level == 0:
                return 0, 1, _THREAD_LEVEL, number
            if level == 1:
                return id_bits, cpus, _CORE_LEVEL | 1, number
            return 0, 0, level, number
        if leaf not in native or (leaf == _STRUCTURED and level):
            return None
        eax, ebx, ecx, edx = native[leaf]
        if leaf == _POWER:
            eax |= _TIMER_NEVER_STOPS
        elif leaf == _STRUCTURED:
            ebx |= _TSC_ADJUST
        elif leaf == _MORE_POWER:
            edx |= _TSC_NEVER_STOPS
        elif cpus > 1 and leaf == _MORE_FEATURES:
            ecx |= _CORES_NOT_THREADS
        elif leaf == _SIZES:
            ecx = cpus - 1 | id_bits << 12
        return eax, ebx, ecx, edx

    def cpuid() -> bool:
        leaf, found = words[0] & _LOW, apic()
        if leaf == _FEATURES:
            values: Registers | None = features(found)
        elif found is None:
            return False
        else:
            values = with_apic(leaf, words[1] & _LOW, found[0])
        if values is None:
            return False
        words[0], words[3], words[1], words[2] = values
        return True

    return cpuid
