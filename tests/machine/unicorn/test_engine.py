"""The window on Unicorn's registers says the same as its official interface."""

from __future__ import annotations

import ctypes

import pytest
import unicorn
from unicorn import arm64_const, x86_const
from unicorn.unicorn_py3.unicorn import uclib

from kprobesim import EngineError
from kprobesim.machine.unicorn import numbers
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.machine.unicorn.library import library
from kprobesim.machine.unicorn.struct_layout import Layout

_GPRS = {
    "x86_64": (x86_const.UC_X86_REG_RAX, x86_const.UC_X86_REG_R15, 0, 15),
    "arm64": (arm64_const.UC_ARM64_REG_X0, arm64_const.UC_ARM64_REG_SP, 0, 31),
}
_CONSTANTS = (unicorn, x86_const, arm64_const)
_PC = {"x86_64": x86_const.UC_X86_REG_RIP, "arm64": arm64_const.UC_ARM64_REG_PC}


def test_words_are_the_registers(arch: str) -> None:
    engine, word_of = Engine(arch), ctypes.c_uint64()
    handle, place = ctypes.c_void_p(engine._handle), ctypes.byref(word_of)
    first, last, first_word, last_word = _GPRS[arch]
    for register, word in ((first, first_word), (last, last_word), (_PC[arch], engine.layout.pc)):
        engine.words[word] = 0x1234_5678_9ABC_DEF0
        assert uclib.uc_reg_read(handle, register, place) == 0
        assert word_of.value == 0x1234_5678_9ABC_DEF0
        word_of.value = 0x0FED_CBA9_8765_4321
        assert uclib.uc_reg_write(handle, register, place) == 0
        assert engine.words[word] == 0x0FED_CBA9_8765_4321


def test_the_numbers_are_the_bindings() -> None:
    ours = {name: value for name, value in vars(numbers).items() if name.startswith("UC_")}
    theirs = {
        name: vars(module)[name] for name in ours for module in _CONSTANTS if name in vars(module)
    }
    assert ours == theirs


def test_the_library_is_the_bindings() -> None:
    assert library()._name == uclib._name


def test_flags_word_holds_the_interrupt_mask(arch: str) -> None:
    engine = Engine(arch)
    mask, flags = (0x200, 0x202) if arch == "x86_64" else (0x3C0, 0x3C5)
    engine.write_flags(flags)
    assert engine.words[engine.layout.flags] & mask == mask
    engine.words[engine.layout.flags] &= ~mask
    assert engine.read_flags() & mask == 0


def test_two_engines_do_not_share_registers(arch: str) -> None:
    one, two = Engine(arch), Engine(arch)
    one.words[0], two.words[0] = 1, 2
    assert (one.words[0], two.words[0]) == (1, 2)


def test_context_restores_everything(arch: str) -> None:
    engine = Engine(arch)
    engine.words[3], engine.words[engine.layout.pc] = 77, 0x4000
    context = engine.new_context()
    engine.words[3], engine.words[engine.layout.pc] = 0, 0
    context.restore()
    assert (engine.words[3], engine.words[engine.layout.pc]) == (77, 0x4000)


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(EngineError, match="riscv"):
        Engine("riscv")


def test_a_unicorn_with_other_structs_is_refused(arch: str) -> None:
    """The search fails with an error of ours, not with a crash."""
    from kprobesim.machine.unicorn import struct_layout

    engine = Engine(arch)
    empty = Layout(arch, words=18, pc=16, flags=17)
    with pytest.raises(EngineError, match="new version"):
        struct_layout.find_words(engine._handle, empty, range(1, 17), lambda number, value: None)


def test_a_copy_of_the_registers_is_not_taken_for_them() -> None:
    """What was written last may lie in our own heap, too, right behind another pointer."""
    import ctypes

    from kprobesim.machine.unicorn import struct_layout

    # The live ones lie in front, for the search reads on behind what a pointer points at.
    live, stale = ((ctypes.c_uint64 * 64) * 2)()
    handle = (ctypes.c_uint64 * 4096)(ctypes.addressof(stale), ctypes.addressof(live))
    writes = 0

    def write(number: int, value: int) -> None:
        nonlocal writes
        live[number] = value
        if writes < 16:
            stale[number] = value
        writes += 1

    found = Layout("none", words=16, pc=0, flags=0)
    words = struct_layout.find_words(ctypes.addressof(handle), found, range(16), write)
    assert ctypes.addressof(words) == ctypes.addressof(live)
    assert found.cpu_pointer == (8, 0)
