"""Conditions on ``LINUX_VERSION_CODE``: which places of a text are for which kernels."""

from __future__ import annotations

from pathlib import Path

import pytest

from kprobesim.sources.read import read_text
from kprobesim.sources.versions import Versions, VersionsByPlace

TEXT = """
a
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 10, 0)
b
#if (LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)) // a comment
c
#elif LINUX_VERSION_CODE <= KERNEL_VERSION(6, 6, 3)
d
#else
e
#endif
f
#else
g
#endif
#ifdef CONFIG_X
h
#else
i
#endif
#if defined(X) && LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
j
#endif
"""


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("a", "None"),
        ("b", "since 5.10"),
        ("c", "since 5.10 and before 6.1"),
        ("d", "since 6.1 and before 6.6.4"),
        ("e", "since 6.6.4"),
        ("f", "since 5.10"),
        ("g", "before 5.10"),
        ("h", "None"),
        ("i", "None"),
        ("j", "None"),
    ],
)
def test_each_place_has_its_versions(place: str, told: str) -> None:
    at = TEXT.index(f"\n{place}\n") + 1
    assert str(VersionsByPlace(TEXT).at(at)) == told


def test_versions_are_compared_whole() -> None:
    versions = Versions(since=(5, 10, 0), below=(6, 1, 5))
    assert (6, 1, 4) in versions and (6, 1, 5) not in versions and (5, 9, 200) not in versions


def test_what_closes_nothing_is_passed_over() -> None:
    assert VersionsByPlace("#endif\n#else\n#elif X\nx").at(20) is None


def test_a_module_chooses_its_symbol_by_version() -> None:
    source = read_text(
        "static struct kprobe kp = {\n#if LINUX_VERSION_CODE < KERNEL_VERSION(5, 10, 0)\n"
        '    .symbol_name = "_do_fork",\n#else\n    .symbol_name = "kernel_clone",\n#endif\n};\n',
        Path("module.c"),
    )
    assert [(one.target, str(one.versions)) for one in source.wanted] == [
        ("_do_fork", "before 5.10"),
        ("kernel_clone", "since 5.10"),
    ]
