"""What several CPUs use in one run, told by a search through all accesses."""

from __future__ import annotations

import random
import struct

from kprobesim.races.exploring.shared import SharedPlaces
from kprobesim.races.run_log import RunLog

READ, WRITE = 16, 17


def random_log(numbers: random.Random) -> tuple[RunLog, list[tuple[int, int, range, bool]]]:
    """A log, and of each access the CPU, its step, the places, and whether it stores."""
    records, marks, steps = b"", [], [0, 0, 0]
    told: list[tuple[int, int, range, bool]] = []
    for _ in range(numbers.randrange(1, 8)):
        cpu = numbers.randrange(3)
        marks.append((len(told), cpu, steps[cpu]))
        count = numbers.randrange(6)
        for number in range(1, count + 1):
            size, kind = numbers.choice((1, 2, 4, 8, 16, 32)), numbers.choice((READ, WRITE))
            address = 0x1000 + numbers.randrange(400)
            records += struct.pack("<QQQqII", number, 0x400, address, 7, size, kind)
            places = range(address >> 3, (address + size - 1 >> 3) + 1)
            told.append((cpu, steps[cpu] + number - 1, places, kind == WRITE))
        steps[cpu] += count
    return RunLog(records, marks), told


def test_contested_is_what_two_cpus_use_and_one_writes() -> None:
    numbers = random.Random(3)
    for _ in range(300):
        log, told = random_log(numbers)
        expected = [
            (index, cpu, step)
            for index, (cpu, step, places, _) in enumerate(told)
            if any(
                {*places} & {*others} & {*more} and one != two and stores
                for one, _, others, stores in told
                for two, _, more, _ in told
            )
        ]
        assert [access[:3] for access in log.contested] == expected
        known = SharedPlaces().learn(log)
        points = dict.fromkeys((cpu, step) for _, cpu, step in expected)
        assert list(known.points(log)) == list(points)
        assert known.learn(log) is known
