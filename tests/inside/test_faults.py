"""How guests fail is told: what, where, by whose call, and with what the console said last."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from makers.boots import Boots
from shell_example import PROMPT

from kprobesim import BootedKernel, GuestHang, GuestPanic, Kernel, Stop
from kprobesim.boot.hang import Progress
from kprobesim.boot.missing_config import lacks
from kprobesim.cli.main import main
from kprobesim.image import load_image

SECOND = 1_000_000_000
FUNCTION = "do_mkdirat"
# cpu_relax() for ever, with interrupts off and on
SPIN_OFF = {"x86_64": "fa f390 ebfc", "arm64": "df4203d5 3f2003d5 ffffff17"}
SPIN_ON = {"x86_64": "f390 ebfc", "arm64": "3f2003d5 ffffff17"}


@pytest.fixture(scope="module")
def shell(real_image: Path, shell_initrd: bytes, boots: Boots) -> BootedKernel:
    return Kernel.resume(boots.at_prompt(real_image, shell_initrd))


@contextmanager
def instead(k: BootedKernel, code: str) -> Iterator[None]:
    """``FUNCTION`` is ``code`` for a while; then it goes on from its start as it was."""
    address = k.symbols[FUNCTION].address
    kept = k.read(address, len(bytes.fromhex(code)))
    k.write(address, bytes.fromhex(code))
    try:
        yield
    finally:
        k.write(address, kept)
        k.machine.words[k.machine.engine.layout.pc] = address


@pytest.mark.real_kernel
@pytest.mark.parametrize(
    ("spin", "limit", "words"),
    [(SPIN_OFF, "stuck", "interrupts off"), (SPIN_ON, "busy", "busy in its kernel")],
)
def test_a_kernel_that_hangs(
    shell: BootedKernel, spin: dict[str, str], limit: str, words: str
) -> None:
    shell.board.progress = Progress()
    setattr(shell.board.progress, limit, 0.1)
    shell.console.send(f"mkdir /tmp/{limit}\n")
    with instead(shell, spin[shell.arch]), pytest.raises(GuestHang, match=words) as caught:
        shell.run(PROMPT)
    error = caught.value
    assert error.place.startswith(FUNCTION + "+0x")
    assert shell.symbols.at(error.pc).symbol.name == FUNCTION  # type: ignore[union-attr]
    assert any("sys_mkdir" in entry for entry in error.trace)
    assert error.console.endswith(f"mkdir /tmp/{limit}")
    shell.board.progress = Progress()
    # Somebody else has mended it: the guest goes on.
    assert shell.run(PROMPT).kind is Stop.TEXT


@pytest.mark.real_kernel
def test_a_busy_program_is_no_hang(shell: BootedKernel) -> None:
    shell.board.progress.busy = shell.board.progress.stuck = 0.05
    shell.console.send("while :; do :; done\n")
    assert shell.run(seconds=0.5).kind is Stop.SECONDS
    shell.console.send("\x03sleep 300\n")
    assert shell.run(seconds=299).kind is Stop.SECONDS
    assert shell.run(PROMPT, seconds=10).kind is Stop.TEXT
    shell.board.progress = Progress()


@pytest.mark.real_kernel
def test_a_panic_is_told_by_its_callers(shell: BootedKernel, real_image: Path) -> None:
    shell.console.send("echo c > /proc/sysrq-trigger\n")
    with pytest.raises(GuestPanic, match="kernel panic: sysrq triggered crash") as caught:
        shell.run()
    error = caught.value
    names = [entry.removeprefix("? ").split("+")[0] for entry in error.trace]
    assert names[0] in ("panic", "vpanic")
    wanted = ["__handle_sysrq", "write_sysrq_trigger", "vfs_write", "ksys_write"]
    assert [name.partition(".")[0] for name in names if name.partition(".")[0] in wanted] == wanted
    assert error.place == error.trace[0].removeprefix("? ")
    assert "---[ end Kernel panic - not syncing: sysrq triggered crash ]---" in error.console
    assert error.hints == ()
    # A failure is an end of this guest, not of this process.
    assert Kernel.boot(real_image).run("Linux version").kind is Stop.TEXT


@pytest.mark.real_kernel
def test_a_panic_that_the_console_does_not_show(
    real_image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is no root file system, and the console is one that the board has not."""
    append = "console=tty9 rdinit=/none init=/none"
    assert main(["boot", str(real_image), "--append", append, "--json"]) == 1
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert told["stopped"] == "fault"
    fault = told["fault"]
    assert fault["kind"] == "GuestPanic"
    assert "the console does not show" in fault["message"]
    assert any("panic" in entry for entry in fault["trace"][:2])
    assert any("kernel_init" in entry for entry in fault["trace"])
    assert len(fault["hints"]) == 1
    assert "the command line has no console=tty" in fault["hints"][0]
    assert "Traceback" not in captured.err
    assert "perhaps: the command line has no console=" in captured.err
    assert "call trace:" in captured.err


@pytest.mark.real_kernel
def test_a_kernel_lacks_nothing_that_it_has(real_image: Path) -> None:
    image = load_image(real_image)
    assert lacks(image, "console=ttyS0 console=ttyAMA0,115200", silent=True) == []


@pytest.mark.real_kernel
@pytest.mark.parametrize("name", ["populate_rootfs", "load_elf_binary"])
def test_what_a_kernel_lacks_is_named(
    real_image: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = load_image(real_image)
    table = type(image.symbols)
    candidates = table.candidates
    monkeypatch.setattr(
        table, "candidates", lambda self, wanted: [] if wanted == name else candidates(self, wanted)
    )
    [told] = lacks(image, "console=ttyS0 console=ttyAMA0", silent=True)
    assert told.startswith("this kernel was built without CONFIG_")
    monkeypatch.setattr(table, "candidates", lambda self, wanted: [])
    assert (
        lacks(image, "console=ttyS0 console=ttyAMA0", silent=True) == []
    )  # without symbols nobody knows
    assert lacks(image, "", silent=False) == []


def test_progress() -> None:
    progress, now = Progress(), 0

    def look(seconds: float, seen: int = 1, *, kernel: bool = True, on: bool = True) -> str | None:
        nonlocal now
        now += int(seconds * SECOND)
        return progress.look(now, (seen, 0), in_kernel=kernel, interrupts=on)

    assert look(1) is None
    assert look(11) is None
    assert look(0.5, seen=2) is None  # an exception
    assert "busy in its kernel" in (look(12.5, seen=2) or "")
    assert look(11) is None  # told once, it has another chance
    for _ in range(40):  # a program computes
        assert look(10, seen=3, kernel=False) is None
    assert look(4, seen=3, on=False) is None
    assert "interrupts off" in (look(2, seen=3, on=False) or "")
    for _ in range(59):  # it waits
        assert look(10, seen=4) is None
        progress.idled(now)
    assert "no progress" in (look(21, seen=4, kernel=False) or "")
    progress.never_give_up()
    assert look(1e6, on=False) is None
