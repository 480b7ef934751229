"""The decisions of a real Linux 6.1 about probe points, and the slots it made."""

from __future__ import annotations

import csv
import lzma
import os
import struct
from bisect import bisect_right
from pathlib import Path

import pytest
from arch.arm64.arm64_fakes import code

from kprobesim.arch.arm64 import ArchInsn, Options, classify, prepare
from kprobesim.arch.arm64.decode import Insn, Read
from kprobesim.arch.arm64.insn import NOP, matches
from kprobesim.arch.refused import Refused

DATA = Path(__file__).parent / "data"
START, SLOT = 0xFFFF_8000_0801_0000, 0xFFFF_8000_09AF_5008


def answer(
    read: Read, address: int, symbol_start: int | None, *, exception_entry: bool = False
) -> tuple[int, ArchInsn | None]:
    """What this kernel says: errno, and the prepared instruction."""
    options = Options(strict=True, has_exception_entry=exception_entry)
    try:
        return 0, prepare(read, address, slot=SLOT, options=options, symbol_start=symbol_start)
    except Refused as refused:
        return refused.errno, None


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as rows:
        return list(csv.DictReader(rows))


def check_prepared(ainsn: ArchInsn, simulated_by: str, slot_words: list[int]) -> None:
    """Compare with the simulation function or the two words of the slot, where recorded."""
    if simulated_by:
        assert (ainsn.emulate_kind, ainsn.insn) == (simulated_by, None)
    elif slot_words:
        assert ainsn.emulate_kind is None
        assert list(struct.unpack("<2I", ainsn.slot_bytes)) == slot_words


POINTS = table(DATA / "linux_6_1_points.csv")


@pytest.mark.parametrize("row", POINTS, ids=lambda row: row["symbol"] + row["offset"])
def test_points(row: dict[str, str]) -> None:
    """A probe point with the nearest word in front of it that looks exclusive, if any."""
    back = int(row["words_back"] or 0)
    words = [int(row["exclusive_word"], 16), *[NOP] * (back - 1)] if back else []
    words.append(int(row["word"], 16))
    address = START + 4 * back + int(row["offset"], 16) % 4
    error, ainsn = answer(
        code(words, START), address, START, exception_entry=row["exception_entry"] == "1"
    )
    assert error == int(row["errno"])
    if ainsn is not None:
        slot = struct.unpack("<2I", bytes.fromhex(row["slot"])) if row["slot"] else ()
        check_prepared(ainsn, row["simulated_by"], list(slot))


HANDWRITTEN = table(DATA / "linux_6_1_handwritten.csv")


@pytest.fixture(scope="module")
def function() -> list[int]:
    """The hand-written function, as far as its words were recorded, NOPs between."""
    words = [NOP] * (max(int(row["offset"]) for row in HANDWRITTEN) // 4 + 4)
    for row in HANDWRITTEN:
        for index, word in enumerate(row["words"].split(), int(row["offset"]) // 4):
            words[index] = int(word, 16)
    return words


@pytest.mark.parametrize("row", HANDWRITTEN, ids=lambda row: row["name"])
def test_handwritten(row: dict[str, str], function: list[int]) -> None:
    """Hand-written instructions, the rare ones among them, in one long function."""
    error, ainsn = answer(code(function, START), START + int(row["offset"]), START)
    assert error == int(row["errno"])
    if ainsn is not None:
        slot = [int(row["slot"][:8], 16), int(row["slot"][8:], 16)] if row["slot"] else []
        check_prepared(ainsn, row["simulated_by"], slot)


# -- the whole tables, for who has them ----------------------------------------------------------


class Tables:
    """A folder with a kernel's live text and what it answered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.text = lzma.decompress((folder / "text.bin.xz").read_bytes())
        symbols = lzma.decompress((folder / "kallsyms.txt.xz").read_bytes()).decode()
        self.starts = sorted(
            {int(line.split()[0], 16) for line in symbols.splitlines() if "[" not in line}
        )
        spans = (
            line.split()[0].split("-")
            for line in (folder / "blacklist.txt").read_text().splitlines()
        )
        self.blacklist = [(int(start, 16), int(end, 16)) for start, end in spans]

    def read(self, address: int, size: int) -> bytes:
        return self.text[address - START : address - START + size]

    def answer(self, address: int) -> tuple[int, ArchInsn | None]:
        return answer(self.read, address, self.starts[bisect_right(self.starts, address) - 1])

    def refused_elsewhere(self, address: int) -> bool:
        """May rules that do not look at the instruction's class have refused this address?

        They are the blacklist, ftrace's NOP, jump labels (NOP or B) and the exception table
        (unprivileged loads and stores).
        """
        (word,) = struct.unpack("<I", self.read(address, 4))
        return (
            any(start <= address < end for start, end in self.blacklist)
            or word == NOP
            or matches(word, "b")
            or word & 0x3F200C00 == 0x38000800
        )


@pytest.fixture(scope="module")
def tables() -> Tables:
    folder = os.environ.get("KPROBESIM_TABLES")
    if not folder or not (Path(folder) / "arm64" / "text.bin.xz").exists():
        pytest.skip("set KPROBESIM_TABLES to a folder with a kernel's recorded answers")
    return Tables(Path(folder) / "arm64")


def test_whole_table(tables: Tables) -> None:
    compared = 0
    for row in table(tables.folder / "register_kprobe_direct.csv"):
        address, expected = int(row["addr"], 16), -int(row["ret"])
        if not START <= address < START + len(tables.text):
            continue
        error, _ = tables.answer(address)
        if error == expected:
            compared += 1
        else:
            assert not error, row
            assert tables.refused_elsewhere(address), row
    assert compared


def test_whole_slot_table(tables: Tables) -> None:
    rows = table(tables.folder / "slots.csv")
    for row in rows:
        error, ainsn = tables.answer(int(row["addr"], 16))
        assert (error, ainsn is None) == (0, False), row
        assert ainsn is not None
        assert ainsn.opcode == int(row["kp_opcode"], 16), row
        assert ainsn.slot_bytes.hex() == row["slot_bytes_8"], row
        kind = row["handler"].removeprefix("simulate_") or None
        assert ainsn.emulate_kind == kind, row
        simulated = classify(ainsn.opcode) is Insn.GOOD_NO_SLOT
        assert simulated == (kind is not None), row
    assert rows
