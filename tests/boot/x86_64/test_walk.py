"""What a walk has found is remembered only as long as each entry on the way is what it was."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kprobesim.boot.x86_64.state import X86State
from kprobesim.boot.x86_64.walk import Walk
from kprobesim.sizes import PAGE

ADDRESS = 0xFFFF_C900_0001_2340
TABLES = [1, 2, 3, 4]
"""The frames of the four tables."""
_SHIFTS = (39, 30, 21, 12)


def _index(level: int) -> int:
    return TABLES[level] * PAGE // 8 + (ADDRESS >> _SHIFTS[level] & 511)


@pytest.fixture
def tables() -> tuple[memoryview, X86State, Walk]:
    """RAM of 64 pages, of which frame 8 is what ``ADDRESS`` leads to."""
    words = memoryview(bytearray(64 * PAGE)).cast("Q")
    for level, frame in enumerate((*TABLES[1:], 8)):
        words[_index(level)] = frame * PAGE | 3
    for frame in range(8, 64):
        words[(frame * PAGE + ADDRESS % PAGE) // 8] = frame
    state = X86State()
    state.cr[3] = TABLES[0] * PAGE
    pages: Any = SimpleNamespace(code=bytearray(64), forget=lambda at, size: None)
    return words, state, Walk(state, words, pages)


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_an_entry_that_changes_is_seen(
    tables: tuple[memoryview, X86State, Walk], level: int
) -> None:
    words, _, walk = tables
    slow: list[int] = []
    read_u64 = walk.reader(lambda address: slow.append(address) or -1)  # type: ignore[func-returns-value]
    assert read_u64(ADDRESS) == -1, "nobody has walked there"
    assert walk.translate(ADDRESS) == (8 * PAGE + ADDRESS % PAGE, True)
    assert read_u64(ADDRESS) == 8
    assert walk.translate(ADDRESS) == (8 * PAGE + ADDRESS % PAGE, True)

    entry, words[_index(level)] = words[_index(level)], 0
    assert walk.translate(ADDRESS) is None
    assert read_u64(ADDRESS) == -1
    if level == 3:
        words[_index(level)] = 9 * PAGE | 3 | 1 << 63
        assert walk.translate(ADDRESS) == (9 * PAGE + ADDRESS % PAGE, False)
        assert read_u64(ADDRESS) == 9
    words[_index(level)] = entry
    assert walk.translate(ADDRESS) == (8 * PAGE + ADDRESS % PAGE, True)
    assert read_u64(ADDRESS) == 8
    assert read_u64(ADDRESS + 1) == -1, "not aligned"


def test_each_address_space_has_its_own(tables: tuple[memoryview, X86State, Walk]) -> None:
    words, state, walk = tables
    assert walk.translate(ADDRESS) is not None
    other = TABLES[0] * PAGE + 16 * PAGE
    state.cr[3] = other
    assert walk.translate(ADDRESS) is None
    words[(other + (_index(0) * 8) % PAGE) // 8] = words[_index(0)]
    assert walk.translate(ADDRESS) == (8 * PAGE + ADDRESS % PAGE, True)


def test_large_pages(tables: tuple[memoryview, X86State, Walk]) -> None:
    words, _, walk = tables
    words[_index(2)] = 3 | 0x80  # 2 MiB at 0
    for address in (ADDRESS, ADDRESS + PAGE, ADDRESS):
        expected = address % (2 << 20)
        assert walk.translate(address) == (expected, True)
        assert walk.reader(lambda address: -1)(address) == words[expected // 8]
