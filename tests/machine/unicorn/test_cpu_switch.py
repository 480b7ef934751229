"""CPUs of one engine: each has a TLB of its own, and none knows what somebody has dropped."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from kprobesim import CalledKernel, GuestFault, Kernel
from kprobesim.arch.architecture import halves
from kprobesim.machine.memory import Prot
from kprobesim.machine.unicorn import cpu_switch
from kprobesim.machine.unicorn.control_words import control_words

PAGES, FRAMES, CPUS = 4, 8, 4
WORD = 8  # code that gives a number and returns is so long


def _arm(*words: int) -> bytes:
    return struct.pack(f"<{len(words) + 1}I", *words, 0xD503207F)


CODE = halves(
    x86_64={
        "load": bytes.fromhex("488b07f4"),
        "store": bytes.fromhex("488937f4"),
        "call": bytes.fromhex("ffd7f4"),
        "drop page": bytes.fromhex("0f013ff4"),
        "drop all": bytes.fromhex("0f20d80f22d8f4"),
        "drop for all": bytes.fromhex("0f20d80f22d8f4"),
    },
    arm64={
        "load": _arm(0xF9400000),
        "store": _arm(0xF9000001),
        "call": _arm(0xD63F0000),
        "drop page": _arm(0xD34CFC00, 0xD5088360, 0xD5033F9F, 0xD5033FDF),  # tlbi vaae1is
        "drop all": _arm(0xD508871F, 0xD5033F9F, 0xD5033FDF),  # tlbi vmalle1
        "drop for all": _arm(0xD508831F, 0xD5033F9F, 0xD5033FDF),  # tlbi vmalle1is
    },
)
ROOTS = halves(x86_64="cr3", arm64="ttbr1")


class Cpus:
    """Four CPUs and a few pages: the first two have one tree of tables, each other one its own."""

    def __init__(self, kernel: CalledKernel) -> None:
        self.kernel, self.machine = kernel, kernel.machine
        machine, memory, isa = self.machine, self.machine.memory, self.machine.isa
        self.arguments = machine.cpu.regs_class.ARGUMENTS
        self.code = {}
        for name, code in CODE[kernel.arch].items():
            self.code[name] = kernel.alloc(len(code), executable=True)
            kernel.write(self.code[name], code)
        self.stack = kernel.alloc(4096) + 2048
        start = memory.find_gap(isa.vmalloc_start, isa.vmalloc_start + (1 << 30), PAGES << 12)
        self.start = start
        memory.map_new(start, PAGES << 12, Prot.RW | Prot.X, "pages")
        self.frames = [memory.take_frames() for _ in range(FRAMES)]
        self.content = [0] * FRAMES
        for number in range(FRAMES):
            self.put(number, number)
        for _ in range(CPUS - 1):
            machine.add_vcpu()
        word = control_words(machine.engine)[ROOTS[kernel.arch]]
        first = word.value
        self.leaves = [self.leaf(first)] * 2
        for number in range(2, CPUS):
            machine.switch_to(number)
            root, leaf = self.copied(first)
            word.value = root
            self.leaves.append(leaf)
        self.mapped: dict[int, list[tuple[int, bool]]] = {leaf: [] for leaf in self.leaves}
        for leaf in self.mapped:
            for page in range(PAGES):
                self.mapped[leaf].append((page, True))
                self.entry(leaf, page, page, writable=True)
        machine.engine.flush_tlb()

    def word(self, value: int) -> int:
        """Code that gives ``value``, as a number."""
        if self.kernel.arch == "x86_64":
            return int.from_bytes(b"\xb8" + struct.pack("<I", value) + b"\xc3\0\0", "little")
        return 0xD65F03C0_52800000 | value << 5

    def put(self, frame: int, value: int) -> None:
        """Let the host write code that gives ``value``."""
        self.content[frame] = value
        address = self.machine.isa.page_offset + self.frames[frame] - self.machine.memory.base
        self.machine.memory.write(address, self.word(value).to_bytes(WORD, "little"))

    def tables(self, root: int) -> list[tuple[int, int]]:
        """The tables on the way to the pages: the address of each, and of its entry."""
        memory, target = self.machine.memory, self.machine.cpu.pte_format.target
        found, table = [], root & 0xFFFF_FFFF_F000
        for shift in (39, 30, 21, 12):
            at = table + 8 * (self.start >> shift & 511)
            found.append((table, at))
            (entry,) = struct.unpack_from("<Q", memory.ram, at - memory.base)
            table = target(entry) or 0
        return found

    def leaf(self, root: int) -> int:
        return self.tables(root)[-1][1]

    def copied(self, root: int) -> tuple[int, int]:
        """A tree like that at ``root``, with tables of its own on the way: root and leaf."""
        memory, below, leaf = self.machine.memory, 0, 0
        for table, at in reversed(self.tables(root)):
            copy = memory.take_frames()
            kept = memory.ram[table - memory.base : table - memory.base + 4096]
            memory.ram[copy - memory.base : copy - memory.base + 4096] = kept
            place = copy + at - table
            if below:
                entry = self.machine.cpu.pte_format.table(below)
                struct.pack_into("<Q", memory.ram, place - memory.base, entry)
            else:
                leaf = place
            below = copy
        return below | root & ~0xFFFF_FFFF_F000, leaf

    def entry(self, leaf: int, page: int, frame: int, *, writable: bool) -> None:
        memory, prot = self.machine.memory, Prot.RW if writable else Prot.R
        entry = self.machine.cpu.pte_format.page(self.frames[frame], prot | Prot.X)
        struct.pack_into("<Q", memory.ram, leaf - memory.base + 8 * page, entry)
        self.mapped[leaf][page] = frame, writable

    def run(self, cpu: int, what: str, *values: int) -> int:
        """Let a CPU do something; the result, if there is one."""
        machine, engine = self.machine, self.machine.engine
        machine.switch_to(cpu)
        for register, value in zip(self.arguments, values, strict=False):
            machine.words[register] = value
        machine.words[4 if self.kernel.arch == "x86_64" else 31] = self.stack
        assert engine.run(self.code[what]) == 0
        return int(machine.words[machine.cpu.regs_class.RETURN])


@pytest.fixture(params=["native", "plain"])
def cpus(sample: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Cpus:
    """CPUs that machine code switches, and such where none can be."""
    if request.param == "plain":
        monkeypatch.setattr(cpu_switch, "put_functions", lambda _code: None)
    return Cpus(Kernel.load(sample))


def test_whatever_one_cpu_drops_no_other_one_knows(cpus: Cpus) -> None:
    numbers, values = random.Random(5), iter(range(100, 60_000))

    def changes(cpu: int, page: int) -> None:
        leaf, frame = cpus.leaves[cpu], numbers.randrange(FRAMES)
        cpus.entry(leaf, page, frame, writable=numbers.random() < 0.7)
        ways: list[Callable[[], object]] = [
            lambda: cpus.run(cpu, "drop page", cpus.start + 4096 * page),
            lambda: cpus.run(cpu, "drop all"),
            lambda: cpus.run(cpu, "drop for all"),
            cpus.machine.engine.flush_tlb,
        ]
        numbers.choice(ways)()

    def stores(cpu: int, page: int) -> None:
        frame, writable = cpus.mapped[cpus.leaves[cpu]][page]
        value, place = next(values), cpus.start + 4096 * page
        if writable:
            cpus.run(cpu, "store", place, cpus.word(value))
            cpus.content[frame] = value
        else:
            with pytest.raises(GuestFault):
                cpus.run(cpu, "store", place, cpus.word(value))

    def loads(cpu: int, page: int) -> None:
        frame, _ = cpus.mapped[cpus.leaves[cpu]][page]
        found = cpus.run(cpu, "load", cpus.start + 4096 * page)
        assert found == cpus.word(cpus.content[frame])

    def calls(cpu: int, page: int) -> None:
        frame, _ = cpus.mapped[cpus.leaves[cpu]][page]
        assert cpus.run(cpu, "call", cpus.start + 4096 * page) == cpus.content[frame]

    def host_writes(_cpu: int, _page: int) -> None:
        cpus.put(numbers.randrange(FRAMES), next(values))

    actions = [changes, stores, loads, calls, loads, calls, host_writes]
    for _ in range(1500):
        numbers.choice(actions)(numbers.randrange(CPUS), numbers.randrange(PAGES))


def test_a_switch_drops_nothing(sample: Path) -> None:
    cpus = Cpus(Kernel.load(sample))
    for cpu in range(CPUS):
        for page in range(PAGES):
            cpus.run(cpu, "load", cpus.start + 4096 * page)
    known = [cpus.mapped[leaf][0][0] for leaf in cpus.leaves]
    for leaf in set(cpus.leaves):  # nobody is told
        cpus.entry(leaf, 0, FRAMES - 1, writable=True)
    for cpu in range(CPUS):
        assert cpus.run(cpu, "load", cpus.start) == cpus.word(cpus.content[known[cpu]])
    cpus.run(1, "drop page", cpus.start)
    for cpu in range(CPUS):
        assert cpus.run(cpu, "load", cpus.start) == cpus.word(cpus.content[FRAMES - 1])
