"""Random programs do the same compiled and interpreted, on both architectures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from makers.random_programs import programs

from kprobesim import CalledKernel, Kernel
from kprobesim.programs import Program, Record, Value, arg, caller, const, here, reg

_WORDS = b"".join(n.to_bytes(8, "little") for n in (0, 5, 1 << 63, 0xFFFF_FFFF, 77, 0x41, 3, 1))
_REGISTERS = {"x86_64": ("ax", "sp", "r12"), "arm64": ("x9", "sp", "x30")}


class _Stage:
    """A guest with memory that programs point to: words, a text at a page's end, and nothing."""

    def __init__(self, sample: Path) -> None:
        self.guest: CalledKernel = Kernel.load(sample)
        page = self.guest.alloc(4096)
        text = page + 4096 - 16
        self.guest.write(page, _WORDS)
        self.guest.write(text, b"fifteen letters")
        places = page, text, text + 12, page + 4096, 0, 0x1234_5678_9ABC
        self.pointers = [const(place) for place in places]
        self.facts = [here, caller, *(reg(name) for name in _REGISTERS[self.guest.arch])]

    def run(self, program: Program, calls: list[tuple[int, int]]) -> list[Any]:
        """What is kept of some calls, by both."""
        kept = []
        for compiled in (True, False):
            with self.guest.plant("gcd", program, compiled=compiled) as planted:
                for one, other in calls:
                    self.guest.call("gcd", one, other)
            stores = [store.save() for store in planted.stores]
            kept.append((stores, planted.hits, planted.faults, planted.nmissed))
        return kept


@pytest.fixture(scope="module", params=["x86_64", "arm64"])
def stage(request: pytest.FixtureRequest) -> _Stage:
    return _Stage(Path(__file__).parents[2] / f"samples/guest-{request.param}.elf")


_EDGES = [0, 1, 2, 3, 63, 64, 65, 4096, (1 << 31) - 1, 1 << 31, (1 << 63) - 1, 1 << 63]
_EDGES += [-edge & (1 << 64) - 1 for edge in _EDGES[1:7]]
_OPERATORS = "+ - * // % & | ^ << >> == != < <= > >=".split()


def test_every_operator_on_edges(stage: _Stage) -> None:
    plain, signed = (arg(0), arg(1)), (arg(0).s64, arg(1).s64)
    values: list[Value] = [
        eval(f"one {operator} other", {"one": one, "other": other})
        for operator in _OPERATORS
        for one, other in (plain, signed)
    ]
    values += [getattr(arg(0), f"{sign}{bits}") for sign in "us" for bits in (8, 16, 32, 64)]
    program = Program([Record({f"f{n}": value for n, value in enumerate(values)})])
    pairs = [(one, other) for one in _EDGES for other in _EDGES]
    compiled, interpreted = stage.run(program, pairs)
    assert compiled == interpreted
    assert compiled[1] == len(pairs)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_programs(stage: _Stage, data: st.DataObject) -> None:
    program = data.draw(programs(stage.pointers, stage.facts))
    number = st.integers(0, 300) | st.integers(0, (1 << 64) - 1)
    calls = data.draw(st.lists(st.tuples(number, st.integers(1, 9)), min_size=1, max_size=6))
    compiled, interpreted = stage.run(program, calls)
    assert compiled == interpreted
