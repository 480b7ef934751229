"""Source lines from blocks: as often as the most frequent place of a line."""

from __future__ import annotations

from typing import Any, cast

from kprobesim import CalledKernel
from kprobesim.coverage.lcov import Hits, lcov
from kprobesim.machine.unicorn.covered_blocks import Block


def test_overlapping_blocks_add_up() -> None:
    hits = Hits([Block(100, 20, 5), Block(110, 10, 2), Block(200, 4, 1)])
    for start, end, most in (
        *((90, 100, 0), (90, 101, 5), (100, 110, 5), (105, 111, 7), (115, 130, 7)),
        *((120, 200, 0), (120, 201, 1), (204, 300, 0), (0, 1000, 7)),
    ):
        assert hits.most(start, end) == most, (start, end)
    assert Hits([]).most(0, 1000) == 0


class Lines:
    """Debug information that is told by a test."""

    def __init__(self, entries: list[tuple[str, int]], lines: list[tuple[int, str, int]]) -> None:
        self._entries, self._lines = entries, lines

    def entries(self) -> list[tuple[str, int]]:
        return self._entries

    def lines(self) -> list[tuple[int, str, int]]:
        return self._lines


def test_the_lines_of_files_that_ran(guest: CalledKernel) -> None:
    image, gcd = guest.image, guest.symbols["gcd"].address
    entry = gcd & 0xFFF | 0x1000  # counted from the image's start, which is a page's
    lines = [
        *((0x10, "init/main.c", 1), (entry, "lib/gcd.c", 7), (entry + 8, "lib/gcd.c", 9)),
        *((entry + 12, "lib/gcd.c", 7), (entry + 16, "", 0), (entry + 20, "lib/gcd.c", 10)),
    ]
    cache = cast(Any, Lines([("gcd", entry)], lines))
    blocks = [Block(gcd, 8, 3), Block(gcd + 12, 8, 40)]
    assert lcov(blocks, cache, image) == (
        "TN:\nSF:lib/gcd.c\nDA:7,40\nDA:9,0\nDA:10,0\nLH:1\nLF:3\nend_of_record\n"
    )
