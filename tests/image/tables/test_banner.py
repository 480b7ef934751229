"""What the kernel says of itself."""

from __future__ import annotations

import pytest

from kprobesim.image.tables.banner import Banner, find_banners

REST = "(debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0, GNU ld 2.40)"


@pytest.mark.parametrize(
    ("release", "tail", "version", "preemptible"),
    [
        (
            "6.1.0-56-cloud-amd64",
            "#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-16)",
            (6, 1, 192),
            True,
        ),
        ("6.1.0-56-cloud-arm64", "#1 SMP Debian 6.1.192-2 (2026-11-16)", (6, 1, 192), False),
        ("6.1.0-56-rt-amd64", "#1 SMP PREEMPT_RT Debian 6.1.192-2 (2026-11-16)", (6, 1, 192), True),
        ("6.8.0-31-generic", "#31-Ubuntu SMP PREEMPT_DYNAMIC Sat Apr 20 2024", (6, 8), True),
        ("5.10.218", "#2 SMP PREEMPT Mon Jan 1 00:00:00 UTC 2024", (5, 10, 218), True),
        ("6.0.0", "#2 Mon Jan 1 00:00:00 UTC 2024", (6, 0, 0), False),
        ("7.2-rc3", "#2 SMP PREEMPT_LAZY Mon Jan 1 00:00:00 UTC 2024", (7, 2), True),
    ],
)
def test_banners(release: str, tail: str, version: tuple[int, ...], preemptible: bool) -> None:
    line = f"Linux version {release} {REST} {tail}"
    [banner] = find_banners([bytes(100) + line.encode() + b"\n\0more"])
    assert banner.text == line
    assert banner.release == release
    assert banner.version == version
    assert banner.preemptible == preemptible


def test_the_copy_without_a_number_is_taken_only_if_alone() -> None:
    short = b"Linux version 6.12.1 (x) # SMP Debian\0"
    full = b"Linux version 6.12.1 (x) #1 SMP PREEMPT Debian\0"
    assert [banner.preemptible for banner in find_banners([short, full, full])] == [True]
    assert [banner.release for banner in find_banners([short, short])] == ["6.12.1"]


def test_all_that_differ() -> None:
    lines = [f"Linux version 6.{n}.0 (x) #1 SMP" for n in (2, 1, 2)]
    data = b"\0".join(line.encode() for line in lines)
    assert [banner.version[1] for banner in find_banners([data])] == [2, 1]


def test_no_banner() -> None:
    assert find_banners([b"Linux version %s (%s)\0", b"Linux version \0", bytes(10)]) == []
    banner = Banner()
    assert (banner.text, banner.release, banner.version, banner.flags) == ("", "", (), ())
    assert not banner.preemptible


@pytest.mark.parametrize("text", ["", "Linux", "Linux version", "Linux version "])
def test_a_line_without_a_release(text: str) -> None:
    assert Banner(text).release == ""
    assert Banner(text).version == ()
