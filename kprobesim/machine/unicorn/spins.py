"""Noticing that a guest spins, without a hook on anything: x86-64's PAUSE, ARM64's YIELD and WFE.

Of several CPUs that take turns, one that waits for another would only use up its turn. Kernels say
when they wait so: ``cpu_relax()``, ``smp_cond_load_acquire()``, locks, delays. Unicorn, as QEMU,
leaves translated code there, through a function of its own that calls ``cpu_loop_exit()``; so that
one is replaced (:mod:`~kprobesim.machine.unicorn.interposition`), and where it is to return to
tells whether the guest spins. It holds for all code, a module's, a program's, and what the kernel
writes, and costs nothing anywhere else.

What it does is to let the run end: behind one more block, in which the guest may look once more
whether what it waits for has come. That one is also there for an instruction that is stepped, whose
hit must not be cut (:class:`~kprobesim.machine.clock.HiddenTime`). At which count that is, is kept:
if the host cuts the run there, the turn is not over.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Callable, Mapping
from functools import cache

from kprobesim.arch.architecture import halves
from kprobesim.machine.unicorn.code_pages import SUFFIXES
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.machine.unicorn.host_code import Placed, assemble, host_machine, put_code
from kprobesim.machine.unicorn.interposition import base_of, find_function, find_slots, is_code
from kprobesim.machine.unicorn.learned import learned
from kprobesim.machine.unicorn.library import library
from kprobesim.machine.unicorn.spin_code import CODE, ENTRY, WORDS
from kprobesim.machine.unicorn.struct_layout import Words

__all__ = ["Spins", "watch_spins"]

_MOST = 1024  # engines
_TRIES = 100
_ENTRY_BYTES = 8 * len(ENTRY)
_HELPER_BYTES = 0x80  # of Unicorn's functions that leave for a spin, at most
_SPINS: Mapping[str, tuple[str, bytes]] = halves(
    x86_64=("helper_pause", b"\xf3\x90"), arm64=("helper_yield", b"\x3f\x20\x03\xd5")
)
"""Unicorn's function, and an instruction that calls it."""


class Spins:
    """Those of one engine."""

    def __init__(self, words: Words) -> None:
        """There was none; ``words`` are the engine's (:attr:`.engine.Engine.spin_words`)."""
        self._words = words

    @property
    def address(self) -> int:
        """Where the machine code finds the two words."""
        return ctypes.addressof(self._words)

    def end_turns(self, on: bool) -> None:
        """Whether a spin ends the run: another CPU can run meanwhile."""
        self._words[0] = on

    def take(self) -> int:
        """At which count of the run that is over a spin was to end it, if there was one; else 0.

        The run may have ended before, as the host has wished.
        """
        ended, self._words[1] = self._words[1], 0
        return ended


def watch_spins(engine: Engine) -> Spins:
    """Note the spins of ``engine``; where functions cannot be replaced, there never is one.

    All who ask for those of one engine share them.
    """
    if engine.spins is None:
        engine.spins = _watched(engine)
    return engine.spins


def _watched(engine: Engine) -> Spins:
    spins, cpu = Spins(engine.spin_words), engine.code_pages.cpu
    placed = _placed(engine.arch)
    if placed is not None and cpu:
        entry = placed.take(cpu, ctypes.addressof(engine.counter_words), spins)
        if entry is not None:
            weakref.finalize(engine, placed.give_back, entry).atexit = False
    return spins


_known: weakref.WeakKeyDictionary[Engine, Spins] = weakref.WeakKeyDictionary()


class _Leaving:
    """The machine code, once a process and kind of guest, in the place of ``cpu_loop_exit()``."""

    def __init__(self, placed: Placed) -> None:
        self._placed = placed
        self._lock = threading.Lock()
        self._kept: dict[int, Spins] = {}

    def take(self, cpu: int, counter: int, spins: Spins) -> int | None:
        """Watch one more engine; the number of its entry, if there is one left."""
        with self._lock:
            entry = next((n for n in range(_MOST) if n not in self._kept), None)
            if entry is not None:
                self._kept[entry] = spins
                self._entry(entry)[1:3] = [counter, spins.address]
                self._entry(entry)[0] = cpu
                self._placed.words[WORDS.index("count")] = max(self._kept) + 1
        return entry

    def give_back(self, entry: int) -> None:
        """The engine is no more."""
        self._entry(entry)[0] = 0
        del self._kept[entry]

    def _entry(self, number: int) -> Words:
        words: Words = (ctypes.c_uint64 * len(ENTRY)).from_address(
            self._placed.area + _ENTRY_BYTES * number
        )
        return words


@cache
def _placed(arch: str) -> _Leaving | None:
    """Put our function in, once a process; ``None`` where that cannot be."""
    lib, suffix, host = library(), SUFFIXES[arch], host_machine()
    name = f"cpu_loop_exit_{suffix}"
    slots = find_slots(lib, {name}) if host in CODE else {}
    helper = find_function(lib, f"{_SPINS[arch][0]}_{suffix}")
    if name not in slots or not helper:
        return None
    code, labels = assemble(CODE[host])
    placed = put_code(
        code, WORDS, {"real": find_function(lib, name)}, "table", _ENTRY_BYTES * _MOST
    )
    slots[name].value = placed.code + labels["leave"]
    base = base_of(lib)

    def is_site(at: int) -> bool:
        return is_code(base + at) and 0 < base + at - helper <= _HELPER_BYTES

    site = learned(f"where {arch} spins", lambda: _find_site(placed, arch, base, is_site), is_site)
    if not is_site(site):
        return None  # this Unicorn leaves in another way
    placed.words[WORDS.index("site")] = base + site
    return _Leaving(placed)


def _find_site(placed: Placed, arch: str, base: int, is_site: Callable[[int], bool]) -> int:
    """Where ``cpu_loop_exit()`` returns to when a guest spins; another thread's may come first."""
    from kprobesim.machine.unicorn.specimen import Specimen

    cpu, seen, site = Specimen(arch), WORDS.index("seen"), -base
    for _ in range(_TRIES):
        placed.words[seen] = 0
        cpu.execute(_SPINS[arch][1])
        site = placed.words[seen] - base
        if is_site(site):
            break
    return site
