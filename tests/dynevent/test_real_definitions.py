"""Definitions beside the guest's own kprobe_events, in one boot of a real kernel."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from compare_definitions import Answer, Definitions
from random_definitions import random_definitions

from kprobesim import BootedKernel
from kprobesim.asking.booted import booted_kernel

pytestmark = pytest.mark.real_kernel

_STAMP = re.compile(r"(?m)^\[ *\d+\.\d+\] ")
_HASHED = re.compile(r"0x(\(____ptrval____\)|[0-9a-f]{16})")


def test_nearly_right_definitions_get_the_guests_own_answers(real_image: Path) -> None:
    kernel = booted_kernel(real_image)
    assert Definitions(kernel).differences(random_definitions(25, 5, kernel.arch)) == []


def test_recorded_answers(real_image: Path) -> None:
    """KPROBESIM_TABLES names a folder with what real kernels have answered."""
    kernel = booted_kernel(real_image)
    file = Path(os.environ.get("KPROBESIM_TABLES", "")) / kernel.image.isa.debian / "syntax.txt"
    if not file.is_file():
        pytest.skip("set KPROBESIM_TABLES to the folder with a kernel's recorded answers")
    if kernel.image.version[:2] != (6, 1):
        pytest.skip(f"recorded from Linux 6.1, not {kernel.version}")
    different = []
    for definition, recorded in _recorded(file.read_text(), kernel):
        ours = _shown(Definitions(kernel).ours(definition))
        if ours != recorded:
            different.append((definition, recorded, ours))
    assert different == []


def _recorded(text: str, kernel: BootedKernel) -> list[tuple[str, Answer]]:
    """Each definition with its answer; ``+`` stands before one that others have led up to."""
    found = []
    kept = False
    for block in re.split(r"\n(?=DEF: |# all events removed)", text):
        if block.startswith("# all"):
            found.append(("", Answer(0, "", "")))
            kept = True
            continue
        if not block.startswith("DEF: ") or "\nERRNO: " not in block:
            continue
        definition = block[len("DEF: ") :].partition("\n")[0]
        parts = dict(re.findall(r"(?ms)^(ERRNO|ERRLOG|EVENTS): ?\n?(.*?)(?=^[A-Z#]|\Z)", block))
        answer = Answer(
            int(parts["ERRNO"].split()[0]),
            _STAMP.sub("", parts.get("ERRLOG", "")),
            parts.get("EVENTS", ""),
        )
        if not re.search(r" 0xffff(?!f{12})| virtio_blk:", definition):  # of that very boot
            found.append(("+" * kept + definition, _shown(answer)))
        kept = kept and "## cleared" not in block
    return found


def _shown(answer: Answer) -> Answer:
    """An answer without what differs from boot to boot."""
    return Answer(answer.errno, answer.log.rstrip(), _HASHED.sub("0xPTR", answer.listing).rstrip())
