"""Places of probes by lines of the source."""

from __future__ import annotations

from pathlib import Path

import pytest

from kprobesim import ImageError, Kernel, UsageError
from kprobesim.kernel.samples import sample_path

pytestmark = pytest.mark.compiler

pytest.importorskip("symbolic")


@pytest.fixture
def kernel(vmlinux: Path) -> Kernel:
    return Kernel.load(vmlinux)


def functions_of(places: list[str]) -> list[str]:
    return [place.partition("+")[0] for place in places]


def test_a_line_is_in_its_function_and_in_each_inlined_copy(kernel: Kernel) -> None:
    assert functions_of(kernel.at_line("kernel.c:7")) == ["holds_copies", "holds_more"]
    assert functions_of(kernel.at_line("kernel.c:8")) == ["partly", "holds_copies"]


def test_a_line_that_only_calls_what_is_inlined(kernel: Kernel) -> None:
    assert set(functions_of(kernel.at_line("kernel.c:9"))) == {"holds_copies"}
    assert set(functions_of(kernel.at_line("kernel.c:10"))) == {"holds_more"}


def test_they_can_be_probed(kernel: Kernel) -> None:
    counts = kernel.count(kernel.at_line("kernel.c:7"))
    kernel.call("holds_copies", 1)
    kernel.call("holds_more", 2)
    assert set(counts.values()) == {1}


@pytest.mark.parametrize(
    ("where", "problem"),
    [
        ("kernel.c:6", r"no code is of line 6 of .*kernel\.c: lines near it that have some are"),
        ("kernal.c:7", r"no code of this kernel is of a source file kernal\.c: there is kernel\.c"),
        ("kernel.c", "write it as fs/open.c:1390"),
        ("kernel.c:0", "write it as fs/open.c:1390"),
    ],
)
def test_what_is_no_line_is_told(kernel: Kernel, where: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        kernel.at_line(where)


def test_debug_information_is_missing_or_anothers(kernel: Kernel, vmlinux: Path) -> None:
    sample = Kernel.sample(kernel.arch)
    with pytest.raises(UsageError, match="give debug="):
        sample.at_line("strings.c:3")
    with pytest.raises(ImageError, match="no debug information"):
        kernel.at_line("kernel.c:7", debug=sample_path(kernel.arch))
    with pytest.raises(ImageError, match="another build"):
        sample.at_line("kernel.c:7", debug=vmlinux)
