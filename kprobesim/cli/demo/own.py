"""The scenes of ``kprobesim demo IMAGE SYMBOL``: the same story for a function of one's own."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kprobesim.cli.call import place_arguments
from kprobesim.cli.demo.life import Life, instructions_of
from kprobesim.cli.demo.story import Story
from kprobesim.cli.expression import Argument, parse_call
from kprobesim.errors import UsageError
from kprobesim.kernel.called import CalledKernel
from kprobesim.kprobes.ctlblk import KprobeStatus
from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.kprobes.kretprobe import Kretprobe

__all__ = ["OWN_SCENES", "parse_own"]

_NAME = re.compile(r"[\w.$:]+")
_TOLD = 3  # arguments
_ONE_HIT = (
    [KprobeStatus.KPROBE_HIT_ACTIVE, KprobeStatus.KPROBE_HIT_SS, KprobeStatus.KPROBE_HIT_SSDONE],
    [KprobeStatus.KPROBE_HIT_ACTIVE, KprobeStatus.KPROBE_HIT_SSDONE],
)


@dataclass(frozen=True)
class OwnCall:
    """A call of a function of the user's: ``text`` is what was written."""

    text: str
    function: str
    arguments: tuple[Argument, ...]


def parse_own(text: str) -> OwnCall:
    """What ``text`` means: a call, or the name of a function without arguments."""
    text = f"{text}()" if _NAME.fullmatch(text) else text
    call = parse_call(text)
    if not isinstance(call.function, str):
        raise UsageError(f"{text}: give the function by its name")
    return OwnCall(text, call.function, call.arguments)


def _stepped(kernel: CalledKernel, story: Story, call: OwnCall) -> None:
    """A probe on the function's first instruction that is stepped in a slot, if there is one."""
    told: list[dict[str, int]] = []

    def pre(p: Kprobe, regs: Any) -> None:
        if not told:
            story.handler("pre_handler", story.registers(regs, _TOLD))
        told.append(regs.as_dict())

    def post(p: Kprobe, regs: Any, flags: int) -> None:
        if story.is_quiet:
            return
        story.handler("post_handler", story.registers(regs, 0))
        for name, new in regs.as_dict().items():
            old = told[0][name]
            if old != new and name not in ("ip", "pc"):
                story.handler("", f"the instruction changed {name}: {old:#x} -> {new:#x}")
        story.is_quiet = True

    offset = _first_stepped(kernel, call.function)
    p = Kprobe(call.function, offset=offset, pre_handler=pre, post_handler=post)
    without = _call(kernel, call)
    story.line("no probe", f"{call.text} = {without:#x}")
    life = Life(story, kernel, p)
    life.run(call.text, lambda: _call(kernel, call))
    story.is_quiet = False
    if len(told) != 1:
        story.line("", f"hit {len(told)} times in all")
    story.claim("the result is the one without a probe", life.result == without)
    story.claim(
        "the states followed each other as in the kernel",
        any(life.statuses == one * len(told) for one in _ONE_HIT),
    )
    story.claim("afterwards the code is byte for byte what it was", life.restored)


def _returned(kernel: CalledKernel, story: Story, call: OwnCall) -> None:
    """Where the function returns to, and with what."""
    seen: list[int] = []

    def entry(ri: Any, regs: Any) -> None:
        story.handler("entry_handler", story.registers(regs, _TOLD))

    def handler(ri: Any, regs: Any) -> None:
        seen.append(regs.return_value)
        where = story.name(ri.ret_addr)
        story.handler("handler", f"returns {regs.return_value:#x} to {where}")

    rp = Kretprobe(call.function, handler=handler, entry_handler=entry)
    kernel.register_kretprobe(rp)
    try:
        story.line("call", call.text)
        result = _call(kernel, call)
        story.line("result", f"{result:#x} = {result}", style="bold")
    finally:
        kernel.unregister_kretprobe(rp)
    story.claim("the handler saw the result", bool(seen) and seen[-1] == result)


def _first_stepped(kernel: CalledKernel, function: str) -> int:
    """The offset of the first instruction that is copied and does something, else of any."""
    start = kernel.symbols[function].address
    accepted = []
    for insn in instructions_of(kernel, function):
        verdict = kernel.check(addr=insn.address, suggest=False)
        if verdict and insn.mnemonic not in ("nop", "bti", "endbr64"):
            if verdict.emulated is None and verdict.kind != "ftrace":
                return insn.address - start
            accepted.append(insn.address - start)
    if not accepted:
        raise UsageError(
            f"no instruction of {function} takes a probe: kprobesim check IMAGE --all {function}"
        )
    return accepted[0]


def _call(kernel: CalledKernel, call: OwnCall) -> int:
    """Call it, each time with fresh buffers."""
    values, buffers = place_arguments(kernel, call.arguments)
    try:
        return kernel.call(call.function, *values)
    finally:
        for address, _ in buffers:
            kernel.free(address)


OWN_SCENES: tuple[tuple[str, Callable[[CalledKernel, Story, OwnCall], None]], ...] = (
    ("a pre_handler and a post_handler", _stepped),
    ("a return probe", _returned),
)
