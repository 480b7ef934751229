"""ORC records, as kernels have written them."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from kprobesim.stack.orc import OrcTable

BASE = 0xFFFF_FFFF_8200_0000
CODE = BASE - 0x10_0000
# Of kmem_cache_alloc(): at its start, with a frame, and what no record knows.
UP_TO_7_1 = ((8, 0, 0x205), (16, -16, 0x215), (16, -16, 0x214), (0, 0, 0))
SINCE_7_2 = ((8, 0, 0x203), (16, -16, 0x283), (16, -16, 0x284), (0, 0, 0))


class _Image:
    """A kernel that is nothing but its table."""

    version = (6, 12)

    def __init__(self, records: tuple[tuple[int, int, int], ...]) -> None:
        places = [CODE + 16 * number - BASE - 4 * number for number in range(len(records))]
        self._tables = {
            ".orc_unwind_ip": struct.pack(f"<{len(places)}i", *places),
            ".orc_unwind": b"".join(struct.pack("<hhH", *record) for record in records),
        }

    def table(self, start: str, stop: str, section: str) -> tuple[int, bytes]:
        return BASE, self._tables[section]


@pytest.mark.parametrize("records", [UP_TO_7_1, SINCE_7_2], ids=["up to 7.1", "since 7.2"])
def test_registers_are_told_by_what_most_records_name(records: Any) -> None:
    """The numbers changed in 7.2, and no version tells what a distribution has ported back."""
    table = OrcTable(_Image(records))  # type: ignore[arg-type]
    sp, previous_sp, bp, undefined = 5, 1, 4, 0
    found = [table.find(CODE + 16 * number + 3) for number in range(4)]
    assert [(e.sp_offset, e.bp_offset) for e in found if e] == [r[:2] for r in records]
    assert [(e.sp_reg, e.bp_reg) for e in found if e] == [
        (sp, undefined),
        (sp, previous_sp),
        (bp, previous_sp),
        (undefined, undefined),
    ]
    assert table.find(CODE - 1) is None
