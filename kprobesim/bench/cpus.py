"""What several CPUs cost a kernel that boots, and what it costs to switch from one to another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from kprobesim.bench.boots import USER_SPACE
from kprobesim.bench.contest import Contender, Contest, Target, check, seconds
from kprobesim.kernel.base import Kernel
from kprobesim.machine.system import System

__all__ = ["CPUS", "cpus_contest", "switch_contest"]

CPUS = (1, 2, 4, 8)
TWO_AT_MOST = 1.5
SWITCH_US_AT_MOST = 3.0
_LIMIT_S = 300
_SWITCHES = 20_000


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
    system.add_vcpu()

    def contender(
        key: str, label: str, before: Callable[[], object], at_most: float | None = None
    ) -> Contender:
        def run() -> float:
            def switches() -> None:
                for _ in range(_SWITCHES // 2):
                    for number in (1, 0):
                        before()
                        system.switch_to(number)

            return seconds(switches) / _SWITCHES * 1e6

        return Contender(key, label, run, Target(None, at_most))

    def forget() -> None:
        for vcpu in system.vcpus:
            vcpu.translation = []

    return Contest(
        system.arch,
        "switch",
        "a switch from one CPU to another",
        "us",
        f"{_SWITCHES:,} switches a round; to translate addresses anew behind one is not in it",
        [
            contender("same", "to the same page tables", lambda: None, SWITCH_US_AT_MOST),
            contender("other", "to others: all translations are dropped", forget),
        ],
    )
