"""The checks of kCFI: their table in an image, and which kernels guard what their traps read."""

from __future__ import annotations

import errno
import struct
from pathlib import Path

import pytest
from makers.elf_maker import TEXT, Sect, small_kernel
from makers.patching_maker import CODE, Maker

from kprobesim import MODELS, Kprobe, Reason
from kprobesim.image import KernelImage, load_image
from kprobesim.image.tables.places import CFI_TRAPS
from kprobesim.kprobes.rules.rules import Rules
from kprobesim.kprobes.rules.verdict import Verdict

FUNCTION = CODE + 0x100
# push %rbp; movl $-id, %r10d; addl -4(%rdi), %r10d; je 1f; ud2; 1: call *%rdi; pop %rbp; ret
CHECKED_CALL = bytes.fromhex("55 41ba785634ed 440357fc 7402 0f0b ffd7 5d c3")
PUSH, MOV, ADD, JE, UD2, CALL, POP = 0, 1, 7, 11, 13, 15, 17
GUARDED = ("6.6", "6.12", "6.13", "6.15", "6.17")


def kernel(*traps: int, version: str = "6.12.0") -> KernelImage:
    """Two functions with the same code; ``traps`` are what ``__kcfi_traps`` lists."""
    maker = Maker(version=version)
    for name, start in (("caller", FUNCTION), ("other", FUNCTION + 0x100)):
        maker.symbols[name] = maker.put(start, CHECKED_CALL)
    maker.places(CFI_TRAPS, list(traps))
    return maker.image()


def verdict(image: KernelImage, model: str, symbol: str, offset: int) -> Verdict:
    return Rules(image, image.read, MODELS[model]).check(Kprobe(symbol, offset=offset))


def test_the_table_is_one_of_distances() -> None:
    assert kernel(FUNCTION + UD2, FUNCTION + 0x300).cfi_traps == {FUNCTION + UD2, FUNCTION + 0x300}
    assert kernel().cfi_traps == frozenset()
    assert Maker().image().cfi_traps == frozenset()


def test_the_table_is_found_by_its_section(tmp_path: Path) -> None:
    maker, base = small_kernel(), TEXT["x86_64"]
    at = base + 0x2900
    maker.sections.append(Sect("__kcfi_traps", 2, at, 10))  # two entries, and half of a third
    load = maker.loads[0]
    entries = struct.pack("<iiH", base + 0x55 - at, base + 0x15 - at - 4, 0x1234)
    load.data = load.data[:0x2900] + entries + load.data[0x2900 + len(entries) :]
    path = tmp_path / "vmlinux"
    path.write_bytes(maker.build())
    assert load_image(path).cfi_traps == {base + 0x55, base + 0x15}


@pytest.mark.parametrize("model", MODELS)
def test_which_kernels_guard_a_check(model: str) -> None:
    image = kernel(FUNCTION + UD2)
    for offset in (MOV, ADD):
        answer = verdict(image, model, "caller", offset)
        assert (answer.errno, answer.reason) == (
            (errno.EILSEQ, Reason.CFI_CHECK) if model in GUARDED else (0, None)
        )


@pytest.mark.parametrize("model", GUARDED)
def test_what_is_around_it_may_be_probed(model: str) -> None:
    image = kernel(FUNCTION + UD2)
    for offset in (PUSH, JE, CALL, POP):
        assert verdict(image, model, "caller", offset)
    # The same bytes without a trap in the table are nobody's check.
    for offset in (MOV, ADD):
        assert verdict(image, model, "other", offset)
        assert verdict(kernel(), model, "caller", offset)


def test_the_trap_itself_is_for_another_rule() -> None:
    image = kernel(FUNCTION + UD2)
    assert verdict(image, "6.6", "caller", UD2)
    answer = verdict(image, "6.12", "caller", UD2)
    assert (answer.errno, answer.reason) == (errno.EILSEQ, Reason.UNPROBEABLE_INSTRUCTION)
