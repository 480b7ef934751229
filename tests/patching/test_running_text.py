"""Damaged tables of what is to be patched end in an error of ours, or in nothing."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st
from makers.patching_maker import CODE, DATA, SIZE, Maker

from kprobesim.errors import ImageError
from kprobesim.image.tables.places import JUMP_TABLE, MCOUNT_SITES, STATIC_CALLS
from kprobesim.patching.arm64 import alternatives as arm64_alternatives
from kprobesim.patching.running_text import running_text
from kprobesim.patching.x86_64 import alternatives, paravirt, sites

TABLES = [
    *(alternatives.TABLE, arm64_alternatives.TABLE, paravirt.TABLE, sites._RETURNS),
    *(sites._LOCKS, sites._SEALS, sites._USER_POINTERS, STATIC_CALLS, JUMP_TABLE, MCOUNT_SITES),
]
NAMES = ["pv_ops", "x86_cap_flags", "sched_init", "__sched_dynamic_update", "__x86_return_thunk"]
NAMES += ["crng_is_ready", "alt_cb_patch_nops", "ftrace_nop_ops", "__SCT__cond_resched"]


@settings(max_examples=200, deadline=None)
@given(
    arch=st.sampled_from(["x86_64", "arm64"]),
    version=st.sampled_from(["5.10.0", "6.1.0", "6.12.0", "7.2.0"]),
    code=st.binary(max_size=256),
    tables=st.lists(st.tuples(st.sampled_from(TABLES), st.binary(max_size=200)), max_size=6),
    symbols=st.dictionaries(st.sampled_from(NAMES), st.integers(0, SIZE - 1), max_size=6),
)
def test_any_table_is_borne(
    arch: str,
    version: str,
    code: bytes,
    tables: list[tuple[tuple[str, str, str], bytes]],
    symbols: dict[str, int],
) -> None:
    made = Maker(arch, version)
    made.put(CODE, code)
    for names, data in tables:
        made.bound(names, made.put(made.room(len(data)), data), len(data))
    for number, (name, offset) in enumerate(symbols.items()):
        made.symbols[name] = (CODE, DATA)[number % 2] + offset
    with contextlib.suppress(ImageError):
        text = running_text(made.image())
        assert sum(map(len, text.areas.values())) in (0, SIZE)
        assert len(text.read(CODE, SIZE)) == SIZE
