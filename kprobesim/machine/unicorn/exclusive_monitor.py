"""ARM64's exclusive monitor: what LDXR has marked, so that STXR stores only if nobody else did.

Unicorn keeps the address in a word of its CPU, and compares at STXR whether memory still holds what
LDXR has read. That is enough for one CPU. Of several that take turns, another one may have stored
something and put the old value back; so the mark is taken away where another CPU comes to run, as
CLREX and an exception's return do, and STXR tells the guest to try again (Arm ARM, B2.9). Who gives
out turns must let a CPU come from LDXR to STXR some time, or all would try for ever.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Mapping

from kprobesim.arch.architecture import halves
from kprobesim.errors import EngineError
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.machine.unicorn.learned import learned
from kprobesim.sizes import MASK64

__all__ = ["CLEAR", "monitor_word"]

CLEAR = MASK64
"""The word where nothing is marked."""

_LDXR, _CLREX = 0xC85F_7C20, 0xD503_3F5F  # ldxr x0, [x1]
_PLACES = 0x2008, 0x3010
_FIRST = 0x0BA5_E0F0_4E61_57E8  # a value of register 0 that nothing else has


def _measure(arch: str) -> int:
    """How many bytes it is from the first general register to the word."""
    from kprobesim.machine.unicorn.specimen import Specimen

    cpu = Specimen(arch)
    cpu.set_gpr(0, _FIRST)
    base = cpu.context().find(_FIRST.to_bytes(8, "little"))
    seen = []
    for place in _PLACES:
        cpu.set_gpr(1, place)
        cpu.execute(struct.pack("<I", _LDXR))
        cpu.set_gpr(1, 0)
        seen.append((place, cpu.context()[base:]))
        cpu.execute(struct.pack("<I", _CLREX))
        seen.append((CLEAR, cpu.context()[base:]))
    places = [
        at
        for at in range(0, len(seen[0][1]) - 7, 8)
        if all(struct.unpack_from("<Q", after, at)[0] == value for value, after in seen)
    ]
    if base < 0 or len(places) != 1:
        raise EngineError(
            f"cannot tell where Unicorn keeps the exclusive monitor ({len(places)} candidates); "
            "is this a new version of it?"
        )
    return places[0]


def _of_arm64(engine: Engine) -> ctypes.c_uint64:
    at = int(learned("exclusive monitor", lambda: _measure(engine.arch)))
    return ctypes.c_uint64.from_address(ctypes.addressof(engine.words) + at)


_WORDS: Mapping[str, Callable[[Engine], ctypes.c_uint64]] = halves(
    x86_64=lambda _engine: ctypes.c_uint64(CLEAR), arm64=_of_arm64
)


def monitor_word(engine: Engine) -> ctypes.c_uint64:
    """The word, live, to be set to :data:`CLEAR`; where there is no monitor, one that is nothing.

    Raises:
        EngineError: It cannot be found.
    """
    return _WORDS[engine.arch](engine)
