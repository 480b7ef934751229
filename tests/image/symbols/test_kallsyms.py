"""The kernel's own symbol table, in all its layouts."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from makers.kallsyms_maker import LAYOUTS, Entry, Layout, make_kallsyms

from kprobesim.image.symbols.kallsyms import find_kallsyms

BASE = 0xFFFFFFFF81000000
VADDR = BASE + 0x200000
IMAGE = (BASE, BASE + 0x1000000)


def entries(count: int, layout: Layout, seed: int = 1) -> list[Entry]:
    rng = random.Random(seed)
    words = ["do", "sys", "vfs", "read", "write", "lock", "irq", "tcp", "page", "x86", "init", "_"]
    made: list[Entry] = []
    address = BASE
    for i in range(count):
        name = "_".join(rng.choices(words, k=rng.randint(1, 5))) + f"{rng.randint(0, 99)}.{i}"
        made.append((rng.choice("tTdDrbBW"), name, address))
        address += rng.choice((0, 4, 16, 64, 4096 % 997))
    if layout.addressing == "signed" and count > 4:
        percpu = [("A", f"percpu_{i}", 0x40 * i) for i in range(count // 4)]
        made = percpu + made[len(percpu) :]
    return made


def check(layout: Layout, wanted: list[Entry], data: bytes) -> None:
    found = find_kallsyms(memoryview(data), VADDR, IMAGE)
    assert found is not None
    got = list(zip(found.kinds.decode(), found.names, found.addresses, strict=True))
    assert got == [(letter, name.encode(), address) for letter, name, address in wanted]
    assert found.ordered


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
@pytest.mark.parametrize("count", [5, 20, 255, 256, 257, 512, 513, 1000, 2000])
def test_every_layout_is_read(layout: Layout, count: int) -> None:
    wanted = entries(count, layout)
    rng = random.Random(count)
    lead = rng.randbytes(4096) + bytes(64)
    check(layout, wanted, make_kallsyms(layout, wanted, VADDR, BASE, lead=lead) + bytes(100))


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_long_names(layout: Layout) -> None:
    rng = random.Random(7)
    longest = 500 if layout.two_byte_lengths else 240
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789$."
    wanted = [
        ("t", "".join(rng.choices(letters, k=rng.randint(1, longest))), BASE + 16 * i)
        for i in range(300)
    ]
    check(layout, wanted, make_kallsyms(layout, wanted, VADDR, BASE, lead=bytes(8)))


@settings(max_examples=25, deadline=None)
@given(
    layout=st.sampled_from(LAYOUTS),
    names=st.lists(
        st.text("abcdefgh_xyz.$0123", min_size=1, max_size=30), min_size=20, max_size=600
    ),
    step=st.integers(1, 64),
)
def test_any_names(layout: Layout, names: list[str], step: int) -> None:
    wanted = [("T", name, BASE + step * i) for i, name in enumerate(names)]
    check(layout, wanted, make_kallsyms(layout, wanted, VADDR, BASE, lead=b"\xff" * 24))


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_names_of_what_is_linked_behind_the_end(layout: Layout) -> None:
    """7.0 and 7.1 name thousands of strings of .modinfo, which is not loaded."""
    wanted = entries(2000, layout)
    wanted += [("r", f"__UNIQUE_ID_modinfo_{i}", IMAGE[1] + 24 * i) for i in range(700)]
    check(layout, wanted, make_kallsyms(layout, wanted, VADDR, BASE, lead=bytes(8)))


def test_data_without_a_table() -> None:
    assert find_kallsyms(memoryview(bytes(10000)), VADDR, IMAGE) is None
    digits = b"".join(b"%d\0" % i for i in range(10))
    assert find_kallsyms(memoryview(digits * 500), VADDR, IMAGE) is None


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_a_table_that_is_damaged_is_not_half_read(layout: Layout) -> None:
    wanted = entries(2000, layout)
    data = bytearray(make_kallsyms(layout, wanted, VADDR, BASE, lead=bytes(8)))
    good = find_kallsyms(memoryview(bytes(data)), VADDR, IMAGE)
    assert good is not None
    # A length byte of a name in the middle: all the names after it would be shifted.
    at = data.index(struct_number(len(wanted))) + 64
    rng = random.Random(3)
    refused = 0
    for _ in range(20):
        damaged = bytearray(data)
        where = at + rng.randrange(4000)
        damaged[where] ^= 0x15
        found = find_kallsyms(memoryview(bytes(damaged)), VADDR, IMAGE)
        if found is None:
            refused += 1
        else:
            # Only what the byte stood for may differ: one name, never the rest.
            pairs = zip(found.names, good.names, strict=True)
            assert sum(a != b for a, b in pairs) <= 1
    assert refused


def test_an_image_made_to_mislead_the_search_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    layout = LAYOUTS[-1]
    wanted = entries(300, layout)
    digits = b"".join(b"%d\0" % i for i in range(10))
    few, many = digits * 500, digits * 3000
    monkeypatch.setattr("kprobesim.image.symbols.kallsyms._MOST_EFFORT", 2000)
    check(layout, wanted, make_kallsyms(layout, wanted, VADDR, BASE, lead=few))
    misleading = make_kallsyms(layout, wanted, VADDR, BASE, lead=many)
    assert find_kallsyms(memoryview(misleading), VADDR, IMAGE) is None


def struct_number(count: int) -> bytes:
    return count.to_bytes(4, "little")


def test_addresses_outside_of_the_image_are_refused() -> None:
    layout = LAYOUTS[-1]
    wanted = entries(1000, layout)
    data = make_kallsyms(layout, wanted, VADDR, BASE)
    elsewhere = (BASE + 0x8000000, BASE + 0x9000000)
    assert find_kallsyms(memoryview(data), VADDR, elsewhere) is None
