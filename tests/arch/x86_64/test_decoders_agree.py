"""Our decoder beside others over random encodings: every difference belongs to a known class."""

from __future__ import annotations

import shutil

import pytest
from compare_decoders import CLASSES, JUDGES, compare, encodings, kernel_judge, shape_of

from kprobesim import Kernel


@pytest.mark.parametrize("name", ["capstone", "objdump"])
def test_every_difference_is_explained(name: str) -> None:
    if name == "objdump" and not shutil.which("objdump"):
        pytest.skip("no objdump of binutils")
    codes = list(encodings(8000, seed=2))
    counts, unexplained = compare(name, codes, JUDGES[name])
    assert not unexplained
    assert len(codes) / 2 < counts["the same"] < len(codes)


def test_the_classes_do_not_explain_everything() -> None:
    """A decoder that is wrong about a common instruction stands out."""
    codes = [bytes.fromhex("4889e5") + bytes(12), bytes.fromhex("0f1f00") + bytes(12)]
    _, unexplained = compare("capstone", codes, lambda codes: [2 for _ in codes])
    assert [line.split("  ")[1] for line in unexplained] == ["[- - 89]", "[- 0f 1f]"]


@pytest.mark.parametrize(
    ("code", "shape"),
    [
        ("66 66 2e 48 0f 38 f0", "662e 0f38 f0"),
        ("48 48 90", "- rex - 48"),
        ("c5 f8 77", "- vex1 77"),
        ("c4 e2 78 49", "- vex2 49"),
        ("62 f5 7c 48 10", "- evex5 10"),
    ],
)
def test_shapes(code: str, shape: str) -> None:
    assert shape_of(bytes.fromhex(code).ljust(15, b"\x00")) == shape


def test_classes_are_named_once_a_verdict() -> None:
    keys = [(c.judges, c.name, c.verdict) for c in CLASSES]
    assert len(set(keys)) == len(keys)


def test_agrees_with_the_decoder_of_a_real_kernel(real_kernel: Kernel) -> None:
    if real_kernel.arch != "x86_64":
        pytest.skip("every ARM64 instruction has four bytes")
    codes = list(encodings(20000, seed=3))
    name = "kernel" if real_kernel.image.version >= (6, 10) else "kernel before 6.10"
    counts, unexplained = compare(name, codes, kernel_judge(real_kernel))
    assert not unexplained
    assert counts["the same"] > 0.95 * len(codes)
