"""Console, device tree, interrupt controller, serial port and timer, each alone."""

from __future__ import annotations

import struct

import pytest

from kprobesim.boot.arm64.fdt import flatten
from kprobesim.boot.arm64.gic import SPURIOUS, Gic
from kprobesim.boot.arm64.pl011 import Pl011
from kprobesim.boot.arm64.timer import Timer, find_instructions
from kprobesim.boot.arm64.tree import device_tree
from kprobesim.boot.console import Console
from kprobesim.boot.virtual_time import VirtualTime
from kprobesim.errors import UsageError


def unflatten(blob: bytes) -> dict:
    """A reader of its own, after the specification."""
    magic, total, at, strings, reserved, version, compatible = struct.unpack_from(">7I", blob)
    assert (magic, total, version, compatible) == (0xD00DFEED, len(blob), 17, 16)
    assert reserved % 8 == 0 and blob[reserved : reserved + 16] == bytes(16)
    stack: list[dict] = [{}]
    while True:
        (token,) = struct.unpack_from(">I", blob, at)
        at += 4
        if token == 1:
            end = blob.index(b"\0", at)
            node: dict = {}
            stack[-1][blob[at:end].decode()] = node
            stack.append(node)
            at = end + 4 & ~3
        elif token == 2:
            stack.pop()
        elif token == 3:
            size, name = struct.unpack_from(">II", blob, at)
            end = blob.index(b"\0", strings + name)
            stack[-1][blob[strings + name : end].decode()] = blob[at + 8 : at + 8 + size]
            at = at + 8 + size + 3 & ~3
        else:
            assert token == 9 and len(stack) == 1
            return stack[0][""]


def test_flattened_values() -> None:
    tree = {"a": 1, "b": "text", "c": None, "n@1": {"a": (1, 2), "d": ["x", "yz"], "e": b"\1\2\3"}}
    assert unflatten(flatten(tree)) == {  # type: ignore[arg-type]
        "a": b"\0\0\0\1",
        "b": b"text\0",
        "c": b"",
        "n@1": {"a": b"\0\0\0\1\0\0\0\2", "d": b"x\0yz\0", "e": b"\1\2\3"},
    }


def test_device_tree_names_memory_and_initrd() -> None:
    tree = unflatten(device_tree(0x4000_0000, 1 << 33, "quiet", (0x4400_0000, 0x4400_1234)))
    assert tree["memory@40000000"]["reg"] == struct.pack(">4I", 0, 0x4000_0000, 2, 0)
    assert tree["chosen"]["bootargs"] == b"quiet\0"
    assert tree["chosen"]["linux,initrd-end"] == struct.pack(">2I", 0, 0x4400_1234)
    assert "linux,initrd-start" not in unflatten(device_tree(0, 4096, "", None))["chosen"]


class Wire(list):
    """Records the levels of a line, and who has taken what it tells."""

    def __init__(self) -> None:
        self.taken: list[int] = []

    def __call__(self, level: bool) -> None:
        self.append(level)


def running_gic() -> tuple[Gic, Wire]:
    wire = Wire()
    gic = Gic(lambda _cpu, level: wire(level), taken=wire.taken.append)
    gic.write_distributor(0, 4, 1)
    gic.write_interface(0, 4, 1)
    gic.write_interface(4, 4, 0xF0)
    return gic, wire


def test_gic_takes_an_interrupt_through_its_life() -> None:
    gic, wire = running_gic()
    gic.set_line(33, True)
    assert wire == []  # not enabled
    gic.write_distributor(0x104, 4, 1 << 1)
    assert wire == [True]
    assert gic.read_interface(0x0C, 4) == 33
    assert wire == [True, False]
    assert gic.read_distributor(0x304, 4) == 2
    assert gic.read_interface(0x0C, 4) == SPURIOUS
    assert wire.taken == [0]
    gic.set_line(33, False)
    gic.write_interface(0x10, 4, 33)
    assert wire == [True, False]
    assert gic.read_distributor(0x304, 4) == 0


def test_gic_raises_again_while_the_line_is_up() -> None:
    gic, wire = running_gic()
    gic.write_distributor(0x104, 4, 2)
    gic.set_line(33, True)
    gic.read_interface(0x0C, 4)
    gic.write_interface(0x10, 4, 33)
    assert wire == [True, False, True]


def test_gic_goes_by_priority() -> None:
    gic, wire = running_gic()
    gic.write_distributor(0x100, 4, 1 << 30)
    gic.write_distributor(0x104, 4, 2)
    gic.write_distributor(0x400 + 30, 1, 0x20)
    gic.write_distributor(0x400 + 33, 1, 0x10)
    gic.set_line(30, True)
    gic.set_line(33, True)
    assert gic.read_interface(0x0C, 4) == 33
    assert wire == [True, False]  # 30 must wait until 33 has ended
    assert gic.read_interface(0x14, 4) == 0x10
    gic.write_interface(0x10, 4, 33)
    gic.set_line(33, False)
    assert gic.read_interface(0x0C, 4) == 30
    gic.write_interface(0x10, 4, 30)
    gic.write_interface(4, 4, 0x20)  # masks 0x20 and below
    assert not gic.level(0)
    gic.write_interface(4, 4, 0x21)
    assert gic.level(0)


def test_gic_software_interrupts_and_masks() -> None:
    gic, _ = running_gic()
    gic.write_distributor(0xF00, 4, 1 << 16 | 5)
    assert gic.level(0) and gic.read_interface(0x0C, 4) == 5
    gic.write_interface(0x10, 4, 5)
    assert not gic.level(0)
    gic.write_distributor(0xF00, 4, 1 << 24 | 5)  # to all others: there are none
    gic.write_distributor(0xF00, 4, 2 << 16 | 5)  # to CPU 1
    assert not gic.level(0)
    gic.write_distributor(0x180, 4, 0xFFFF_FFFF)
    assert gic.read_distributor(0x100, 4) == 0xFFFF  # software interrupts stay enabled


def test_gic_deactivates_apart_when_asked() -> None:
    gic, _ = running_gic()
    gic.write_interface(0, 4, 0x201)
    gic.write_distributor(0x104, 4, 2)
    gic.set_line(33, True)
    gic.read_interface(0x0C, 4)
    gic.write_interface(0x10, 4, 33)
    assert gic.read_distributor(0x304, 4) == 2 and not gic.level(0)
    gic.write_interface(0x1000, 4, 33)
    assert gic.level(0)


def test_gic_ignores_registers_that_it_does_not_have() -> None:
    gic, _ = running_gic()
    for offset in range(0, 0x1000, 4):
        gic.write_distributor(offset, 4, 0xFFFF_FFFF)
        assert 0 <= gic.read_distributor(offset, 4) <= 0xFFFF_FFFF
    assert gic.read_distributor(4, 4) & 31 == 2
    assert gic.read_distributor(0xFE8, 4) >> 4 & 15 == 2


def test_pl011_prints_and_interrupts() -> None:
    console, wire = Console(), Wire()
    uart = Pl011(console, wire)
    uart.write(0x38, 4, 0x20)
    uart.write(0, 4, ord("a"))
    assert console.text == "a" and wire[-1] is True
    uart.write(0x44, 4, 0x20)
    assert wire[-1] is False
    assert bytes(uart.read(offset, 4) for offset in range(0xFE0, 0x1000, 4)) == bytes.fromhex(
        "111034000df005b1"
    )


def test_pl011_hands_in_what_is_typed() -> None:
    console, wire = Console(), Wire()
    uart = Pl011(console, wire)
    uart.write(0x30, 4, 0x301)
    uart.write(0x38, 4, 0x50)
    assert uart.read(0x18, 4) & 0x10
    console.send("hé")
    assert wire[-1] is True and not uart.read(0x18, 4) & 0x10
    assert bytes(uart.read(0, 4) for _ in range(3)) == "hé".encode()
    assert wire[-1] is False
    assert uart.read(0, 4) == 0


def test_console_text_and_tail() -> None:
    heard: list[bytes] = []
    console = Console()
    console.listeners.append(heard.append)
    for line in range(30):
        console.put(b"line %d\r\n" % line)
    assert console.text.splitlines()[3] == "line 3"
    assert console.tail(2) == "line 28\nline 29"
    assert b"".join(heard) == bytes(console.output)
    assert Console().tail() == ""
    with pytest.raises(UsageError, match="type int"):
        console.send(5)  # type: ignore[arg-type]


class StoppedEngine:
    counter_words = (0, 0)


def make_timer() -> tuple[Timer, VirtualTime]:
    clock = VirtualTime(StoppedEngine())  # type: ignore[arg-type]
    return Timer(clock, lambda: None), clock


def test_timer_interrupts_when_its_time_has_come() -> None:
    timer, clock = make_timer()
    tval, ctl, cval = ((3, 3, 14, 2, n) for n in range(3))
    timer.write(tval, 100)
    assert timer.next_event is None
    timer.write(ctl, 1)
    assert timer.next_event == timer.read(cval) * 16 and not timer.asserted
    clock.jump(timer.next_event)  # type: ignore[arg-type]
    assert timer.asserted and timer.next_event is None
    assert timer.read(ctl) == 5
    timer.write(ctl, 3)
    assert not timer.asserted and timer.read(ctl) == 7
    timer.write(ctl, 1)
    timer.write(tval, 0xFFFF_FFFF)  # -1: it is over
    assert timer.asserted
    timer.write(cval, 1 << 40)
    assert not timer.asserted and timer.next_event == 16 << 40


def test_timer_opens_to_programs_what_the_kernel_opened() -> None:
    timer, _ = make_timer()
    counter, control = (3, 3, 14, 0, 2), (3, 3, 14, 2, 1)
    assert timer.allows(counter, user=False) and not timer.allows(counter, user=True)
    timer.user_control = 2
    assert timer.allows(counter, user=True) and not timer.allows(control, user=True)
    assert not timer.allows((3, 0, 1, 0, 0), user=False)


def test_instructions_are_found_where_they_are_aligned() -> None:
    words = struct.pack("<4I", 0xD53BE045, 0xD53BE0DF, 0xD53BE020, 0xD503201F)
    found = list(find_instructions(words, b"\xe0\x3b\xd5", (0x40, 0xC0)))
    assert found == [(0, 5), (4, 31)]
    assert list(find_instructions(b"\0" + words, b"\xe0\x3b\xd5", (0x40, 0xC0))) == []
