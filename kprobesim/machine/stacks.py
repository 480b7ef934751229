"""The stacks that calls of guest functions run on: one for each call that is nested in another."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kprobesim.errors import UsageError
from kprobesim.machine.memory import GuestMemory, Prot
from kprobesim.machine.vcpu import Vcpu
from kprobesim.sizes import PAGE

__all__ = ["STACK", "Stack", "Stacks"]

STACK = 64 << 10
"""Bytes of one."""
_CLEAN = bytes(PAGE)
_CALLER = 256  # bytes of a frame above that of the function that is called
_STRIDE = 1 << 20  # unmapped guard space between stacks
_SHADOW, _TO_SHADOW = 64 << 10, 512 << 10  # a word for each of the smallest frames
_MOST = 16


class Stack:
    """One stack, and the registers that are put away while a function runs on it.

    Attributes:
        top: Where the first frame begins.
        context: Registers of what runs on the stack below.
        target: The function that was called on it last.
        first_page: What is in its uppermost page when a function without arguments on the stack
            begins.
        frame: The registers that every call finds alike: numbers of their words, and values.
        offsets: Where in RAM its pages are, the uppermost first.
    """

    __slots__ = (
        "_cleaners",
        "_highest",
        "_memory",
        "_pad",
        "_pages",
        "_registers",
        "_vcpu",
        "context",
        "first_page",
        "frame",
        "offsets",
        "target",
        "top",
    )

    def __init__(
        self,
        vcpu: Vcpu,
        memory: GuestMemory,
        depth: int,
        pad: int,
        cleaners: list[Callable[[int, int], None]],
    ) -> None:
        """Map it, between guard pages.

        Args:
            vcpu: Who runs on it.
            memory: The guest's.
            depth: How many are below.
            pad: Where a function on it returns to.
            cleaners: Told before each call which stack, from start to end, it will use.
        """
        isa = vcpu.cpu.isa
        base = isa.vmalloc_start + (depth + 1) * _STRIDE
        region = memory.map_new(base, STACK, Prot.RW, f"stack {depth}")
        self._vcpu, self._memory, self._pad = vcpu, memory, pad
        self._cleaners = cleaners
        self.context = vcpu.engine.new_context()
        self.top = region.end - _CALLER
        self.target = 0
        self._registers = vcpu.cpu.regs_class.ARGUMENTS
        frame, words = vcpu.cpu.first_frame(self.top, pad)
        if isa.abi.shadow_stack_register is not None:
            shadow = memory.map_new(
                base + _TO_SHADOW, _SHADOW, Prot.RW, f"shadow call stack {depth}"
            )
            frame[isa.abi.number(isa.abi.shadow_stack_register)] = shadow.start
        self.frame = (*frame.items(),)
        end = region.offset + STACK
        self.offsets = range(end - PAGE, end - STACK - 1, -PAGE)
        self._highest, *self._pages = (slice(at, at + PAGE) for at in self.offsets)
        first = bytearray(PAGE)
        at = PAGE - _CALLER - len(words)
        first[at : at + len(words)] = words
        self.first_page = bytes(first)

    def enter(self, target: int, arguments: Sequence[int]) -> None:
        """Let registers and memory be as after a call of ``target``, which returns to the pad.

        A call finds nothing that earlier ones have left below its stack pointer. Frames are smaller
        than a page, so the first clean page from the top ends what was used.
        """
        self.target = target
        for clean in self._cleaners:
            clean(self.top - STACK, self.top)
        ram, words = self._memory.ram, self._vcpu.words
        short = len(arguments) <= len(self._registers)
        ram[self._highest] = self.first_page if short else _CLEAN
        self.clean_below()
        for number, value in self.frame:
            words[number] = value
        if short:
            for number, value in zip(self._registers, arguments):  # noqa: B905 - a slow check
                words[number] = value
        else:
            self._vcpu.cpu.prepare_call(self._memory, self.top, arguments, self._pad)

    def clean_below(self) -> None:
        """Clean what was used below the uppermost page."""
        ram = self._memory.ram
        for page in self._pages:
            if ram[page] == _CLEAN:
                break
            ram[page] = _CLEAN


class Stacks:
    """Those of one machine; each is made when it is first used."""

    def __init__(self, vcpu: Vcpu, memory: GuestMemory, pad: int) -> None:
        """Have none yet; functions on them return to ``pad``."""
        self._vcpu, self._memory, self._pad = vcpu, memory, pad
        self._stacks: list[Stack] = []
        self.cleaners: list[Callable[[int, int], None]] = []
        """Told before each call which stack, from start to end, it will use."""

    def at(self, depth: int) -> Stack:
        """The stack of a call that is nested in ``depth`` others; raises :class:`UsageError`."""
        stacks = self._stacks
        while depth >= len(stacks):  # the outermost calls of a race are on stacks of its own
            number = len(stacks)
            if number == _MOST:
                raise UsageError(f"guest calls are nested {_MOST} deep; is a handler recursing?")
            stacks.append(Stack(self._vcpu, self._memory, number, self._pad, self.cleaners))
        return stacks[depth]

    def explain(self, address: int, depth: int) -> str:
        """Of a fault at ``address`` in the outermost ``depth`` calls; "": it is of no stack."""
        for stack in self._stacks[:depth]:
            end = stack.top + _CALLER
            if end - STACK - PAGE <= address < end - STACK:
                return f"the stack of {STACK >> 10} KiB is used up"
            if end <= address < end + PAGE:
                return "behind the stack: a variable of the function that is called is overrun"
        return ""
