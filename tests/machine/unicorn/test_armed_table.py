"""The hash table of who is armed, against a dict."""

from __future__ import annotations

import ctypes
import random

import pytest

from kprobesim.machine.unicorn.armed_table import ArmedTable
from kprobesim.machine.unicorn.dispatch_code import HOMES
from kprobesim.machine.unicorn.host_code import host_machine
from kprobesim.sizes import MASK64


class Reader:
    """Looks an address up as the machine code does."""

    def __init__(self) -> None:
        self.address = self.mask = 0
        self.table = ArmedTable(self._placed)

    def _placed(self, address: int, mask: int) -> None:
        self.address, self.mask = address, mask

    def find(self, address: int) -> tuple[int, int, int] | None:
        words = (ctypes.c_uint64 * (4 * (self.mask + 1))).from_address(self.address)
        index = HOMES[host_machine()](address)
        while True:
            index &= self.mask
            found = words[4 * index]
            if found == address:
                return words[4 * index + 1], words[4 * index + 2], words[4 * index + 3]
            if found == MASK64:
                return None
            index += 1


@pytest.mark.parametrize("spread", [1, 4, 16, 4096])
def test_it_is_a_dict(spread: int) -> None:
    reader, truth, chance = Reader(), dict[int, tuple[int, int, int]](), random.Random(spread)
    addresses = [0xFFFF_FFFF_8100_0000 + spread * n for n in range(400)] + [0, 1 << 63]
    for turn in range(6000):
        address = chance.choice(addresses)
        if chance.random() < (0.7 if turn < 3000 else 0.3):
            truth[address] = turn, turn + 1, turn & 1
            reader.table.put(address, *truth[address])
        else:
            truth.pop(address, None)
            reader.table.remove(address)
        assert len(reader.table) == len(truth)
        for each in chance.choices(addresses, k=4):
            assert reader.find(each) == truth.get(each)
    assert all(reader.find(each) == truth.get(each) for each in addresses)
