"""Probes that come, go, are switched and lose their code at random, beside a model of the kernel.

The model is kept as kernel/kprobes.c (6.1) keeps it: a head at each address, flags, the order of
debugfs' list. After each step both agree on every flag and count, on debugfs' text and on each byte
of the probed code; after each call, on which handlers ran and in which order.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from makers.guest_code import Code

from kprobesim import Jprobe, Kernel, Kprobe, KprobeError, KprobeFlag, Kretprobe, Reason
from kprobesim.kprobes.arming.jump import KprobeOptimizer

CODE = {
    # push %rbp; mov %rsp,%rbp; mov $7,%eax; lea 1(%rdi,%rax),%rax; add $2,%rax; pop %rbp; ret; nop
    "x86_64": "55 4889e5 b807000000 488d440701 4883c002 5d c3 9090909090",
    # mov x9,x0; nop (ftrace's); mov w0,#7; add x0,x9,x0; cbz x9,.+4; add x0,x0,#3; ret
    "arm64": "e90300aa 1f2003d5 e0008052 2001008b 290000b4 000c0091 c0035fd6",
}
OFFSETS = {"x86_64": (0, 1, 4, 9, 14, 18, 19), "arm64": (0, 8, 12, 16, 20, 24)}
COPIED = {0: 9, 1: 8, 4: 5, 9: 5, 14: 5, 18: 5, 19: 5}
"""How many bytes a detour copies (x86-64): whole instructions of five bytes or more."""
WITHOUT_SLOT = {"x86_64": (), "arm64": (16, 24)}  # simulated: cbz, ret
BREAKPOINT = {"x86_64": b"\xcc", "arm64": bytes.fromhex("800020d4")}
OTHER = "kprobe_target"  # that of x86-64 begins with ftrace's NOP
STEPS = 60
WEIGHTS = {
    "register": 30,
    "unregister": 10,
    "disable": 10,
    "enable": 10,
    "disarm": 2,
    "arm": 4,
    "allow": 3,
    "wait": 8,
    "reload": 2,
    "call": 10,
    "call the other": 4,
    "nest": 5,
    "act": 8,
}


@dataclass(eq=False)
class Mine:
    """A probe, and what the kernel would have in its struct."""

    name: str
    address: int
    real: Any  # Kprobe, Kretprobe or Jprobe
    kind: str
    has_post: bool
    gone: bool = False
    disabled: bool = False
    nmissed: int = 0

    @property
    def off(self) -> bool:
        return self.gone or self.disabled

    @property
    def kp(self) -> Kprobe:
        return self.real if self.kind == "k" else self.real.kp  # type: ignore[no-any-return]


@dataclass(eq=False)
class Head:
    """What is in the kernel's hash table: a lone probe, or the aggregate before its children."""

    address: int
    copied: int
    ftrace: bool
    children: list[Mine] = field(default_factory=list)
    aggregate: bool = False
    disabled: bool = False
    gone: bool = False
    optimized: bool = False
    jump: bool = False

    @property
    def off(self) -> bool:
        return self.gone or self.disabled

    @property
    def needs_breakpoint(self) -> bool:
        return any((p.has_post or p.kind == "j") and not p.gone for p in self.children)


class Model:
    """The bookkeeping of kernel/kprobes.c, and the guest whose every step it follows."""

    def __init__(self, arch: str, version: str, *, strict: bool) -> None:
        code = Code(version, CODE[arch], arch=arch, strict=strict)
        self.k, self.start, self.arch = code.k, code.start, arch
        self.places = [self.start + offset for offset in OFFSETS[arch]]
        self.other = self.k.symbols[OTHER].address
        self.size = self.places[-1] + 4 - self.start
        self.text = self.k.read(self.start, self.size)
        self.breakpoint = BREAKPOINT[arch]
        self.heads: dict[int, Head] = {}
        self.all_disarmed, self.strict = False, strict
        self.allowed = True
        self.events: list[str] = []
        self.action: tuple[Mine, Mine, str] | None = None
        self.made = 0

    @property
    def probes(self) -> list[Mine]:
        return [p for head in self.heads.values() for p in head.children]

    # -- arming ------------------------------------------------------------------------------------

    def armed(self, head: Head) -> bool:
        return not head.off and not self.all_disarmed

    def arm(self, head: Head) -> None:
        for outer in self.heads.values():
            if outer.address < head.address < outer.address + outer.copied:
                outer.optimized = outer.jump = False
        self.optimize(head)

    def optimize(self, head: Head) -> None:
        inside = range(head.address + 1, head.address + head.copied)
        if (
            self.armed(head)
            and self.allowed
            and head.copied
            and not head.needs_breakpoint
            and not any(a in self.heads and not self.heads[a].off for a in inside)
        ):
            head.optimized = True

    def disarm(self, head: Head) -> None:
        head.optimized = head.jump = False

    # -- what users do -----------------------------------------------------------------------------

    def make(self, rng: random.Random) -> Mine:
        address = rng.choice([*self.places, *self.places[:3], self.start, self.other])
        kind = rng.choice("kkkrj") if address in (self.start, self.other) else "k"
        flags = KprobeFlag.DISABLED if rng.random() < 0.25 else KprobeFlag(0)
        self.made += 1
        name, post = f"{kind}{self.made}", kind == "k" and rng.random() < 0.3
        if kind == "r":
            real: Any = Kretprobe(
                None,
                lambda ri, regs: self.events.append(f"return {name}"),
                lambda ri, regs: self.saw(mine, "pre"),  # type: ignore[has-type]
                addr=address,
                flags=flags,
            )
        elif kind == "j":
            real = Jprobe(None, lambda value: self.saw(mine, "pre"), addr=address, flags=flags)  # type: ignore[has-type]
        else:
            real = Kprobe(addr=address, pre_handler=lambda p, regs: self.saw(mine, "pre"))  # type: ignore[has-type]
            real.flags = flags
            if post:
                real.post_handler = lambda p, regs, flags: self.saw(mine, "post")  # type: ignore[has-type]
        mine = Mine(name, address, real, kind, post, disabled=bool(flags))
        return mine

    def saw(self, mine: Mine, which: str) -> None:
        """A handler of ``mine`` runs; it may switch another probe off, or take it out."""
        self.events.append(f"{which} {mine.name}")
        if which == "pre" and self.action is not None and self.action[0] is mine:
            _, victim, how = self.action
            self.action = None
            if how == "disable":
                self.k.kprobes.disable_kprobe(victim.kp)
            else:
                self.unregister_real(victim)

    def register(self, mine: Mine) -> None:
        suffix = {"k": "kprobe", "r": "kretprobe", "j": "jprobe"}[mine.kind]
        register = getattr(self.k, f"register_{suffix}")
        head = self.heads.get(mine.address)
        live = [p for p in head.children if not p.gone] if head else []
        if mine.kind == "j" and any(p.kind == "j" for p in live):
            with pytest.raises(KprobeError) as refused:
                register(mine.real)
            assert refused.value.reason is Reason.ANOTHER_JPROBE
            return
        register(mine.real)
        if head is None:
            copied = COPIED.get(mine.address - self.start, 0) if self.arch == "x86_64" else 0
            ftrace = self.arch == "x86_64" and mine.address == self.other
            head = self.heads[mine.address] = Head(mine.address, copied, ftrace, [mine])
            head.aggregate = bool(copied)
            head.disabled = mine.disabled
            if not head.disabled:
                self.arm(head)
            return
        head.aggregate = True
        if head.gone:
            head.gone, head.disabled = False, True
        head.children.insert(len(head.children) if mine.kind == "j" else 0, mine)
        if head.needs_breakpoint:
            self.disarm(head)
        if head.disabled and not mine.disabled:
            head.disabled = False
            self.arm(head)

    def disable(self, mine: Mine) -> None:
        head = self.heads[mine.address]
        if not mine.off:
            mine.disabled = True
            if not head.aggregate or all(p.off for p in head.children):
                self.disarm(head)
                head.disabled = True

    def enable(self, mine: Mine) -> None:
        if mine.gone:
            with pytest.raises(KprobeError) as refused:
                self.k.kprobes.enable_kprobe(mine.kp)
            assert refused.value.reason is Reason.GONE
            return
        self.k.kprobes.enable_kprobe(mine.kp)
        head = self.heads[mine.address]
        forgets = self.all_disarmed and self.strict
        if head.aggregate:
            mine.disabled = False
        if head.disabled and not forgets:
            mine.disabled = head.disabled = False
            self.arm(head)

    def unregister_real(self, mine: Mine) -> None:
        suffix = {"k": "kprobe", "r": "kretprobe", "j": "jprobe"}[mine.kind]
        getattr(self.k, f"unregister_{suffix}")(mine.real)

    def unregister(self, mine: Mine) -> None:
        head = self.heads[mine.address]
        self.disable(mine)
        head.children.remove(mine)
        if not head.children:
            del self.heads[mine.address]
        elif not head.off:
            self.optimize(head)

    def disarm_all(self) -> None:
        self.k.kprobes.disarm_all_kprobes()
        self.all_disarmed = True
        for head in self.heads.values():
            self.disarm(head)

    def arm_all(self) -> None:
        self.k.kprobes.arm_all_kprobes()
        if self.all_disarmed:
            self.all_disarmed = False
            for head in self.heads.values():
                if not head.off:
                    self.arm(head)

    def allow(self, allowed: bool) -> None:
        if self.arch == "x86_64":
            self.k.kprobes.optimization = allowed
        if self.allowed != allowed:
            self.allowed = allowed
            for head in self.heads.values():
                if allowed:
                    self.optimize(head)
                else:
                    self.disarm(head)

    def wait(self) -> None:
        self.k.kprobes.wait_for_optimizer()
        for head in self.heads.values():
            head.jump = head.optimized

    def reload(self) -> None:
        """The code goes away, and the same comes back."""
        self.k.kprobes.enabled.kill_range(self.start, self.start + self.size)
        self.k.write(self.start, self.text)
        for head in self.heads.values():
            if head.address in self.places and not head.gone:
                self.disarm(head)
                head.gone = True
                for p in head.children:
                    p.gone = True

    # -- hits --------------------------------------------------------------------------------------

    def call(self, function: int) -> None:
        """Who is called, and in which order."""
        self.events.clear()
        action = self.action
        assert self.k.call(function, 12) == (22 if function == self.start else 4)
        self.action = None
        expected, returning = [], []
        for address in self.places if function == self.start else [self.other]:
            head = self.heads.get(address)
            if head is None or not self.armed(head):
                continue
            for p in list(head.children):
                if not p.off:
                    expected.append(f"pre {p.name}")
                    if p.kind == "r":
                        returning.append(p)
                    if action is not None and action[0] is p:
                        (self.disable if action[2] == "disable" else self.unregister)(action[1])
                        action = None
            expected += [f"post {p.name}" for p in head.children if p.has_post and not p.off]
        alive = self.probes
        expected += [f"return {p.name}" for p in reversed(returning) if p in alive]
        assert self.events == expected

    def call_in_a_handler(self) -> None:
        """Hits there are missed: each child's, whether or not it is enabled."""
        nested = []
        with self.k.probing(
            "gcd", pre_handler=lambda p, regs: nested.append(self.k.call(self.start, 12))
        ):
            self.events.clear()
            self.k.call("gcd", 4, 6)
        assert self.events == [] and nested == ([] if self.all_disarmed else [22])
        for address in self.places:
            head = self.heads.get(address)
            if head is not None and self.armed(head):
                for p in head.children:
                    p.nmissed += 1

    # -- agreeing ----------------------------------------------------------------------------------

    def check(self) -> None:
        shown = KprobeFlag.GONE | KprobeFlag.DISABLED
        for p in self.probes:
            flags = KprobeFlag.GONE * p.gone | KprobeFlag.DISABLED * p.disabled
            assert p.kp.flags & shown == flags, p
            assert p.kp.nmissed == p.nmissed, p
        assert self.k.kprobes.list() == self.debugfs_list()
        self.check_memory()
        without = [self.start + offset for offset in WITHOUT_SLOT[self.arch]]
        slots = [h for h in self.heads.values() if not (h.gone or h.ftrace or h.address in without)]
        assert self.k.kprobes.slots.used == len(slots)
        ctl = self.k.kprobes.ctlblk[0]
        assert ctl.current_kprobe is None

    def debugfs_list(self) -> str:
        def bucket(head: Head) -> int:
            return head.address * 0x61C8864680B583EB % 2**64 >> 58

        lines = ""
        newest_first = [*self.heads.values()][::-1]
        for head in sorted(newest_first, key=bucket):
            found = self.k.symbols.at(head.address)
            assert found is not None
            place = f"{found.symbol.name}+{head.address - found.symbol.address:#x}"
            for p in head.children:
                state = "[GONE]" if p.gone else "[DISABLED]" if p.disabled else ""
                tags = state + "[OPTIMIZED]" * head.optimized + "[FTRACE]" * head.ftrace
                lines += f"{head.address:016x}  {p.kind}  {place}    {tags}\n"
        return lines

    def check_memory(self) -> None:
        now, expected = self.k.read(self.start, self.size), bytearray(self.text)
        for address in self.places:
            head = self.heads.get(address)
            if head is not None and self.armed(head):
                at = address - self.start
                if head.jump:
                    assert now[at] == 0xE9
                    expected[at : at + 5] = now[at : at + 5]
                else:
                    expected[at : at + len(self.breakpoint)] = self.breakpoint
        assert now.hex(" ") == expected.hex(" ")
        assert self.k.kprobes.read_original(self.start, self.size) == self.text


def _optimizer(k: Kernel) -> KprobeOptimizer | None:
    return k.kprobes.optimizer


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("version", "strict"), [("6.1", False), ("4.9", True), ("6.17", False)])
def test_random_steps(arch: str, version: str, strict: bool, seed: int) -> None:
    rng, m = random.Random(seed), Model(arch, version, strict=strict)
    history: list[str] = []
    try:
        for _ in range(STEPS):
            history.append(_step(m, rng))
            m.check()
        for mine in rng.sample(m.probes, len(m.probes)):
            history.append(f"unregister {mine.name}")
            m.unregister_real(mine)
            m.unregister(mine)
            m.check()
    except BaseException as error:
        error.args = (*error.args, "\n".join(["after:", *history]))
        raise
    assert m.k.read(m.start, m.size) == m.text
    assert m.k.kprobes.slots.used == 0 and len(m.k.kprobes) == 0
    optimizer = _optimizer(m.k)
    assert (arch == "x86_64") is (optimizer is not None)
    assert optimizer is None or optimizer.buffers.used == 0


def _step(m: Model, rng: random.Random) -> str:
    """Do something; what it was."""
    what = rng.choices([*WEIGHTS], [*WEIGHTS.values()])[0]
    probes = m.probes
    if what == "register" or not probes:
        mine = m.make(rng)
        m.register(mine)
        return f"register {mine.name} at {mine.address - m.start:#x} {mine.has_post=}"
    mine = rng.choice(probes)
    if what == "unregister":
        m.unregister_real(mine)
        m.unregister(mine)
        return f"unregister {mine.name}"
    if what == "disable":
        m.k.kprobes.disable_kprobe(mine.kp)
        m.disable(mine)
        return f"disable {mine.name}"
    if what == "enable":
        m.enable(mine)
        return f"enable {mine.name}"
    if what == "allow":
        m.allow(rng.random() < 0.7)
        return f"allow {m.allowed}"
    if what == "act":
        other = rng.choice(probes)
        how = rng.choice(["disable", "unregister"])
        if other is not mine:
            m.action = mine, other, how
        m.call(m.start)
        return f"in {mine.name} {how} {other.name}"
    steps = {
        "disarm": m.disarm_all,
        "arm": m.arm_all,
        "wait": m.wait,
        "reload": m.reload,
        "nest": m.call_in_a_handler,
        "call": lambda: m.call(m.start),
        "call the other": lambda: m.call(m.other),
    }
    steps[what]()  # type: ignore[no-untyped-call]
    return what
