"""What boot patches in the code of an ARM64 kernel."""

from __future__ import annotations

import struct

import pytest
from makers.patching_maker import CODE, Maker

from kprobesim.image.tables.places import MCOUNT_SITES
from kprobesim.patching.arm64 import alternatives
from kprobesim.patching.arm64.capabilities import capabilities
from kprobesim.patching.arm64.words import MOV_X9_LR, NOP, branch, move
from kprobesim.patching.running_text import running_text
from kprobesim.patching.text import Code

PLACE, REPLACEMENT = CODE + 0x100, CODE + 0x2000
ISB, CLEAR_BHB = 0xD5033FDF, 0xD50322DF


def described(made: Maker, words: bytes, number: int) -> None:
    """An entry of ``arm64_features``."""
    text = made.put(made.room(len(words) + 2) + 1, words + b"\0") if words else 0
    made.put(made.room(16), struct.pack("<QHHI", text, number, 18, 0))


def patched(
    entries: list[tuple[int, list[int] | str]], old: list[int], version: str = "6.1.0"
) -> list[int]:
    """``entries``: capability, and the replacement or the name of the function that makes it."""
    made = Maker("arm64", version)
    described(made, b"CRC32 instructions", 14)
    made.put(PLACE, struct.pack(f"<{len(old)}I", *old))
    at = made.room(12 * len(entries))
    for number, (capability, new) in enumerate(entries):
        here = at + 12 * number
        if isinstance(new, str):
            source, length = CODE + 0x900 + 16 * number, 0
            made.symbols[new] = source
        else:
            source, length = REPLACEMENT + 64 * number, 4 * len(new)
            made.put(source, struct.pack(f"<{len(new)}I", *new))
        head = struct.pack("<ii", PLACE - here, source - here - 4)
        made.put(here, head + struct.pack("<HBB", capability, 4 * len(old), length))
    made.bound(alternatives.TABLE, at, 12 * len(entries))
    code = Code(made.image())
    alternatives.apply_alternatives(code, capabilities(code))
    return list(struct.unpack(f"<{len(old)}I", code.read(PLACE, 4 * len(old))))


def test_a_capability_decides() -> None:
    assert patched([(14, [ISB])], [NOP]) == [ISB]
    assert patched([(15, [ISB])], [NOP]) == [NOP]


def test_what_moves_leads_where_it_led() -> None:
    target = CODE + 0x400
    assert patched([(14, [branch(REPLACEMENT, target)])], [NOP]) == [branch(PLACE, target)]
    inner = branch(REPLACEMENT + 4, REPLACEMENT)
    assert patched([(14, [NOP, inner])], [ISB, ISB]) == [NOP, inner]


@pytest.mark.parametrize(
    ("word", "moved"),
    [
        (0x94000040, 0x94000440),  # bl
        (0x54000401, 0x54008401),  # b.ne
        (0xB4000400, 0xB4008400),  # cbz
        (0x37180403, 0x37188403),  # tbnz
        (0xB0000000, 0xD0000000),  # adrp, one more page
        (0x91000400, 0x91000400),  # add
    ],
)
def test_moving_an_instruction_a_page_down(word: int, moved: int) -> None:
    assert move(word, CODE + 0x1000, CODE, CODE + 0x1000, CODE + 0x1004) == moved
    assert move(moved, CODE, CODE + 0x1000, CODE, CODE + 4) == word


def test_functions_that_make_up_code() -> None:
    always = 1 << 15 | 1
    assert patched([(always, "alt_cb_patch_nops")], [ISB, branch(0, 8)]) == [NOP, NOP]
    assert patched([(always, "spectre_bhb_patch_clearbhb")], [CLEAR_BHB, ISB]) == [NOP, NOP]
    mov_32 = 0xD2800400 | 30
    assert patched([(always, "spectre_bhb_patch_loop_iter")], [mov_32]) == [0xD2800100 | 30]
    assert patched([(always, "kvm_update_va_mask")], [ISB]) == [ISB]
    assert patched([(1 << 15 | 26, "alt_cb_patch_nops")], [ISB]) == [ISB]
    # Before 5.18 such an entry has the number of no capability.
    assert patched([(60, "alt_cb_patch_nops")], [ISB], "5.10.0") == [NOP]


def test_fpsimd_has_no_description() -> None:
    for version, numbers in (("6.12.1", {0, 1, 25}), ("6.1.0", {0, 1})):
        made = Maker("arm64", version)
        described(made, b"Fine Grained Traps", 24)
        described(made, b"", 25)
        assert capabilities(Code(made.image())) - {-1} == numbers


def ftrace(words: list[int], listed: int, ops: int | None = None) -> list[int]:
    made = Maker("arm64")
    made.put(PLACE, struct.pack(f"<{len(words)}I", *words))
    if ops is not None:
        made.symbols["ftrace_nop_ops"] = ops
    at = made.put(made.room(8), struct.pack("<Q", PLACE + listed))
    made.bound(MCOUNT_SITES, at, 8)
    text = running_text(made.image())
    return list(struct.unpack(f"<{len(words)}I", text.read(PLACE, 4 * len(words))))


def test_ftrace_saves_the_link_register() -> None:
    bti = 0xD503245F
    assert ftrace([NOP, NOP, ISB], 0) == [MOV_X9_LR, NOP, ISB]
    assert ftrace([bti, NOP, NOP], 0) == [bti, MOV_X9_LR, NOP]
    ops = CODE + 0x3000
    literal = [ops & 0xFFFF_FFFF, ops >> 32]
    assert ftrace([NOP, NOP, NOP, NOP], 0, ops) == [*literal, MOV_X9_LR, NOP]
    assert ftrace([NOP, NOP, bti, NOP, NOP], 0, ops) == [*literal, bti, MOV_X9_LR, NOP]
