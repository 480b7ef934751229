"""The public API in random order with random values: only documented errors come out of it.

And whatever has happened, the kernel can be used afterwards.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from kprobesim import Kernel, Kprobe, KprobeFlag, KprobesimError, Kretprobe

_NAMES = (
    "negate",
    "strlen",
    "gcd",
    "kernel_clone",
    "sort",
    "spin_forever",
    "trigger_bug",
    "no_such",
)
_ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 7, 1 << 31, 1 << 63, (1 << 64) - 1, 1 << 64, 1 << 80, 1.5, "", "x"),
    *("negate", "negate+1", "negate+0x1000", "\0", "\ud800", b"", b"bytes", bytearray(8), [], {}),
    *(object(), range(3), lambda *_: 0, int, Kprobe("negate"), Kretprobe("strlen")),
)


class Mine(Exception):
    """What a handler raises."""


class Abuser:
    """One kernel, and what is done to it."""

    def __init__(self, k: Kernel, seed: int) -> None:
        self.k: Any = k
        self.dice = random.Random(seed)
        self.probes: list[Any] = []
        self.memory: list[int] = []
        self.undo: list[Any] = []
        self.depth = 0
        self.done: list[str] = []

    def value(self) -> Any:
        """An address, a name, or something odd."""
        dice = self.dice
        return dice.choice(
            (
                lambda: dice.choice(_ODD),
                lambda: dice.choice(_NAMES),
                lambda: self.k.symbols["negate"].address + dice.randrange(-4, 40),
                lambda: dice.choice(self.memory or [0]),
                lambda: dice.getrandbits(64),
            )
        )()

    def handler(self) -> Any:
        """A handler that does one thing, most of them wrong."""
        dice, kind = self.dice, self.dice.randrange(12)

        def handle(p: Any, regs: Any, *_: object) -> Any:
            if kind == 0:
                raise Mine
            if kind == 1:
                return dice.choice(_ODD)
            if kind == 2:
                setattr(regs, dice.choice(("ip", "sp", "flags", "return_value")), self.number())
            if kind == 3:
                regs.ip = self.number()
                return 1
            if kind == 4 and self.depth < 2:
                self.step()
            if kind == 5:
                field = dice.choice(("flags", "nmissed", "pre_handler"))
                if hasattr(p, field):
                    setattr(p, field, dice.choice(_ODD))
            if kind == 6:
                self.k.unregister_kprobe(p)
            if kind == 7:
                return self.k.read(self.number(), 8) and None
            return None

        return dice.choice((None, handle))

    def number(self) -> int:
        """64 bits that may be an address."""
        return self.dice.choice(
            (0, 8, 1 << 47, self.k.symbols["gcd"].address, self.dice.getrandbits(64))
        )

    def probe(self) -> Any:
        """One that was made before, or a new one, or none at all."""
        dice = self.dice
        if self.probes and dice.random() < 0.5:
            return dice.choice(self.probes)
        if dice.random() < 0.1:
            return dice.choice(_ODD)
        place: dict[str, Any] = {"symbol_name": dice.choice(_NAMES)}
        if dice.random() < 0.4:
            place["offset"] = dice.choice((0, 1, 3, 4, 8, 16))
        if dice.random() < 0.1:
            place = {"addr": self.value()}
        made: Any
        if dice.random() < 0.25:
            made = Kretprobe(
                dice.choice(_NAMES),
                handler=self.handler(),
                entry_handler=self.handler(),
                maxactive=dice.choice((0, 1, 2, -1)),
            )
        else:
            made = Kprobe(
                **place,
                pre_handler=self.handler(),
                post_handler=self.handler(),
                fault_handler=self.handler(),
                flags=dice.choice((0, 0, 0, KprobeFlag.DISABLED, 99)),
            )
        self.probes.append(made)
        return made

    def step(self) -> None:
        """One call of one public function."""
        k, dice = self.k, self.dice
        verbs: dict[str, Callable[[], object]] = {
            "register_kprobe": lambda: k.register_kprobe(self.probe()),
            "unregister_kprobe": lambda: k.unregister_kprobe(self.probe()),
            "enable_kprobe": lambda: k.enable_kprobe(self.probe()),
            "disable_kprobe": lambda: k.disable_kprobe(self.probe()),
            "register_kprobes": lambda: k.register_kprobes([self.probe() for _ in range(3)]),
            "unregister_kprobes": lambda: k.unregister_kprobes([self.probe() for _ in range(2)]),
            "register_kretprobe": lambda: k.register_kretprobe(self.probe()),
            "unregister_kretprobe": lambda: k.unregister_kretprobe(self.probe()),
            "check": lambda: k.check(self.value()),
            "override_return": lambda: self.undo.append(
                k.override_return(self.value(), dice.choice(_ODD))
            ),
            "read": lambda: k.read(self.value(), dice.choice((0, 1, 8, 4096, -1, "x", 1 << 70))),
            "write": lambda: k.write(dice.choice((*self.memory, self.value())), dice.choice(_ODD)),
            "read_cstr": lambda: k.read_cstr(self.value()),
            "alloc": lambda: self.memory.append(
                k.alloc(dice.choice((1, 8, 4096, 0, -1, 1 << 50, "1")))
            ),
            "free": lambda: k.free(self.value()),
            "stop": k.stop,
            "dump_stack": k.dump_stack,
            "list": lambda: k.kprobes.list(),
            "call": lambda: k.call(
                self.value(),
                *(self.value() for _ in range(dice.randrange(9))),
                timeout=dice.choice((0.02, 0.02, 0.02, 0, -1, "x")),
                max_instructions=dice.choice((0, 0, 0, 1, 100, 10000, -1, 1.5)),
            ),
            "good call": lambda: k.call(
                dice.choice(("negate", "strlen", "gcd")), 6, 4, timeout=0.05
            ),
        }
        name = dice.choice([*verbs, "call", "good call", "good call", "register_kprobe"])
        self.done.append(name)
        self.depth += 1
        try:
            verbs[name]()
        finally:
            self.depth -= 1

    def run(self, steps: int) -> None:
        """Many of them; what is not documented comes out."""
        for _ in range(steps):
            with suppress(KprobesimError, Mine):
                self.step()
        for override in self.undo:
            override.remove()
        for p in (*self.probes, *_ODD):
            for take_out in (self.k.unregister_kprobe, self.k.unregister_kretprobe):
                with suppress(KprobesimError):
                    take_out(p)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("arming", ["breakpoint", "hook"])
def test_random_abuse(sample: Path, arming: Any, seed: int) -> None:
    k = Kernel.load(sample, arming=arming)
    abuser = Abuser(k, seed)
    abuser.run(100)
    assert k.call("gcd", 48, 18) == 6, abuser.done
    assert not list(k.kprobes)
