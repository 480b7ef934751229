"""How often an engine has dropped translations of addresses, whoever asked: guest, host, Unicorn.

Unicorn's functions that drop some call each other through slots, so ours are put in their places
(:mod:`~kprobesim.machine.unicorn.interposition`). They count in a word of the CPU's own, which
Unicorn keeps for statistics, so that none has to look for its engine. ``tlb_reset_dirty()`` counts,
too: it takes a right away, to write to a page without notice, as that holds code now. Unicorn calls
it nowhere; our own code does (:mod:`~kprobesim.machine.unicorn.code_pages`).
"""

from __future__ import annotations

import ctypes
from functools import cache

from kprobesim.machine.unicorn.code_pages import SUFFIXES
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.machine.unicorn.flush_code import CODE, WORDS
from kprobesim.machine.unicorn.host_code import assemble, host_machine, put_code
from kprobesim.machine.unicorn.interposition import find_function, find_slots, one_at_a_time
from kprobesim.machine.unicorn.library import library
from kprobesim.machine.unicorn.tlb_layout import tlb_layout

__all__ = ["FLUSH", "flush_counter"]

FLUSH = "tlb_flush_by_mmuidx"
"""Unicorn's function that empties TLBs, of a CPU and a mask; its name goes on with the guest's."""
_PAGE = "tlb_flush_page_by_mmuidx"
_FUNCTIONS = {
    "flush": FLUSH,
    "flush_all": f"{FLUSH}_all_cpus",
    "flush_synced": f"{FLUSH}_all_cpus_synced",
    "page": _PAGE,
    "page_all": f"{_PAGE}_all_cpus",
    "page_synced": f"{_PAGE}_all_cpus_synced",
}
_RESET = "tlb_reset_dirty"


@one_at_a_time
@cache
def _placed(arch: str) -> int | None:
    """Put our functions in, once a process; where the one that resets is."""
    host, lib, suffix = host_machine(), library(), SUFFIXES[arch]
    names = {label: f"{name}_{suffix}" for label, name in _FUNCTIONS.items()}
    slots = find_slots(lib, tuple(names.values())) if host in CODE else {}
    if len(slots) != len(names) or not find_function(lib, f"{_RESET}_{suffix}"):
        return None
    code, labels = assemble(CODE[host])
    reals = {**names, "reset_dirty": f"{_RESET}_{suffix}"}
    values = {f"real_{label}": find_function(lib, name) for label, name in reals.items()}
    counter = 8 * tlb_layout(arch).counter
    placed = put_code(code, WORDS, {"counter": counter, **values}, "area", 0)
    for label, name in names.items():
        slots[name].value = placed.code + labels[label]
    return placed.code + labels["reset_dirty"]


def flush_counter(engine: Engine) -> ctypes.c_uint64 | None:
    """The word that counts those of ``engine``; ``None`` where functions cannot be replaced.

    Raises:
        EngineError: This is another Unicorn.
    """
    resets = _placed(engine.arch) if engine.code_pages.exact else None
    if resets is None:
        return None
    engine.code_pages.reset_by(resets)
    at = engine.code_pages.cpu + 8 * tlb_layout(engine.arch).counter
    return ctypes.c_uint64.from_address(at)
