"""Back to a state in memory: everything goes on as the first time."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import Any

import pytest
from makers.arm64_code import LOOP, POWER_OFF, bare_guest, mov, store
from makers.boots import Boots, run_to_the_end

from kprobesim import BootedKernel, ForkState, Kernel, Kprobe, KprobeFlag, Stop, UsageError
from kprobesim.boot.boards import board_class
from kprobesim.boot.fork_state import Forks
from kprobesim.image import KernelImage
from kprobesim.image.segment import Segment
from kprobesim.machine import ram_image
from kprobesim.machine.written_pages import find_tracker

PAGE = 4096
FORK = "kernel_clone"

# -- guests of a few instructions ------------------------------------------------------------------

_SUB = 0x2000  # where the routine lies that the guest changes


def _x86_guest() -> KernelImage:
    """Prints what a routine says, changes the routine, and prints again what it says."""
    base, virtual = 0x100_0000, 0xFFFF_FFFF_8000_0000
    code = bytes.fromhex("bc00500000 66baf803")  # mov esp, 0x5000; mov dx, 0x3f8
    for char in "abc":
        # mov byte [rip + ..], char; call the routine
        code += b"\xc6\x05" + struct.pack("<i", _SUB + 1 - len(code) - 7) + char.encode()
        code += b"\xe8" + struct.pack("<i", _SUB - len(code) - 5)
    code += bytes.fromhex("faf4")  # cli; hlt
    code = code.ljust(_SUB, b"\x90") + bytes.fromhex("b000 ee c3")  # mov al, ..; out dx, al; ret
    segment = Segment(base + virtual, base, memoryview(code), 0x3000, True, True, True, "LOAD#0")
    return KernelImage(Path("t"), "x86_64", "t", base, [segment], read_columns=lambda image: None)


def _arm64_guest() -> KernelImage:
    routine = 0x4020_0040 + _SUB
    code = [*mov(1, 0x0900_0000), *mov(3, routine)]
    for char in "abc":
        code += [*mov(2, 0x5280_0000 | ord(char) << 5), store(2, 3)]  # movz w0, #char
        code.append(0xD63F_0060)  # blr x3
    code += [*POWER_OFF, LOOP]
    code += [0xD503_201F] * (_SUB // 4 - len(code))
    return bare_guest([*code, 0, store(0, 1), 0xD65F_03C0])


@pytest.mark.parametrize("tracks", [True, False])
def test_code_that_differs_between_fork_and_restore(
    arch: str, tracks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was translated from pages that were written since must not be executed."""
    if not tracks:
        monkeypatch.setattr(ram_image, "find_tracker", lambda: None)
    elif find_tracker() is None:
        pytest.skip("this host does not say which pages were written")
    guest = _x86_guest() if arch == "x86_64" else _arm64_guest()
    board = board_class(arch)(guest, initrd=None, append="", memory=64 << 20)
    forks = Forks(board, lambda: None, lambda kept: None)
    states = [forks.fork()]
    for text in "ab":
        assert board.run(text, timeout=10).kind is Stop.TEXT
        states.append(forks.fork())
    ends = Stop.POWER_OFF, Stop.HALT
    assert board.run(timeout=10).kind in ends
    assert board.console.text == "abc"
    for n in (2, 2, 1, 1, 0, 0, 2, 0, 1):
        forks.restore(states[n])
        assert board.console.text == "abc"[:n]
        assert board.run(timeout=10).kind in ends
        assert board.console.text == "abc"
    # What the host writes is undone as well, with the code that was translated from it.
    forks.restore(states[0])
    x86 = arch == "x86_64"
    prints = bytes.fromhex("eec3") if x86 else struct.pack("<I", store(0, 1))
    at = board.ram.find(prints)
    board.ram[at : at + len(prints)] = bytes.fromhex("90c3") if x86 else NOP
    assert board.run(timeout=10).kind in ends
    assert board.console.text == ""
    assert forks.restore() > 0
    assert board.run(timeout=10).kind in ends
    assert board.console.text == "abc"


NOP = struct.pack("<I", 0xD503_201F)

# -- real kernels ----------------------------------------------------------------------------------


MEMORY = "128M"


def digest(k: BootedKernel) -> str:
    return hashlib.sha256(k.board.ram).hexdigest()


class Counter:
    """Probes that count their hits; one of them is stepped."""

    def __init__(self) -> None:
        self.hits: list[tuple[str | None, int]] = []
        self.later = [
            Kprobe(FORK, pre_handler=self.pre, post_handler=self.post),
            Kprobe("do_exit", pre_handler=self.pre),
        ]
        self.probes = [
            *self.later,
            Kprobe("start_kernel", pre_handler=self.pre),
            Kprobe("rest_init", post_handler=self.post),
        ]

    def pre(self, p: Kprobe, regs: Any) -> None:
        self.hits.append((p.symbol_name, regs.ip))

    def post(self, p: Kprobe, regs: Any, flags: int) -> None:
        self.hits.append((p.symbol_name, regs.ip))

    def take(self) -> list[tuple[str | None, int]]:
        hits, self.hits = self.hits, []
        return hits


@pytest.mark.real_kernel
def test_goes_on_as_the_first_time(real_image: Path, boots: Boots) -> None:
    counter = Counter()
    k = boots.at_run_init(real_image, MEMORY)
    k.register_kprobes(counter.later)
    k.run("kprobesim init")
    counter.take()
    state, before = k.fork_state(), digest(k)
    assert (state.time, state.dirty_pages) == (k.time, 0)
    assert run_to_the_end(k) == boots.outcome(real_image, MEMORY)
    hits = counter.take()
    assert hits
    dirty = k.restore_state()
    assert 50 < dirty == state.dirty_pages < 5000
    assert k.restore_state(state) == 0
    assert digest(k) == before
    assert run_to_the_end(k) == boots.outcome(real_image, MEMORY)
    assert counter.take() == hits
    # Only what was touched is reset.
    k.restore_state()
    k.write(k.symbols["strlen"].address, b"Hello")
    for page in (1, 5000, 6000, 20000):
        k.board.ram[page * PAGE] ^= 1
    assert k.restore_state() == 5
    assert digest(k) == before


@pytest.mark.real_kernel
def test_four_times_in_a_row(real_image: Path, boots: Boots) -> None:
    k = boots.at_run_init(real_image, MEMORY)
    k.fork_state()
    outcomes = set()
    for _ in range(4):
        k.run(seconds=0.001)
        pc = k.machine.words[k.machine.engine.layout.pc]
        outcomes.add((pc, k.console.text, k.time, k.board.exceptions(), digest(k)))
        assert k.restore_state() > 0
    assert len(outcomes) == 1
    assert run_to_the_end(k) == boots.outcome(real_image, MEMORY)


@pytest.mark.real_kernel
def test_several_states_and_probes_that_come_between(real_image: Path, boots: Boots) -> None:
    """Also from before the kernel has page tables, where a probe's address is not mapped yet."""
    k = Kernel.boot(real_image, memory=MEMORY)
    states = [k.fork_state()]
    for stop in ("Linux version", "Memory: "):
        k.run(stop)
        states.append(k.fork_state())
    at_memory = k.time, k.console.text, digest(k)
    assert k.restore_state(states[0]) == len(k.board.ram) // PAGE
    assert k.time == states[0].time
    counter = Counter()
    k.register_kprobes(counter.probes)
    assert run_to_the_end(k) == boots.outcome(real_image, MEMORY)
    hits = counter.take()
    assert len(hits) > 10
    assert counter.probes[2].flags & KprobeFlag.GONE
    k.restore_state(states[0])  # where start_kernel() has not gone yet
    k.run("Memory: ")
    again = counter.take()
    assert again and again == hits[: len(again)]
    k.unregister_kprobes(counter.probes)
    k.restore_state(states[1])
    k.run("Memory: ")
    assert (k.time, k.console.text, digest(k)) == at_memory
    assert counter.hits == []
    names = [name for name, _ in hits]
    assert names[0] == "start_kernel"
    assert names.count("rest_init") == 1


@pytest.mark.real_kernel
def test_a_handler_that_raises_in_the_middle_of_a_hit(real_image: Path, boots: Boots) -> None:
    class Mine(Exception):
        pass

    def explode(p: Kprobe, regs: Any, flags: int = 0) -> None:
        raise Mine

    k = boots.at_run_init(real_image, MEMORY)
    k.fork_state()
    for p in (Kprobe(FORK, pre_handler=explode), Kprobe(FORK, post_handler=explode)):
        with k.probing("do_exit") as other:
            k.register_kprobe(p)
            with pytest.raises(Mine):
                k.run()
            k.unregister_kprobe(p)
            k.restore_state()
            assert run_to_the_end(k) == boots.outcome(real_image, MEMORY)
            assert other.nmissed == 0
        k.restore_state()


@pytest.mark.real_kernel
def test_calls_before_and_after(real_image: Path, boots: Boots) -> None:
    k = boots.at_run_init(real_image, MEMORY)
    first = k.fork_state()
    assert k.call("strlen", b"before\0") == 6
    second = k.fork_state()
    time = k.time
    address = k.alloc(100)
    after = k.time
    assert k.call("strlen", b"after\0") == 5
    for _ in range(3):
        k.restore_state(second)
        assert k.time == time
        assert k.alloc(100) == address
        assert k.time == after
        k.restore_state(first)
        assert k.call("strlen", b"again!!\0") == 7
    the_way_to_the_kworker_is_gone_once(k, first)
    k.restore_state(first)
    assert run_to_the_end(k) == boots.outcome(real_image, MEMORY)


def the_way_to_the_kworker_is_gone_once(k: BootedKernel, state: ForkState) -> None:
    """Before the first call from a state the guest runs on; later that is replayed, unseen."""

    def call_again() -> tuple[Any, ...]:
        k.restore_state(state)
        result = k.call("strlen", b"again!!\0")
        return result, k.time, k.console.text, k.board.exceptions(), digest(k)

    def times() -> float:
        """How many seconds of the guest's time the CPU was really executing."""
        runs.clear()
        outcomes.append(call_again())
        return sum(runs)

    runs: list[float] = []
    outcomes: list[tuple[Any, ...]] = []
    run = k.board.run

    def counted(*arguments: Any, **options: Any) -> Any:
        before = k.time
        try:
            return run(*arguments, **options)
        finally:
            runs.append(k.time - before)

    k.board.run = counted  # type: ignore[method-assign]
    try:
        replayed = times()
        with k.probing("kernel_restart"):  # who knows what it would have seen
            gone, known = times(), times()
        assert replayed == pytest.approx(known) and replayed < gone / 10
        hits: list[float] = []
        with k.probing("process_one_work", pre_handler=lambda p, regs: hits.append(k.time)):
            times()
            seen = hits[:]
            times()
        assert hits == 2 * seen and seen
        assert len(set(outcomes)) == 1
    finally:
        del k.board.run


@pytest.mark.real_kernel
def test_wrong_use_is_refused(real_image: Path, boots: Boots) -> None:
    k = boots.at_run_init(real_image, MEMORY)
    with pytest.raises(UsageError, match="fork_state"):
        k.restore_state()
    with pytest.raises(UsageError, match="no state of this kernel"):
        other = boots.at_run_init(real_image, MEMORY)
        foreign = other.fork_state()
        k.fork_state()
        k.restore_state(foreign)
    with pytest.raises(UsageError, match="no state of this kernel"):
        k.restore_state({})  # type: ignore[arg-type]
    for refused in (k.fork_state, k.restore_state):
        with (
            k.probing(FORK, pre_handler=lambda p, regs, call=refused: call() and 0),
            pytest.raises(UsageError, match="running"),
        ):
            k.run()
        k.restore_state()
    assert run_to_the_end(k) == boots.outcome(real_image, MEMORY)
