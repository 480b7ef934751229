"""RDRAND and RDSEED give the same numbers in every guest, whatever the host's are."""

from __future__ import annotations

from pathlib import Path

import pytest

from kprobesim import Kernel

GUEST = Path(__file__).parents[2] / "samples" / "guest-x86_64.elf"


@pytest.mark.parametrize(
    ("code", "bits"),
    [
        ("480fc7f0", 64),  # rdrand %rax
        ("0fc7f0", 32),  # rdrand %eax
        ("31c0 660fc7f0", 16),  # rdrand %ax
        ("490fc7f2 4c89d0", 64),  # rdrand %r10; mov %r10,%rax
        ("480fc7f9 4889c8", 64),  # rdseed %rcx; mov %rcx,%rax
    ],
)
def test_two_guests_read_the_same_numbers(code: str, bits: int) -> None:
    runs = []
    for _ in range(2):
        k = Kernel.load(GUEST)
        place = k.symbols["strlen"].address
        k.write(place, bytes.fromhex(code.replace(" ", "") + "c3"))
        numbers = [k.call(place) for _ in range(3)]
        offset = 2 if code.startswith("31c0") else 0
        with k.probing(addr=place + offset, post_handler=lambda *a: None):
            numbers.append(k.call(place))  # from a slot
        runs.append(numbers)
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 4
    assert max(runs[0]) < 1 << bits


def test_carry_says_that_there_was_a_number() -> None:
    k = Kernel.load(GUEST)
    place = k.symbols["strlen"].address
    # xor %eax,%eax; rdrand %rcx; setc %al; ret
    k.write(place, bytes.fromhex("31c0480fc7f10f92c0c3"))
    assert k.call(place) == 1
