"""Leaving out how Unicorn finds the pc of an access, while it is known anyway.

Before a hook is told of a load or store Unicorn searches the translated block for the instruction
that makes it (``cpu_restore_state()``): 0.2 us, five times what all else takes. While instructions
are counted there is a hook on each, before which Unicorn has put the pc, and x86-64's flags, where
they belong. So the search finds what is there already, and is left out for an engine of which
somebody says that it counts. What leaves the block - a fault, an interrupt - says so, and is
searched for as before.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

from kprobesim.machine.unicorn.code_pages import SUFFIXES
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.machine.unicorn.engine_entries import MOST_ENGINES, EngineEntries
from kprobesim.machine.unicorn.host_code import assemble, host_machine, put_code
from kprobesim.machine.unicorn.interposition import find_function, find_slots, one_at_a_time
from kprobesim.machine.unicorn.library import library
from kprobesim.machine.unicorn.restore_code import CODE, ENTRY, WORDS

__all__ = ["trust_the_pc"]

_BYTES = 8 * len(ENTRY)


@one_at_a_time
@cache
def _entries(arch: str) -> EngineEntries | None:
    """Put our function in, once a process; ``None`` where that cannot be."""
    host, name = host_machine(), f"cpu_restore_state_{SUFFIXES[arch]}"
    slots = find_slots(library(), (name,)) if host in CODE else {}
    if name not in slots:
        return None
    code, labels = assemble(CODE[host])
    values = {"real_restore": find_function(library(), name)}
    placed = put_code(code, WORDS, values, "table", _BYTES * MOST_ENGINES)
    slots[name].value = placed.code + labels["restore"]
    return EngineEntries(placed, _BYTES, 0, WORDS.index("count"))


def trust_the_pc(engine: Engine) -> Callable[[], object]:
    """Leave the search out where ``engine`` counts instructions, until the result is called."""
    entries, cpu = _entries(engine.arch), engine.code_pages.cpu
    if engine.counts.in_blocks:
        return lambda: None
    words = entries.take() if entries is not None and cpu else None
    if entries is None or words is None:
        return lambda: None
    words[ENTRY.index("limit")] = ctypes.addressof(engine.counter_words) + 8
    words[ENTRY.index("cpu")] = cpu  # from now on it is found
    return lambda: entries.give_back(words)
