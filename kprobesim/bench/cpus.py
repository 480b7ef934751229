"""What several CPUs cost a kernel that boots, and what it costs to switch from one to another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kprobesim.arch.architecture import halves
from kprobesim.bench.boots import USER_SPACE
from kprobesim.bench.contest import Contender, Contest, Target, check, seconds
from kprobesim.boot.round_robin import RoundRobin
from kprobesim.kernel.base import Kernel
from kprobesim.kernel.booted import BootedKernel
from kprobesim.machine.system import System
from kprobesim.machine.unicorn.control_words import control_words
from kprobesim.sizes import PAGE

__all__ = ["CPUS", "cpus_contest", "switch_contest", "turn_contest"]

CPUS = (1, 2, 4, 8)
TWO_AT_MOST = 1.5
SWITCH_US_AT_MOST = 3.0
_LIMIT_S = 300
_SWITCHES = 20_000
_BLOCKS = 1, 100
_TURNS_S = 0.001
_ROOTS = halves(x86_64="cr3", arm64="ttbr0")


def cpus_contest(path: Path, arch: str, cpus: Sequence[int] = CPUS) -> Contest:
    """A boot on so many CPUs each; the first number is what the others are compared with."""

    def contender(count: int) -> Contender:
        def run() -> float:
            kernel = Kernel.boot(path, cpus=count)
            taken = seconds(lambda: kernel.run(USER_SPACE, timeout=_LIMIT_S))
            turns = kernel.board.turns
            check("the CPUs that are on", sum(turns.on) if turns is not None else 1, count)
            return taken

        target = Target(str(cpus[0]), TWO_AT_MOST if count == 2 else None)
        label = f"{count} CPUs" if count > 1 else "1 CPU"
        return Contender(str(count), label, run, None if count == cpus[0] else target)

    return Contest(
        arch,
        "cpus",
        "a boot on several CPUs",
        "s",
        f"{path.name}, to user space; what the run takes, without loading",
        [contender(count) for count in cpus],
        most_rounds=3,
    )


def switch_contest(system: System) -> Contest:
    """Switches of ``system``, which has one CPU, to a second one and back."""
    other = system.add_vcpu()
    word = control_words(system.engine)[_ROOTS[system.arch]]

    def contender(key: str, label: str, distance: int) -> Contender:
        def run() -> float:
            system.switch_to(other.number)
            word.value += distance
            system.switch_to(0)

            def switches() -> None:
                for _ in range(_SWITCHES // 2):
                    system.switch_to(1)
                    system.switch_to(0)

            taken = seconds(switches) / _SWITCHES * 1e6
            system.switch_to(other.number)
            word.value -= distance
            system.switch_to(0)
            return taken

        return Contender(key, label, run, Target(None, SWITCH_US_AT_MOST))

    return Contest(
        system.arch,
        "switch",
        "a switch from one CPU to another",
        "us",
        f"{_SWITCHES:,} switches a round; each CPU keeps what it knows of addresses",
        [
            contender("same", "to the same page tables", 0),
            contender("other", "to others: the cache of jumps is dropped", PAGE),
        ],
    )


def turn_contest(guest: BootedKernel) -> Contest:
    """Turns of a booted ``guest`` of two CPUs, which runs its first program."""
    turns = guest.board.turns
    assert turns is not None
    state = guest.fork_state()

    def contender(blocks: int) -> Contender:
        def run() -> float:
            guest.restore_state(state)
            guest.policy = RoundRobin(blocks)
            before = turns.switches
            taken = seconds(lambda: guest.run(seconds=_TURNS_S))
            return taken / max(turns.switches - before, 1) * 1e6

        return Contender(str(blocks), f"turns of {blocks} blocks", run)

    return Contest(
        guest.arch,
        "turns",
        "a turn of a booted guest's CPU",
        "us",
        f"{_TURNS_S * 1e3:g} ms of the guest's time; all that takes, by how often another CPU came",
        [contender(blocks) for blocks in _BLOCKS],
        close=lambda: setattr(guest, "policy", RoundRobin()),
        most_rounds=3,
    )
