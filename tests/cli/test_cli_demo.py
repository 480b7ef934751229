"""``kprobesim demo``."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kprobesim import CalledKernel, KprobesimError
from kprobesim.cli import demo
from kprobesim.cli.console import make_console
from kprobesim.cli.demo import scenes
from kprobesim.cli.demo.story import Story
from kprobesim.kernel import samples

Cli = Callable[..., Any]
CRC = zlib.crc32(b"123456789") ^ 0xFFFFFFFF


@pytest.mark.parametrize("stepping", ["breakpoint", "trap"])
def test_every_claim_holds(cli: Cli, stepping: str) -> None:
    outcome = cli("demo", "--stepping", stepping)
    assert outcome.code == 0
    marks = [line for line in outcome.lines if line.lstrip().startswith(("✓", "ok"))]
    assert outcome.lines[-1] == f"{len(marks)} of {len(marks)} claims hold"
    assert len(marks) > 20
    for arch in ("x86_64", "arm64"):
        assert f"== {arch}: Linux 6.1.0-kprobesim-sample" in outcome.out


def test_tells_a_whole_life(cli: Cli, arch: str) -> None:
    out = cli("demo", "--arch", arch).out
    assert ("arm64" in out) is (arch == "arm64")
    assert {"x86_64": "int3", "arm64": "brk #4"}[arch] in out
    assert f"{CRC:#x}" in out
    for words in (
        "original",
        "patched",
        "slot",
        "pre_handler",
        "post_handler",
        "fault_handler",
        "KPROBE_HIT_ACTIVE",
        "KPROBE_HIT_SS\n",
        "KPROBE_HIT_SSDONE",
        "unregistered",
        {"x86_64": "displacement", "arm64": "ldr_literal is simulated"}[arch],
    ):
        assert words in out


def test_claims_are_checked(
    guest: CalledKernel, arch: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a guest whose function always returns 42, the scene says that it does not divide."""
    return_42 = {"x86_64": "b82a000000c3", "arm64": "40058052c0035fd6"}[arch]
    guest.write(guest.symbols["kprobe_target"].address, bytes.fromhex(return_42))
    story = Story(make_console(), guest)
    scenes.changed_register(guest, story)
    out = capsys.readouterr().out
    assert (story.claims, story.failures) == (3, 3)
    assert "✓" not in out
    assert out.count("✗") + out.count("FAILED") == 3


def test_a_failed_claim_is_1(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def scene(kernel: CalledKernel, story: Story) -> None:
        story.claim("two and two are five", 2 + 2 == 5)

    monkeypatch.setattr(demo, "SCENES", (("a false scene", scene),))
    outcome = cli("demo")
    assert outcome.code == 1
    assert "two and two are five" in outcome.out
    assert outcome.lines[-1] == "0 of 2 claims hold"


def test_eighty_columns_will_do(cli: Cli) -> None:
    assert [line for line in cli("demo").lines if len(line) > 80] == []


def test_the_same_story_for_a_function_of_ones_own(cli: Cli, sample: Path) -> None:
    outcome = cli("demo", sample, 'crc32_le(0xffffffff, "123456789", 9)')
    assert (outcome.code, outcome.lines[-1]) == (0, "4 of 4 claims hold")
    assert f"returns {CRC:#x} to 0x" in outcome.out
    assert "KPROBE_HIT_SSDONE" in outcome.out
    assert [line for line in outcome.lines if len(line) > 80] == []
    by_name = cli("demo", sample, "int_sqrt")
    assert by_name.code == 0
    assert "call         int_sqrt()" in by_name.out


def test_one_hit_of_many_is_told(cli: Cli, sample: Path) -> None:
    outcome = cli("demo", sample, "fib(3)")
    assert outcome.code == 0
    assert "hit 5 times in all" in outcome.out
    first = outcome.out.split("a return probe")[0]
    assert first.count("KPROBE_HIT_ACTIVE") == 1


def test_a_story_needs_a_function_and_an_image(cli: Cli, sample: Path) -> None:
    cli("demo", sample).refused(2, "which function of", "int_sqrt")
    cli("demo", sample, "0xffffffff81000000(1)").refused(2, "by its name")


def test_samples_are_found_in_the_package_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cli: Cli
) -> None:
    package = tmp_path / "site-packages" / "kprobesim"
    (package / "samples").mkdir(parents=True)
    monkeypatch.setattr(samples, "_PACKAGE", package)
    with pytest.raises(KprobesimError, match="make samples"):
        samples.sample_path("arm64")
    cli("demo").refused(1, "is missing")
    shipped = package / "samples" / "guest-arm64.elf"
    shipped.write_bytes(b"")
    assert samples.sample_path("arm64") == shipped
