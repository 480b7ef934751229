"""The scenes of ``kprobesim demo``: each shows something and checks that it is so."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

from kprobesim.arch.architecture import architecture, halves
from kprobesim.cli.demo.life import Life, instructions_of
from kprobesim.cli.demo.story import Story
from kprobesim.kernel.base import Kernel
from kprobesim.kprobes.ctlblk import KprobeStatus
from kprobesim.kprobes.kprobe import Kprobe

__all__ = ["SCENES"]

_ACTIVE = KprobeStatus.KPROBE_HIT_ACTIVE
_SS = KprobeStatus.KPROBE_HIT_SS
_SSDONE = KprobeStatus.KPROBE_HIT_SSDONE

# A function that begins with a PC-relative load, its arguments, and the register that is loaded.
_RELATIVE: Mapping[str, tuple[str, tuple[int, ...], str]] = halves(
    x86_64=("rip_relative", (5, 7), "di"), arm64=("literal_loads", (5,), "x1")
)


def pre_and_post(kernel: Kernel, story: Story) -> None:
    """A probe with both handlers on an instruction that is stepped out of line."""
    text, ones = b"123456789", 0xFFFFFFFF
    before: dict[str, int] = {}
    changed: dict[str, tuple[int, int]] = {}

    def pre(p: Kprobe, regs: Any) -> None:
        before.update(regs.as_dict())
        story.handler("pre_handler", story.registers(regs, 3))

    def post(p: Kprobe, regs: Any, flags: int) -> None:
        after = regs.as_dict()
        changed.update(
            {
                name: (old, after[name])
                for name, old in before.items()
                if old != after[name] and name not in ("ip", "pc")
            }
        )
        story.handler("post_handler", story.registers(regs, 0))
        for name, (old, new) in changed.items():
            story.handler("", f"the instruction changed {name}: {old:#x} -> {new:#x}")

    start = kernel.symbols["crc32_le"].address
    insn = next(i for i in instructions_of(kernel, "crc32_le") if i.mnemonic != "nop")
    p = Kprobe("crc32_le", offset=insn.address - start, pre_handler=pre, post_handler=post)
    life = Life(story, kernel, p)
    life.run('crc32_le(0xffffffff, "123456789", 9)', lambda: kernel.call("crc32_le", ones, text, 9))
    story.claim(
        "the result is the CRC that zlib computes", life.result == zlib.crc32(text) ^ 0xFFFFFFFF
    )
    story.claim(
        "the states followed each other as in the kernel", life.statuses == [_ACTIVE, _SS, _SSDONE]
    )
    story.claim(
        "the instruction did its work, and nothing else, between the handlers", len(changed) == 1
    )
    story.claim("afterwards the code is byte for byte what it was", life.restored)


def pc_relative(kernel: Kernel, story: Story) -> None:
    """A probe on an instruction whose meaning depends on where it is executed."""
    function, arguments, name = _RELATIVE[kernel.arch]
    insn = instructions_of(kernel, function)[0]
    target = insn.target or 0
    unprobed = kernel.call(function, *arguments)
    stored: list[int] = []

    def post(p: Kprobe, regs: Any, flags: int) -> None:
        word = int.from_bytes(kernel.read(target, 8), "little")
        value = getattr(regs, name)
        stored.extend((word, value))
        story.handler("post_handler", story.registers(regs, 0))
        story.handler("", f"{name} = {value:#x}, and at {story.name(target)} is {word:#x}")

    p = Kprobe(function, post_handler=post)
    life = Life(story, kernel, p)
    call = f"{function}({', '.join(map(str, arguments))})"
    life.run(call, lambda: kernel.call(function, *arguments))
    if life.slot is not None:
        moved = life.slot.address - insn.address
        old, new = target - insn.end, (life.slot.target or 0) - life.slot.end
        story.line("displacement", f"{old:#x} at {insn.address:#x} means {target:#x}")
        story.line("", f"{new:#x} at {life.slot.address:#x} means {life.slot.target or 0:#x}")
        story.claim(
            "the copy has another displacement and means the same address",
            life.slot.target == target and old - new == moved and old != new,
        )
    else:
        story.claim(
            "nothing was stepped: the instruction was simulated at its own address",
            _SS not in life.statuses and life.statuses == [_ACTIVE, _SSDONE],
        )
    story.claim(
        "register and memory agree after the instruction", bool(stored) and stored[0] == stored[1]
    )
    story.claim("the result is the one without a probe", life.result == unprobed)


def handled_fault(kernel: Kernel, story: Story) -> None:
    """A stepped instruction that faults, and a ``fault_handler`` that mends what it was given."""
    word = 0x1234_5678_9ABC_DEF0
    address = kernel.alloc(8)
    kernel.write(address, word.to_bytes(8, "little"))
    register = architecture(kernel.arch).abi.arguments[0]
    faults: list[tuple[int, int]] = []

    def pre(p: Kprobe, regs: Any) -> None:
        story.handler("pre_handler", story.registers(regs, 1))

    def post(p: Kprobe, regs: Any, flags: int) -> None:
        story.handler("post_handler", story.registers(regs, 0))

    def fault(p: Kprobe, regs: Any, trapnr: int) -> int:
        faults.append((trapnr, regs.ip))
        story.handler("fault_handler", f"trap {trapnr}, {story.registers(regs, 1)}")
        setattr(regs, register, address)
        story.handler("", f"regs.{register} = {address:#x}; return 1: try again")
        return 1

    p = Kprobe("read_word", pre_handler=pre, post_handler=post, fault_handler=fault)
    life = Life(story, kernel, p)
    life.run("read_word(NULL)", lambda: kernel.call("read_word", None))
    kernel.free(address)
    story.claim("the function read the word after all", life.result == word)
    story.claim(
        "the fault was reported once, at the probed address and not in the slot",
        faults == [(architecture(kernel.arch).page_fault_number, p.addr)],
    )
    story.claim(
        "the instruction was stepped twice and done once",
        life.statuses == [_ACTIVE, _SS, _SS, _ACTIVE, _SS, _SSDONE],
    )


def changed_register(kernel: Kernel, story: Story) -> None:
    """A handler that changes an argument, and so the result."""
    register = architecture(kernel.arch).abi.arguments[0]

    def pre(p: Kprobe, regs: Any) -> None:
        story.handler("pre_handler", story.registers(regs, 1))
        setattr(regs, register, 300)
        story.handler("", f"regs.{register} = 300")

    without = kernel.call("kprobe_target", 21)
    story.line("no probe", f"kprobe_target(21) = {without}: it divides by 3")
    life = Life(story, kernel, Kprobe("kprobe_target", pre_handler=pre))
    life.run("kprobe_target(21)", lambda: kernel.call("kprobe_target", 21))
    story.claim("without a probe, 21 / 3 = 7", without == 7)
    story.claim("with the probe the function divided 300", life.result == 100)
    story.claim("without it again, 21 / 3 = 7", kernel.call("kprobe_target", 21) == 7)


SCENES: tuple[tuple[str, Callable[[Kernel, Story], None]], ...] = (
    ("a pre_handler and a post_handler", pre_and_post),
    ("an instruction relative to its own address", pc_relative),
    ("a fault while stepping, handled by a fault_handler", handled_fault),
    ("a handler that changes a register", changed_register),
)
