"""Who spins gives its turn away; where all do, turns grow, until somebody does anything else."""

from __future__ import annotations

from kprobesim.boot.spinning import Spinning
from kprobesim.boot.state import parse_fields, save_fields


def spin(spinning: Spinning, *cpus: int, lasted: int = 80) -> None:
    for cpu in cpus:
        assert spinning.patience(range(3)) is None
        spinning.turn_ended(cpu, lasted, spun=True)


def test_turns_grow_while_all_spin() -> None:
    spinning = Spinning(3)
    for blocks in (32, 64, 128):
        spin(spinning, 0, 1, 2)
        assert spinning.patience(range(3)) == blocks
    spin(spinning, 1)
    assert spinning.patience([1]) == 256, "those that wait do not count"


def test_whoever_works_lets_them_be_short_again() -> None:
    spinning = Spinning(3)
    for lasted, spun in ((80, False), (5000, True)):
        for _ in range(3):
            spin(spinning, 0, 1, 2)
            spinning.patience(range(3))
        spinning.turn_ended(0, lasted, spun=spun)
        spin(spinning, 0, 1, 2)
        assert spinning.patience(range(3)) == 32


def test_states_hold_who_has_spun() -> None:
    spinning, other = Spinning(3), Spinning(3)
    spin(spinning, 0, 1, 2)
    spinning.patience(range(3))
    spin(spinning, 0, 1, 2)
    state = save_fields(spinning, spinning.kinds)
    parse_fields(other, other.kinds, state, "state")()
    assert other.patience(range(3)) == spinning.patience(range(3)) == 64
