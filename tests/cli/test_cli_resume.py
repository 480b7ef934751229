"""``boot --snapshot``, ``resume``, and other commands on a snapshot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from makers.arm64_code import LOOP, POWER_OFF, bare_guest, say

from kprobesim import MODELS, BootedKernel, Kernel
from kprobesim.boot.boards import board_class
from kprobesim.cli.main import main

SAMPLE = Path(__file__).parents[2] / "samples" / "guest-x86_64.elf"


def test_what_is_no_snapshot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resume", str(SAMPLE)]) == 1
    assert "is no snapshot of kprobesim" in capsys.readouterr().err
    assert main(["resume", str(tmp_path / "missing.kps")]) == 1
    assert "cannot be read" in capsys.readouterr().err


@pytest.fixture
def bare(tmp_path: Path) -> str:
    """The snapshot of a guest that will say "hi", and switch itself off a while later."""
    image = bare_guest([*say("hi"), *POWER_OFF, LOOP])
    board = board_class("arm64")(image, initrd=None, append="", memory=16 << 20)
    path = tmp_path / "bare.kps"
    BootedKernel(image, board).snapshot(path)
    return str(path)


def test_a_text_that_never_comes_is_an_error(
    bare: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    later = tmp_path / "later.kps"
    assert main(["resume", bare, "--until", "ho", "--snapshot", str(later)]) == 1
    captured = capsys.readouterr()
    assert (
        "the guest ended before the text 'ho' came: the guest switched itself off" in captured.err
    )
    assert captured.out == "hi\n"
    assert not later.exists()
    assert main(["resume", bare, "--until", "ho", "--snapshot", str(later), "--json"]) == 1
    outcome = json.loads(capsys.readouterr().out)
    assert (outcome["stopped"], outcome["missed"]) == ("power_off", True)
    assert outcome["fault"]["kind"] == "GuestEnd"
    assert outcome["snapshot"] is None


def test_a_time_that_is_over_first_is_an_error(
    bare: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["resume", bare, "--until", "hi!", "--seconds", "1e-9"]) == 1
    assert "'hi!' did not come: the virtual time is over" in capsys.readouterr().err


def test_the_model_is_the_snapshots(
    bare: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strict = str(tmp_path / "strict.kps")
    k = Kernel.resume(bare)
    BootedKernel(k.image, k.board, MODELS["5.4"], strict=True).snapshot(strict)
    assert main(["info", strict]) == 0
    assert "model       5.4, strict\n" in capsys.readouterr().out
    assert main(["resume", strict, "--model", "5.4", "--strict"]) == 0
    assert main(["resume", strict, "--model", "6.1"]) == 1
    assert "has model 5.4, not 6.1" in capsys.readouterr().err


def test_no_snapshot_of_a_dead_guest(
    bare: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    later = tmp_path / "later.kps"
    assert main(["resume", bare, "--snapshot", str(later)]) == 1
    assert "later.kps is not written: the guest switched itself off" in capsys.readouterr().err
    assert not later.exists()
    assert main(["resume", bare]) == 0


@pytest.mark.real_kernel
def test_from_boot_to_every_command(
    any_real_image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, later = str(tmp_path / "a.kps"), str(tmp_path / "b.kps")
    missing = str(tmp_path / "missing" / "a.kps")
    assert main(["boot", str(any_real_image), "--until", "x", "--snapshot", missing]) == 1
    captured = capsys.readouterr()
    assert "name a file in an existing directory" in captured.err
    assert "Linux version" not in captured.out  # told before it ran

    boot = ["boot", str(any_real_image), "--append", "quiet", "-p", "kernel_clone"]
    assert main([*boot, "--until", "kprobesim init", "--snapshot", file]) == 0
    assert f"the guest is in {file}" in capsys.readouterr().out

    assert main(["info", file, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["snapshot"]["memory"] == 256 << 20
    assert facts["snapshot"]["probes"][0]["symbol"] == "kernel_clone"
    assert facts["snapshot"]["console"].startswith("kprobesim init")
    assert facts["symbols"]["count"] > 30_000
    assert main(["info", file]) == 0
    shown = capsys.readouterr().out
    assert "memory      256.0 MiB" in shown
    assert "probe       kernel_clone at 0x" in shown

    assert main(["resume", file, "--seconds", "0.001", "--snapshot", later, "--json"]) == 0
    resumed = json.loads(capsys.readouterr().out)
    assert resumed["stopped"] == "seconds"
    assert resumed["snapshot"] == later
    assert [probe["probe"] for probe in resumed["probes"]] == ["kernel_clone"]

    assert main(["resume", later, "-p", "do_exit", "--image", str(any_real_image)]) == 0
    shown = capsys.readouterr().out
    assert "17 of 17 steps passed" in shown
    assert "probe kernel_clone: " in shown
    assert "probe do_exit: " in shown
    assert "probe kernel_clone: 0 hits" not in shown

    assert main(["disasm", file, "vfs_statfs", "--json"]) == 0
    code = json.loads(capsys.readouterr().out)
    k = Kernel.resume(file)  # the running kernel's own text, which it has patched
    assert (
        "".join(i["bytes"] for i in code["instructions"])
        == k.read(int(code["address"], 16), code["size"]).hex()
    )

    assert main(["call", file, 'strlen("hello")', "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["result"]["value"] == 5
    assert main(["call", file, "strlen(0)", "--memory", "1G"]) == 2
    assert "--memory is for images" in capsys.readouterr().err
    assert main(["resume", file, "--image", str(SAMPLE)]) == 1
    assert "is of another kernel" in capsys.readouterr().err
