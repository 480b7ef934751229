"""The entry point: help, exit codes, and no traceback whatever the input."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import kprobesim
from kprobesim import __version__
from kprobesim.cli import call, entry
from kprobesim.cli.main import main

ROOT = Path(__file__).parent.parent.parent
COMMANDS = ["demo", "info", "call", "disasm", "bench"]
Cli = Callable[..., Any]

IMAGE_COMMANDS = pytest.mark.parametrize(
    "command",
    [("info",), ("call", "strlen(0)"), ("disasm", "strlen")],
    ids=lambda command: command[0],
)


def process(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "kprobesim", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        **options,
    )


def with_image(command: tuple[str, ...], image: object) -> list[object]:
    return [command[0], image, *command[1:]]


def test_module_runs_and_helps() -> None:
    running = process("--help")
    out, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (0, "")
    for command in COMMANDS:
        assert command in out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(cli: Cli, command: str) -> None:
    outcome = cli(command, "--help")
    assert outcome.code == 0
    assert "example" in outcome.out
    assert f"kprobesim {command} " in outcome.out


def test_version(cli: Cli) -> None:
    assert cli("--version").out == f"kprobesim {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["call"],
        ["info", "x", "--nonsense"],
        ["demo", "--arch", "riscv"],
        ["call", "x", "f()", "--timeout", "0"],
        ["call", "x", "f()", "--timeout", "nan"],
        ["call", "x", "f()", "--max-instructions", "-1"],
        ["call", "x", "f()", "--stepping", "jump"],
        ["call", "x", "f()", "-p", "two words"],
        ["call", "x", "f()", "-p", "f+"],
        ["call", "x", "f()", "-p", "f-4"],
        ["call", "x", "f()", "-p", ""],
        ["disasm", "x", "f+0xg"],
    ],
    ids=" ".join,
)
def test_wrong_use_is_2(cli: Cli, arguments: list[str]) -> None:
    cli(*arguments).refused(2)


def _damaged(sample: Path, kind: str, folder: Path) -> Path:
    """A file that is no usable kernel image, each in its own way."""
    data = bytearray(sample.read_bytes())
    path = folder / "image"
    if kind == "directory":
        return folder
    if kind == "missing":
        return path
    if kind == "empty":
        data = bytearray()
    elif kind == "truncated":
        del data[len(data) // 2 :]
    elif kind == "header only":
        del data[40:]
    elif kind == "32-bit":
        data[4] = 1
    elif kind == "big-endian":
        data[5] = 2
    elif kind == "other machine":
        data[18:20] = struct.pack("<H", 243)  # RISC-V
    elif kind == "text":
        data = bytearray(b"hello, I am a kernel\n" * 1000)
    elif kind == "deb without a kernel":
        data = bytearray(
            b"!<arch>\n" + b"debian-binary   0           0     0     100644  4         `\n2.0\n"
        )
    path.write_bytes(data)
    return path


@IMAGE_COMMANDS
@pytest.mark.parametrize(
    "kind",
    [
        "directory",
        "missing",
        "empty",
        "truncated",
        "header only",
        "32-bit",
        "big-endian",
        "other machine",
        "text",
        "deb without a kernel",
    ],
)
def test_unusable_image_is_1(
    cli: Cli, sample: Path, tmp_path: Path, kind: str, command: tuple[str, ...]
) -> None:
    path = _damaged(sample, kind, tmp_path)
    cli(*with_image(command, path)).refused(1, str(path))


@IMAGE_COMMANDS
def test_unusable_symbols_are_1(
    cli: Cli, sample: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    symbols = tmp_path / "System.map"
    cli(*with_image(command, sample), "--symbols", symbols).refused(1, str(symbols))
    symbols.write_text("this is\nno table of symbols\n")
    cli(*with_image(command, sample), "--symbols", symbols).refused(1, str(symbols))


def test_ctrl_c_ends_a_running_guest_with_130() -> None:
    sample = ROOT / "samples" / "guest-x86_64.elf"
    command = ("call", sample, "spin_forever()", "--timeout", 60, "-p", "spin_forever")
    # What runs the tests may ignore SIGINT, as `nohup ... &` does, and a child inherits that.
    with process(
        *command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    ) as running:
        try:
            assert running.stdout is not None
            first = running.stdout.readline()  # the probe's hit: from now on the guest spins
            assert first.startswith("hit 1 spin_forever")
            time.sleep(0.2)
            start = time.monotonic()
            running.send_signal(signal.SIGINT)
            _, err = running.communicate(timeout=30)
        finally:
            running.kill()
    assert running.returncode == 130
    assert err == "kprobesim: interrupted\n"
    assert time.monotonic() - start < 10


def test_ctrl_c_in_an_import_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupting(ModuleType):
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "kprobesim.cli.main", Interrupting("main"))
    handler = signal.getsignal(signal.SIGINT)
    try:
        assert entry.main() == 130
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, handler)
    assert capsys.readouterr().err == "kprobesim: interrupted\n"


def test_ctrl_c_elsewhere_is_130(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(args: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(call, "load_kernel", interrupted)
    cli("call", "image", "f()").refused(130, "interrupted")


def test_closed_pipe_is_no_traceback() -> None:
    sample = ROOT / "samples" / "guest-x86_64.elf"
    command = ("call", sample, "count_to(20000)", "-p", "count_to+0x10", "--max-hits", 20000)
    with process(*command) as running:
        assert running.stdout is not None and running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        assert running.stderr.read() == ""
        running.wait(timeout=60)


def test_full_disk_is_1(sample: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "kprobesim", "info", str(sample)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("color", "styled"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_only_where_they_are_wanted(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    color: dict[str, str],
    styled: bool,
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name, value in {"FORCE_COLOR": "1", **color}.items():
        monkeypatch.setenv(name, value)
    main(["demo", "--arch", "arm64"])
    assert ("\x1b[36m" in capsys.readouterr().out) is styled
    monkeypatch.delenv("FORCE_COLOR")
    main(["demo", "--arch", "arm64"])
    assert "\x1b" not in capsys.readouterr().out


def test_without_a_command_it_helps(cli: Cli) -> None:
    outcome = cli()
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == cli("--help").out
    for command in ("demo", "check", "boot", "fetch"):
        assert f"\n    {command} " in outcome.out
    assert cli("--version").out == f"kprobesim {kprobesim.__version__}\n"
