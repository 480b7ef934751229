"""The copy of a RAM and the way back to it, by each way to learn which pages were written."""

from __future__ import annotations

import ctypes
import os
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from kprobesim.machine.guest_ram import GuestRam, make_ram
from kprobesim.machine.ram_image import RamImage
from kprobesim.machine.written_pages import PAGE, Tracker, pagemap_tracker, scan_tracker

PAGES = 3000


def nothing() -> None:
    """For a host that does not say which pages were written."""


@pytest.fixture(params=[scan_tracker, pagemap_tracker, nothing])
def tracker(request: pytest.FixtureRequest) -> tuple[Tracker | None]:
    make: Callable[[], Tracker | None] = request.param
    try:
        return (make(),)
    except OSError as error:
        pytest.skip(f"not on this host: {error}")


def some_ram() -> GuestRam:
    ram = make_ram(PAGES * PAGE)
    for page in range(0, PAGES, 7):
        ram[page * PAGE + page] = page & 0xFF | 1
    return ram


def test_gives_back_what_was_there(tracker: tuple[Tracker | None]) -> None:
    ram = some_ram()
    address = ctypes.addressof(ctypes.c_char.from_buffer(ram))
    before = bytes(ram)
    image = RamImage(ram, tracker=tracker)
    assert bytes(ram) == before  # which reads all pages, and that is no writing
    assert image.written() == []
    ram[5 * PAGE] = 1
    ram[7 * PAGE : 9 * PAGE] = b"\xff" * 2 * PAGE
    ctypes.memset(address + (PAGES - 1) * PAGE, 0x55, PAGE)
    assert image.written() == [
        (5 * PAGE, 6 * PAGE),
        (7 * PAGE, 9 * PAGE),
        ((PAGES - 1) * PAGE, PAGES * PAGE),
    ]
    image.reset(image.written())
    assert bytes(ram) == before
    assert image.written() == []
    assert ctypes.addressof(ctypes.c_char.from_buffer(ram)) == address


def test_any_number_of_pages(tracker: tuple[Tracker | None]) -> None:
    """More ranges, too, than a host's call gives at once."""
    ram = some_ram()
    before = bytes(ram)
    image = RamImage(ram, tracker=tracker)
    for count in (0, 1, 400, 511, 513, 1100, PAGES):
        pages = sorted(random.Random(count).sample(range(PAGES), count))
        for page in pages:
            ram[page * PAGE + 1] ^= 0xFF
        written = image.written()
        assert [p for a, b in written for p in range(a // PAGE, b // PAGE)] == pages
        image.reset(written)
        assert bytes(ram) == before


def test_several_images(tracker: tuple[Tracker | None]) -> None:
    ram = some_ram()
    contents, images = [], []
    last = None
    for n in range(3):
        for page in range(n, 100, 2):
            ram[page * PAGE + n] ^= 0xF0
        contents.append(bytes(ram))
        last = RamImage(ram, last, tracker)
        images.append(last)
    for n in (0, 2, 1, 1, 0, 2):
        ram[50 * PAGE] ^= 1
        images[n].put_under()
        assert bytes(ram) == contents[n]
        assert images[n].written() == []
        ram[1] ^= 1
        assert images[n].written() == [(0, PAGE)]
    del images[1], images[0]
    images[0].put_under()
    assert bytes(ram) == contents[2]


def test_a_copy_of_the_process_adopts_for_itself_alone(tracker: tuple[Tracker | None]) -> None:
    ram = some_ram()
    image = RamImage(ram, tracker=tracker)
    before, page = bytes(ram), 9 * PAGE
    child = os.fork()
    if not child:  # where a failure must not reach pytest
        right = False
        try:
            ram[page], ram[2 * page] = 77, 88
            image.adopt(image.written())
            ram[page] = ram[3 * page] = 1
            image.reset(image.written())
            right = (ram[page], ram[2 * page], ram[3 * page]) == (77, 88, before[3 * page])
        finally:
            os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (image.read(0, len(ram)), bytes(ram)) == (before, before)


def test_two_threads_ask_at_once(tracker: tuple[Tracker | None]) -> None:
    """The kernel is asked without the interpreter's lock."""
    images = [RamImage(some_ram(), tracker=tracker) for _ in range(2)]
    for image, page in zip(images, (3, 1000), strict=True):
        image._ram[page * PAGE] = 1

    def ask(image: RamImage) -> set[tuple[tuple[int, int], ...]]:
        return {tuple(image.written()) for _ in range(300 if image.tracks else 3)}

    with ThreadPoolExecutor(2) as threads:
        found = [*threads.map(ask, images)]
    assert found == [{((page * PAGE, (page + 1) * PAGE),)} for page in (3, 1000)]
