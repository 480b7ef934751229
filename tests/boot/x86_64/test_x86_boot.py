"""Debian's kernel on the x86-64 board: user space, power-off, the same again, panic, probes."""

from __future__ import annotations

from pathlib import Path

import pytest

from kprobesim.boot.faults import GuestPanic
from kprobesim.boot.stop import Stop
from kprobesim.boot.x86_64.board import X86Board
from kprobesim.image import KernelImage, load_image

pytestmark = pytest.mark.real_kernel

_INIT = Path(__file__).parents[3] / "samples" / "init-x86_64.cpio"
_MEMORY = 256 << 20
_TIMEOUT = 120


@pytest.fixture(scope="module")
def image(any_real_image: Path) -> KernelImage:
    return load_image(any_real_image)


def _board(image: KernelImage, append: str = "console=ttyS0") -> X86Board:
    return X86Board(image, initrd=_INIT.read_bytes(), append=append, memory=_MEMORY)


@pytest.fixture(scope="module")
def first(image: KernelImage) -> X86Board:
    """A board that has run from power-on to power-off, undisturbed."""
    board = _board(image)
    assert board.run(timeout=_TIMEOUT).kind is Stop.POWER_OFF
    return board


def test_init_works_and_switches_off(first: X86Board) -> None:
    text = first.console.text
    lines = text.splitlines()
    start = next(n for n, line in enumerate(lines) if "Run /init as init process" in line)
    steps = [line for line in lines[start:] if line.startswith("kprobesim init: ")]
    assert steps[0] == "kprobesim init: hello from user space"
    passed, of, total = steps[-1].split(": ")[1].partition(" of ")
    assert of
    assert passed == total.split()[0], text
    assert lines[-1].endswith("reboot: Power down")
    for complaint in ("WARNING:", "BUG:", "Call Trace", "Oops"):
        assert complaint not in text


def test_second_boot_is_the_same_byte_for_byte(image: KernelImage, first: X86Board) -> None:
    """Also when it is interrupted on its way, which the guest must not notice."""
    board = _board(image)
    assert board.run(until="Linux version", timeout=_TIMEOUT).kind is Stop.TEXT
    assert board.run(until="Run /init", timeout=_TIMEOUT).kind is Stop.TEXT
    assert board.run(seconds=0.001).kind is Stop.SECONDS
    assert board.run(timeout=_TIMEOUT).kind is Stop.POWER_OFF
    assert board.console.output == first.console.output
    assert board.entry.counts == first.entry.counts


def test_host_reads_memory_through_the_kernel_s_own_tables(
    image: KernelImage, first: X86Board
) -> None:
    memory = first.machine.memory
    banner = memory.read_cstr(image.symbols["linux_banner"].address)
    assert banner.decode().strip() == image.banner.strip()
    assert memory.is_executable(image.symbols["kernel_clone"].address)
    assert not memory.is_executable(image.symbols["linux_banner"].address)


def test_breakpoint_of_the_host_comes_before_the_guest_s_own(
    image: KernelImage, first: X86Board
) -> None:
    """One in the kernel's text is ours; the one that the init executes stays a SIGTRAP."""
    board = _board(image)
    board.run(until="Run /init", timeout=_TIMEOUT)
    machine, words = board.machine, board.machine.words
    address = image.symbols["__x64_sys_getpid"].address
    original = machine.memory.read(address, 1)
    seen: list[int] = []

    def breakpoint() -> bool:
        seen.append(words[16] - 1)
        if seen[-1] != address:
            return False
        machine.text.poke(address, original, "test")
        words[16] = address
        return True

    machine.vcpu.traps.breakpoint.append(breakpoint)
    machine.text.poke(address, b"\xcc", "test")
    assert board.run(timeout=_TIMEOUT).kind is Stop.POWER_OFF
    assert seen[0] == address
    assert len(seen) == 2, "and the guest's"
    assert board.entry.counts[3] == first.entry.counts[3]
    untimed = [line.partition("] ")[2] or line for line in board.console.text.splitlines()]
    expected = [line.partition("] ")[2] or line for line in first.console.text.splitlines()]
    assert untimed == expected


def test_panic_is_told_with_the_end_of_the_console(image: KernelImage) -> None:
    board = X86Board(image, initrd=None, append="console=ttyS0 quiet", memory=_MEMORY)
    with pytest.raises(GuestPanic, match="Unable to mount root fs") as caught:
        board.run(timeout=_TIMEOUT)
    assert "Kernel panic - not syncing" in caught.value.console
