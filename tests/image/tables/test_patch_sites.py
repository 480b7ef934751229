"""Places that a running kernel patches."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from kprobesim.errors import ImageError
from kprobesim.image.findings import Findings
from kprobesim.image.tables.patch_sites import (
    PatchSites,
    ftrace_places,
    jump_label_sites,
    static_call_sites,
)

TABLE, CODE = 0xFFFF_FFFF_8200_0000, 0xFFFF_FFFF_8100_0000
NOP, BTI = struct.pack("<I", 0xD503201F), struct.pack("<I", 0xD503245F)


def entry(at: int, code: int, rest: str, *more: int) -> bytes:
    return struct.pack("<i" + rest, code - at, *more)


def test_jump_labels_have_the_size_of_their_instruction() -> None:
    code = {CODE: b"\x66\x90", CODE + 16: b"\x0f\x1f\x44\x00\x00", CODE + 32: b"\xeb\x02"}
    code[CODE + 48] = b"\xe9\0\0\0\0"
    table = b"".join(entry(TABLE + 16 * n, place, "iq", 0, 0) for n, place in enumerate(code))
    sites = jump_label_sites("x86_64", TABLE, table, lambda address, size: code[address][:size])
    covered = [address - CODE for address in range(CODE, CODE + 64) if address in sites]
    assert covered == [0, 1, *range(16, 21), 32, 33, *range(48, 53)]
    arm64 = jump_label_sites("arm64", TABLE, table, lambda address, size: bytes(size))
    assert [a - CODE for a in range(CODE, CODE + 20) if a in arm64] == [*range(4), *range(16, 20)]


def test_static_calls_are_five_bytes() -> None:
    sites = static_call_sites(TABLE, entry(TABLE, CODE, "i", 1) + entry(TABLE + 8, CODE, "i", 2))
    assert len(sites) == 1
    assert [a - CODE for a in range(CODE - 1, CODE + 7) if a in sites] == [0, 1, 2, 3, 4]


def test_a_cut_table_is_read_as_far_as_it_goes() -> None:
    assert len(static_call_sites(TABLE, bytes(7))) == 0
    assert 5 not in PatchSites(())
    assert "text" not in PatchSites([(0, 10)])


def test_ranges_that_share_a_byte() -> None:
    sites = PatchSites([(10, 5), (20, 2)])
    shared = [(start, end) for start in range(30) for end in range(start + 1, 31)]
    for start, end in shared:
        assert sites.any_in(start, end) == any(at in sites for at in range(start, end))


@pytest.mark.parametrize(
    ("codes", "offsets"),
    [
        ([NOP * 2, BTI + NOP * 2, BTI + NOP, b""], [4, 8, None, None]),
        # Behind the pair of one function stands the NOP pair of two jump labels.
        ([NOP * 2, NOP * 4, NOP * 2], [4, 4, 4]),
        # CALL_OPS: each function has a pair in front.
        ([NOP * 4, NOP * 2 + BTI + NOP * 2, NOP * 4], [12, 16, 12]),
    ],
)
def test_arm64_ftrace_patches_the_second_nop(codes: list[bytes], offsets: list[int | None]) -> None:
    memory = b"".join(code.ljust(64, b"\xff") for code in codes)
    sites = range(CODE, CODE + len(memory), 64)

    def read(address: int, size: int) -> bytes:
        return memory[address - CODE :][:size]

    def read_one(address: int, size: int) -> bytes:  # there are gaps between the functions
        if size > 64:
            raise ImageError(Path("Image"), "has nothing there")
        return read(address, size)

    findings = Findings()
    places = ftrace_places("arm64", sites, read, findings)
    assert places == ftrace_places("arm64", sites, read_one, Findings())
    assert places == ftrace_places("arm64", sites, lambda *_: b"", findings)
    assert places == {
        site + offset for site, offset in zip(sites, offsets, strict=True) if offset is not None
    }


def test_x86_ftrace_patches_the_call_itself() -> None:
    assert ftrace_places("x86_64", [CODE], lambda address, size: b"", Findings()) == {CODE}
