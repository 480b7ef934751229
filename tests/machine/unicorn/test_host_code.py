"""The host's machine code: run in an emulated CPU, for hosts of every kind."""

from __future__ import annotations

import struct
from types import ModuleType

import capstone
import pytest
from makers.host_cpu import CODE_AT, PAGE, REALS, SIZE, HostCpu

from kprobesim.machine.unicorn import (
    access_log_code,
    call_list,
    clock_code,
    cmpxchg,
    coverage_code,
    dispatch_code,
    executions,
    flush_code,
    intercepts_code,
    recording_code,
    restore_code,
    spin_code,
    store_code,
    switch_code,
)
from kprobesim.machine.unicorn.host_code import assemble
from kprobesim.machine.unicorn.store_code import CODE, ENTRY, WORDS

TABLE, BYTES = 0x3000, 0x5000
HOLDS, UNSEEN = BYTES, BYTES + 0x100
UC, CPU, RAM, RAM_SIZE, HOST = 0x1111, 0x2222, 0x40_0000, 0x1_0000, 0x7F00_0000_0000
PHYSICAL = 0x8000_0000  # of the RAM


class Host(HostCpu):
    """A CPU with the code that sees stores, and two engines in its table."""

    def __init__(self, host: str) -> None:
        super().__init__(host, CODE[host], WORDS[2:])
        self.put_words(WORDS, {"table": TABLE, "count": 2})
        other = ENTRY.pack(0x9999, 0x8888, 0, 1 << 40, 0, 0, 0, 0, 0)
        ours = ENTRY.pack(UC, CPU, RAM, RAM_SIZE, HOST, 0, HOLDS, UNSEEN, PHYSICAL)
        self.ram[TABLE : TABLE + 2 * ENTRY.size] = other + ours

    def page(self, array: int, offset: int) -> int:
        return self.ram[array + offset // PAGE]


@pytest.fixture(params=sorted(CODE))
def host(request: pytest.FixtureRequest) -> Host:
    return Host(str(request.param))


MODULES = [
    access_log_code,
    store_code,
    cmpxchg,
    dispatch_code,
    clock_code,
    call_list,
    coverage_code,
    recording_code,
    executions,
    intercepts_code,
    spin_code,
    restore_code,
    flush_code,
    switch_code,
]


@pytest.mark.parametrize("module", MODULES)
def test_the_listing_is_what_the_bytes_mean(module: ModuleType) -> None:
    for host, kind in (
        ("x86_64", (capstone.CS_ARCH_X86, capstone.CS_MODE_64)),
        ("aarch64", (capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)),
    ):
        listing = module.CODE[host]
        code, labels = assemble(listing)
        places = {CODE_AT + at: label for label, at in labels.items()}
        places |= {
            CODE_AT - PAGE + 8 * n: name for n, name in enumerate(getattr(module, "WORDS", ()))
        }
        lines = [line for line in listing.split("\n") if line and not line.endswith(":")]
        found = list(capstone.Cs(*kind).disasm(code, CODE_AT))
        assert len(found) == len(lines)
        for line, insn in zip(lines, found, strict=True):
            given, text = line.split(maxsplit=1)
            assert given == insn.bytes.hex()
            words = text.replace(",", " ").replace("[", " ").replace("]", " ").split()
            assert words[0] == insn.mnemonic.split()[0], line
            targets = [word for word in words if word in places.values()]
            for target in targets:
                at = next(at for at, name in places.items() if name == target)
                relative = at - insn.address - insn.size
                shown = {f"{at:#x}", f"{relative:#x}".replace("-0x", "- 0x")}
                assert any(each in insn.op_str for each in shown), (line, insn.op_str)


def test_other_engines_go_on_to_unicorns_functions(host: Host) -> None:
    for label in ("store_seen", "set_dirty", "protect", "unprotect", "new_block"):
        arguments = (0x7777, 0x40_0000, 0x40_1000, 4, 5)
        assert host.call(label, *arguments) == (f"real_{label}", arguments)


def test_a_store_is_remembered_and_goes_on(host: Host) -> None:
    arguments = (UC, 1, RAM + 0x2345, 4, 0x5555)
    assert host.call("store_seen", *arguments) == ("real_store_seen", arguments)
    (last,) = struct.unpack_from("<Q", host.ram, TABLE + ENTRY.size + 40)
    assert last == RAM + 0x2345


def test_a_page_with_code_never_becomes_dirty(host: Host) -> None:
    host.call("store_seen", UC, 1, RAM + 0x2345, 4, 5)
    assert host.call("set_dirty", CPU, 0x1234)[0] == "real_set_dirty"
    assert host.page(UNSEEN, 0x2000) == 1
    host.call("protect", UC, RAM + 0x2000)
    assert host.call("set_dirty", CPU, 0x1234)[0] == ""
    host.call("unprotect", UC, RAM + 0x2FFF)
    assert host.call("set_dirty", CPU, 0x1234)[0] == "real_set_dirty"


def test_a_page_that_gets_code_is_watched_again_if_it_was_not(host: Host) -> None:
    assert host.call("protect", UC, RAM + 0x3456)[0] == ""
    assert (host.page(HOLDS, 0x3000), host.page(HOLDS, 0x2000)) == (1, 0)
    host.call("unprotect", UC, RAM + 0x3000)
    assert host.page(HOLDS, 0x3000) == 0
    host.call("store_seen", UC, 1, RAM + 0x3008, 8, 5)
    host.call("set_dirty", CPU, 0x1234)
    where, arguments = host.call("protect", UC, RAM + 0x3456)
    assert where == "reset_dirty"
    assert arguments[:3] == (CPU, HOST + 0x3000, PAGE)
    assert (host.page(HOLDS, 0x3000), host.page(UNSEEN, 0x3000)) == (1, 0)


def test_what_is_not_the_ram_is_always_watched(host: Host) -> None:
    for outside in (RAM - 8, RAM + RAM_SIZE):
        host.call("store_seen", UC, 1, outside, 8, 5)
        assert host.call("set_dirty", CPU, 0x1234)[0] == ""
        assert host.call("protect", UC, outside)[0] == ""
        assert host.call("unprotect", UC, outside)[0] == ""
    assert not any(host.ram[BYTES : BYTES + 0x200])


def test_a_new_block_needs_no_search(host: Host) -> None:
    assert host.call("new_block", CPU, 0x1000, 16)[0] == ""


WRITE, EXECUTE = 2, 4
VIRTUAL = 0x7777_0000
# A function that forgets its first two arguments, and tells its last one as the third.
FORGETFUL = {
    "x86_64": bytes.fromhex("488b542408 31ff 31f6 c3"),
    "aarch64": bytes.fromhex("e0031faa e1031faa e20306aa c0035fd6"),
}


@pytest.mark.parametrize("prot", range(8))
def test_only_a_page_without_code_is_unwatched_from_the_start(host: Host, prot: int) -> None:
    at, code = host.reals["real_fill"], FORGETFUL[host.host]
    host.ram[at : at + len(code)] = code

    def fill(physical: int) -> tuple[str, int]:
        where, arguments = host.call("fill", CPU, VIRTUAL, physical, 5, prot)
        assert arguments[:3] == ((CPU, VIRTUAL, SIZE) if where else (0, 0, SIZE))
        return where, host.page(UNSEEN, physical - PHYSICAL)

    both = prot & (WRITE | EXECUTE) == WRITE | EXECUTE
    assert fill(PHYSICAL + 0x2000) == (("real_set_dirty", 1) if both else ("", 0))
    host.call("protect", UC, RAM + 0x2000)
    host.ram[UNSEEN + 2] = 0
    assert fill(PHYSICAL + 0x2000) == ("", 0)
    for outside in (PHYSICAL - PAGE, PHYSICAL + RAM_SIZE):
        assert fill(outside) == ("", 0)


def test_the_page_of_another_engine_is_left_to_unicorn(host: Host) -> None:
    arguments = (0x7777, VIRTUAL, PHYSICAL, 5, WRITE | EXECUTE)
    assert host.call("fill", *arguments) == ("real_fill", arguments)


OLD, NEW, EXPECTED, EAX, OTHER, TRANSLATOR = 0x111, 0x222, 0x333, 0x444, 0x555, 0x7000_0000
EQUAL, NOT_EQUAL, BITS_32, BITS_64 = 8, 9, 2, 3
RETURN = {"x86_64": b"\xc3", "aarch64": struct.pack("<I", 0xD65F03C0)}


class Translator(HostCpu):
    """A CPU with the code for CMPXCHG: it tells what is written down instead."""

    def __init__(self, host: str) -> None:
        super().__init__(host, cmpxchg.CODE[host], cmpxchg.WORDS[1:])
        self.put_words(cmpxchg.WORDS, {"slots": TABLE})
        self.ram[TABLE : TABLE + 64] = bytes(64)
        self.written: list[tuple[object, ...]] = []
        for name, at in self.reals.items():
            self.ram[at : at + 4] = RETURN[host].ljust(4, b"\0")
            self.engine.on_code(at, lambda *_, name=name: self._note(name.removeprefix("real_")))

    def _note(self, name: str) -> None:
        words = self.engine.words
        count = {"ext32u": 3, "movcond": 7, "cmpxchg": 7}[name]
        if self.host == "aarch64":
            arguments = [words[n] for n in range(count)]
        else:
            (last,) = struct.unpack_from("<Q", self.ram, words[4] + 8)
            arguments = [*(words[n] for n in (7, 6, 2, 1, 8, 9)), last][:count]
        assert arguments[0] == TRANSLATOR
        self.written.append((name, *arguments[1:]))

    def tell(self, label: str, *arguments: int) -> None:
        """One call of the translator's."""
        values = [TRANSLATOR, *arguments, 0, 0, 0, 0][:7]
        words = self.engine.words
        if self.host == "aarch64":
            for number, value in enumerate(values):
                words[number] = value
            words[30], words[31] = REALS - 16, 0x7000
        else:
            for number, value in zip((7, 6, 2, 1, 8, 9), values, strict=False):
                words[number] = value
            words[4] = 0x7008
            self.ram[0x7008:0x7018] = struct.pack("<2Q", REALS - 16, values[6])
        stack = 0x7000 if self.host == "aarch64" else 0x7010
        assert self.engine.run(CODE_AT + self.labels[label]) == 0
        assert words[31 if self.host == "aarch64" else 4] == stack

    def halves(self) -> list[tuple[object, ...]]:
        """What was written down since."""
        written, self.written = self.written, []
        return written


@pytest.fixture(params=sorted(CODE))
def translator(request: pytest.FixtureRequest) -> Translator:
    return Translator(str(request.param))


KEEPS = [("ext32u", EXPECTED, EXPECTED), ("movcond", EQUAL, EAX, OLD, EXPECTED, EAX, OLD)]


def test_a_locked_cmpxchg_keeps_rax(translator: Translator) -> None:
    for bits, wanted in ((BITS_32, KEEPS), (BITS_64, [("ext32u", EAX, OLD)])):
        translator.tell("cmpxchg", OLD, 1, EXPECTED, NEW, 2, bits)
        assert translator.halves() == [("cmpxchg", OLD, 1, EXPECTED, NEW, 2, bits)]
        translator.tell("ext32u", EAX, OLD)
        assert translator.halves() == wanted
    translator.tell("ext32u", EAX, OLD)
    assert translator.halves() == [("ext32u", EAX, OLD)]


def test_a_cmpxchg_without_lock_keeps_rax(translator: Translator) -> None:
    translator.tell("ext32u", OLD, OLD)
    translator.tell("ext32u", EXPECTED, EXPECTED)
    translator.tell("movcond", EQUAL, NEW, OLD, EXPECTED, NEW, OLD)
    assert translator.halves()[-1] == ("movcond", EQUAL, NEW, OLD, EXPECTED, NEW, OLD)
    translator.tell("ext32u", EAX, OLD)
    assert translator.halves() == KEEPS


@pytest.mark.parametrize("change", range(4))
def test_what_is_no_cmpxchg_stays(translator: Translator, change: int) -> None:
    """Another condition, another value kept, an extension that is not in place, or one between."""
    translator.tell("ext32u", OLD, OLD)
    translator.tell("ext32u", EXPECTED, OTHER if change == 2 else EXPECTED)
    condition = NOT_EQUAL if change == 0 else EQUAL
    translator.tell("movcond", condition, NEW, OLD, EXPECTED, NEW, OTHER if change == 1 else OLD)
    if change == 3:
        translator.tell("ext32u", OTHER, OTHER)
    translator.halves()
    translator.tell("ext32u", EAX, OLD)
    assert translator.halves() == [("ext32u", EAX, OLD)]


COUNTER, EXIT, EVERY, EVERY_DATA = BYTES, BYTES + 0x10, REALS + 0x100, 0x7777
BLOCK = (UC, 0xFFFF_8000, 24)  # the engine, the block's address and size


class Blocks(HostCpu):
    """A CPU with the code that is called where blocks start, and one engine's board."""

    def __init__(self, host: str) -> None:
        super().__init__(host, dispatch_code.CODE[host], ("stop", "leave", "real_write_call"))
        self.put_words(dispatch_code.WORDS, {"counts": CODE_AT + self.labels["block"]})
        self.reals["every"] = EVERY
        self.ram[EVERY : EVERY + len(self.halt)] = self.halt
        at, code = self.reals["stop"], FORGETFUL[host]
        self.ram[at : at + len(code)] = code
        for name, value in (("counter", COUNTER), ("exit", EXIT), ("every_data", EVERY_DATA)):
            self.put(TABLE + 8 * dispatch_code.BOARD.index(name), value)
        self.limit(0, 1)
        self.put(EXIT, 0)

    def limit(self, counted: int, limit: int) -> None:
        self.put(COUNTER, counted)
        self.put(COUNTER + 8, limit)

    def start(self) -> tuple[str, tuple[int, ...]]:
        """A block starts."""
        return self.call("block", *BLOCK, TABLE)


@pytest.fixture(params=sorted(CODE))
def blocks(request: pytest.FixtureRequest) -> Blocks:
    return Blocks(str(request.param))


def test_a_block_is_counted_and_left_over_the_limit(blocks: Blocks) -> None:
    assert blocks.start()[0] == ""
    for counted in (2, 3):
        where, arguments = blocks.start()
        assert (where, arguments[:2]) == ("leave", (UC, 0))
        assert blocks.get(COUNTER) == counted
    blocks.limit(1 << 63, (1 << 63) + 1)
    assert blocks.start()[0] == ""


def test_a_block_is_counted_and_left_for_a_stop(blocks: Blocks) -> None:
    for wish, expected in ((0x7FFF_0000, ""), (0xFFFF_0000, "leave")):
        blocks.limit(0, 9)
        blocks.put(EXIT, wish)
        assert blocks.start()[0] == expected
        assert blocks.get(COUNTER) == 1


def test_who_wants_every_block_hears_of_those_that_run(blocks: Blocks) -> None:
    blocks.put(TABLE + 8 * dispatch_code.BOARD.index("every"), EVERY)
    where, arguments = blocks.start()
    assert (where, arguments[:4]) == ("every", (*BLOCK, EVERY_DATA))
    assert blocks.start()[0] == "leave"


def test_a_block_that_is_counted_looks_once_for_a_stop(blocks: Blocks) -> None:
    counts, leave = CODE_AT + blocks.labels["block"], blocks.reals["leave"]
    written = "real_write_call"
    calls = [(1, leave), (1, counts), (2, leave), (1, OTHER), (1, leave), (1, leave)]
    assert [blocks.call("write_call", *call)[0] for call in calls] == [
        *(written, written, written, written, "", written)
    ]
