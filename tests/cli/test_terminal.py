"""Keys go to the guest, and the terminal comes back as it was."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from cli.pseudo_terminal import PseudoTerminal
from shell_example import PROMPT

# A board that runs nothing: it prints what is typed, and "idle" while nothing is.
PROGRAM = """
import sys
from types import SimpleNamespace
from kprobesim.cli.terminal import Terminal

class Board:
    stopped = None
    def __init__(self):
        self.console = SimpleNamespace(send=lambda data: data and print(data.hex()))
        self.attend = lambda wait: setattr(self, "wait", wait)
    def stop(self, reason):
        self.stopped = reason.detail

board = Board()
print("there:", Terminal.is_there())
with Terminal(board) as terminal:
    while not board.stopped:
        board.wait(0.05)
        if "--fail" in sys.argv:
            raise ValueError("on purpose")
print("stopped by", board.stopped, "left", terminal.left, "attended", board.wait is not None)
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def test_keys_arrive_as_they_are(program: Path) -> None:
    with PseudoTerminal(program) as tty:
        tty.expect("there: True")
        assert "Ctrl-A x leaves" in tty.expect("helps\r\n")
        tty.wait_for(lambda: tty.is_raw)
        tty.type("a\r\x03\x1a\x04\x11\x7fé")
        tty.expect("610d031a04117fc3a9\r\n")
        tty.type("\x01\x01")
        tty.expect("01\r\n")
        tty.type("\x01h")
        tty.expect("Ctrl-A Ctrl-A  send one Ctrl-A")
        tty.type("\x01?b\x01zc")  # Ctrl-A with an unknown key is nothing
        tty.expect("6263\r\n")
        assert not tty.is_restored
        tty.type("\x01")
        tty.type("x")
        tty.expect("stopped by Ctrl-A x left True attended False")
        assert tty.end() == 0
        assert tty.is_restored


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_that_kills_restores_the_terminal(program: Path, number: signal.Signals) -> None:
    with PseudoTerminal(program) as tty:
        tty.wait_for(lambda: tty.is_raw)
        tty.process.send_signal(number)
        assert tty.end() == -number
        assert tty.is_restored


def test_an_exception_restores_the_terminal(program: Path) -> None:
    with PseudoTerminal(program, "--fail") as tty:
        tty.expect("ValueError: on purpose")
        assert tty.end() == 1
        assert tty.is_restored
    with PseudoTerminal(program) as tty:
        tty.wait_for(lambda: tty.is_raw)
        tty.process.send_signal(signal.SIGINT)
        tty.expect("KeyboardInterrupt")
        tty.end()
        assert tty.is_restored


def test_a_stopped_process_gives_the_terminal_back(program: Path) -> None:
    with PseudoTerminal(program) as tty:
        for stop in (signal.SIGTSTP, signal.SIGTSTP):
            tty.wait_for(lambda: tty.is_raw)
            tty.process.send_signal(stop)
            tty.wait_for(lambda: tty.is_restored)
            tty.process.send_signal(signal.SIGCONT)
        tty.wait_for(lambda: tty.is_raw)
        tty.type("k")
        tty.expect("6b\r\n")


def test_a_terminal_that_is_gone_ends_it(program: Path) -> None:
    with PseudoTerminal(program) as tty:
        tty.wait_for(lambda: tty.is_raw)
        os.close(tty.slave)
        os.close(tty.master)
        tty.master = tty.slave = -1
        tty.process.wait(timeout=20)
        assert tty.process.returncode == -signal.SIGHUP


@pytest.mark.real_kernel
def test_a_shell_on_the_users_terminal(
    real_image: Path, shell_initrd: bytes, tmp_path: Path
) -> None:
    initrd = tmp_path / "initrd"
    initrd.write_bytes(shell_initrd)
    command = ("-m", "kprobesim", "boot", real_image, "--initrd", initrd, "--append", "quiet")
    with PseudoTerminal(*command, "-p", "do_mkdirat") as tty:
        tty.expect(PROMPT)
        assert tty.is_raw
        tty.type("echo $((6 * 7))é\r")
        tty.expect("42é\r")
        tty.expect(PROMPT)
        # Time is real, and waiting for keys costs none of this computer's.
        before, busy = time.monotonic(), cpu_seconds(tty.process.pid)
        tty.type("sleep 1\r")
        tty.expect("sleep 1")
        tty.expect(PROMPT)
        assert 1 <= time.monotonic() - before < 3
        assert cpu_seconds(tty.process.pid) - busy < 0.7
        # A busy guest hears keys, too; Ctrl-C is its own.
        tty.type("while :; do :; done\r")
        tty.expect("done")
        time.sleep(0.2)
        tty.type("\x03")
        tty.expect(PROMPT)
        tty.type("mkdir /tmp/d; ls -d /t*/d\r")
        assert "do_mkdirat+0x0/" in tty.expect("\n/tmp/d\r")
        tty.type("\x01x")
        assert "probe do_mkdirat: 1 hit" in tty.expect("Ctrl-A x, at ")
        assert tty.end() == 0
        assert tty.is_restored


def cpu_seconds(pid: int) -> float:
    """User and system time of a process (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
