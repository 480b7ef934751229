"""What a running Linux 6.1 did with hand-written instructions under a probe, done again.

Recorded with a pre_handler and a post_handler on each: registers before and after, and where it
went on. ``memory`` is what the instruction must have read. Left out are only those whose result is
the machine's own (the time stamp counter, a stack canary, SP_EL0 and TPIDR_EL1).
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from kprobes.replay import Replay

from kprobesim import Kernel

DATA = Path(__file__).parent / "data"
# slots, code, data
PAGES = {
    "x86_64": (
        0xFFFF_FFFF_C021_9000,
        [0xFFFF_FFFF_C023_9000],
        [0xFFFF_FFFF_C023_D000 + 0x1000 * n for n in range(3)]
        + [0xFFFF_C900_005B_8000 + 0x1000 * n for n in range(4)],
    ),
    "arm64": (
        0xFFFF_8000_09B1_1000,
        [0xFFFF_8000_00C1_5000, 0xFFFF_8000_00C1_6000],
        [0xFFFF_8000_00C1_A000 + 0x1000 * n for n in range(3)]
        + [0xFFFF_8000_09D5_A000, 0xFFFF_8000_09D5_B000],
    ),
}
KO_VAR = {"x86_64": (0xFFFF_FFFF_C023_E018, 7), "arm64": (0xFFFF_8000_00C1_A0F0, 0)}


def _numbers(text: str) -> dict[str, int]:
    return {
        name: int(value, 16) for name, _, value in (part.partition("=") for part in text.split())
    }


def _rows(arch: str) -> list[dict[str, str]]:
    with (DATA / f"linux_6_1_runs_{arch}.csv").open() as table:
        return list(csv.DictReader(table))


@pytest.mark.parametrize(
    ("model", "strict"), [("6.1", True), ("6.1", False), ("6.17", False), ("5.10", False)]
)
def test_instructions_do_what_they_did(sample: Path, arch: str, model: str, strict: bool) -> None:
    kernel = Kernel.load(sample, model=model, strict=strict)
    slot_page, code, data = PAGES[arch]
    replay = Replay(kernel, slot_page, code, data)
    rows = _rows(arch)
    assert len(rows) > 130
    differ = set()
    for row in rows:
        for page in data:
            kernel.write(page, bytes(0x1000))
        where, value = KO_VAR[arch]
        kernel.write(where, value.to_bytes(8, "little"))
        before = _numbers(row["before"])
        memory = {int(where, 16): value for where, value in _numbers(row["memory"]).items()}
        outcome = replay.run(int(row["address"], 16), bytes.fromhex(row["bytes"]), before, memory)
        assert outcome.pre_ip == (1 if arch == "x86_64" else 0), row
        expected = before | _numbers(row["changed"])
        if (outcome.post_ip, outcome.registers) != (int(row["ip_after"]), expected):
            differ.add(row["name"])
    # The trap flag traps after each round of a string instruction, and each is a hit.
    by_trap_flag = kernel.stepping == "trap" and arch == "x86_64"
    assert differ == ({"rep movsb", "rep stosq", "repne scasb"} if by_trap_flag else set())
