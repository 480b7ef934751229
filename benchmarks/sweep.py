"""Transparency at scale: random functions of a real kernel, without probes and full of them.

    python benchmarks/sweep.py IMAGE... [--functions N] [--seed S] [--function NAME] [--json]

Each function runs with junk and with plausible arguments: plainly, and then with a probe on every
instruction that takes one, stepped by a breakpoint and stepped by the CPU's trap; on x86-64 once
more with as many optimised probes as fit. Result, registers at the return or at the fault, memory
and the path through the function must be the same. The first differences are told, each with the
command that shows it again. Every run has a process of its own, so nothing that a function breaks
is seen by the next one.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import random
import sys
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from kprobesim import (
    CalledKernel,
    GuestFault,
    GuestLimit,
    GuestTimeout,
    Kernel,
    Kprobe,
    KprobeError,
    Symbol,
)
from kprobesim.disasm import disassemble

WAYS = {"arm64": ("breakpoint", "trap"), "x86_64": ("breakpoint", "trap", "jumps")}
#: Regions that a probe may leave different. (The stack in use is compared by itself, too.)
WITHOUT = {"breakpoint": ("kprobe",), "trap": ("kprobe",), "jumps": ("kprobe", "stack")}
ARGUMENTS = ("junk", "plausible")
MOST_INSTRUCTIONS = 30_000  # a function that runs longer is counted as endless
SIZES = range(16, 2000)
BUFFERS, BUFFER = 6, 8192
TIMEOUT = 60.0
UNDEFINED = 1 << 4 | 1 << 11  # AF and OF, behind shifts, bit tests and multiplications of x86
UNWRITTEN = 0xA5
SHOWN = 5


@dataclass(frozen=True)
class Outcome:
    """What one run did: ``end`` is "return", or "fault" and where; the rest is to be compared."""

    end: str
    registers: dict[str, int]
    memory: int
    stack: bytes
    warnings: int


_Known = tuple[int, int]
"""Number and checksum of the instructions that were executed."""


@dataclass(frozen=True)
class Difference:
    """One run with probes that was not what it is without."""

    image: str
    function: str
    arguments: str
    way: str
    what: str
    command: str


class Sweep:
    """All runs on one image. ``seed`` decides functions and arguments."""

    def __init__(self, image: str, seed: int) -> None:
        self.image, self.seed = image, seed
        self.plain = self._load(image, "breakpoint")
        self.kernels = {"breakpoint": self.plain, "jumps": self.plain}
        self.kernels["trap"] = self._load(image, "trap")
        self.counts: Counter[str] = Counter()
        self.differences: list[Difference] = []

    def _load(self, image: str, stepping: Any) -> CalledKernel:
        kernel = Kernel.load(image, stepping=stepping)
        self.buffers = [kernel.alloc(BUFFER) for _ in range(BUFFERS)]
        kernel.call("strlen", b"\0")  # makes the stack
        for region in _stacks(kernel):
            kernel.write(region.start, bytes([UNWRITTEN]) * (region.end - region.start))
        return kernel

    def choose(self, count: int) -> list[Symbol]:
        """``count`` random functions of the kernel's text."""
        ranges = self.plain.image.text_ranges
        functions = [
            symbol
            for symbol in self.plain.symbols.functions()
            if symbol.size in SIZES and any(low <= symbol.address < high for low, high in ranges)
        ]
        return random.Random(self.seed).sample(functions, min(count, len(functions)))

    def run(self, function: Symbol) -> None:
        """Compare all runs of one function."""
        for kind in ARGUMENTS:
            paths = _in_a_child(partial(self._paths, function, kind))
            if isinstance(paths, str):
                self.counts[paths] += 1
                continue
            for way, expected in paths.items():
                plain = _in_a_child(partial(self._without, function, kind, way))
                probed = _in_a_child(partial(self._with, function, kind, way))
                if isinstance(plain, str):
                    what = f"{plain} when nobody looks on"
                elif isinstance(probed, str):
                    what = f"{plain.end} without probes, {probed} with them"
                else:
                    outcome, path, probes = probed
                    self.counts["hits"] += path[0]
                    self.counts["probes"] += probes
                    what = _compare(plain, outcome)
                    if path != expected:
                        what += f"; {expected[0]} instructions without probes, {path[0]} hits"
                if what:
                    self._differs(function, kind, way, what.removeprefix("; "))
            self.counts[getattr(plain, "end", "failed").split()[0]] += 1

    def _differs(self, function: Symbol, kind: str, way: str, what: str) -> None:
        name = f"{function.name}@{function.address:#x}"
        command = f"python benchmarks/sweep.py {self.image} --seed {self.seed} --function {name}"
        self.differences.append(Difference(self.image, function.name, kind, way, what, command))

    # -- one run, in a process of its own ----------------------------------------------------------

    def _arguments(self, kernel: CalledKernel, function: Symbol, kind: str) -> list[int]:
        rng = random.Random(f"{self.seed} {function.name} {kind}")
        if kind == "junk":
            return [rng.choice((rng.getrandbits(64), rng.getrandbits(16), 0)) for _ in range(6)]
        for buffer in self.buffers:  # structures whose every word points to another structure
            words = [rng.choice([0, 1, *self.buffers]) for _ in range(BUFFER // 8)]
            kernel.write(buffer, b"".join(word.to_bytes(8, "little") for word in words))
        return [rng.choice([*self.buffers, rng.randrange(64)]) for _ in range(6)]

    def _paths(self, function: Symbol, kind: str) -> dict[str, _Known] | str:
        """What is executed of what will be probed, in each way."""
        kernel = self.plain
        arguments = self._arguments(kernel, function, kind)
        watched = []
        for way in WAYS[kernel.arch]:
            planted = self._plant(kernel, function, way, None)
            kernel.unregister_kprobes(planted)
            watched.append(({p.addr for p in planted}, _Path()))

        def step(address: int) -> None:
            for probed, path in watched:
                if address in probed:
                    path.add(address)

        for address in {p for probed, _ in watched for p in probed if p is not None}:
            kernel.machine.code_watch.watch(address, step)
        outcome = self._outcome(kernel, function, arguments, None, MOST_INSTRUCTIONS)
        if isinstance(outcome, str):
            return outcome
        return dict(zip(WAYS[kernel.arch], [path.known for _, path in watched], strict=True))

    def _without(self, function: Symbol, kind: str, way: str) -> Outcome | str:
        # Not the run that is watched: Unicorn forgets flags at a fault behind a hook.
        kernel = self.kernels[way]
        arguments = self._arguments(kernel, function, kind)
        planted = self._plant(kernel, function, way, None)  # for the same pages to be mapped
        kernel.unregister_kprobes(planted)
        return self._outcome(kernel, function, arguments, way)

    def _with(self, function: Symbol, kind: str, way: str) -> tuple[Outcome, _Known, int] | str:
        kernel = self.kernels[way]
        arguments = self._arguments(kernel, function, kind)
        path = _Path()

        def pre(p: Kprobe, regs: Any) -> None:
            path.add(p.addr or 0)

        planted = self._plant(kernel, function, way, pre)
        kernel.kprobes.wait_for_optimizer()
        outcome = self._outcome(kernel, function, arguments, way, 0, planted)
        return outcome if isinstance(outcome, str) else (outcome, path.known, len(planted))

    def _plant(
        self,
        kernel: CalledKernel,
        function: Symbol,
        way: str,
        pre: Callable[[Kprobe, Any], None] | None,
    ) -> list[Kprobe]:
        """A probe on every instruction, or jumps one behind the other."""
        planted = []
        kernel.kprobes.optimization = way == "jumps"
        code = kernel.read(function.address, function.size)
        free = function.address
        for number, instruction in enumerate(disassemble(kernel.arch, code, function.address)):
            if instruction.address < free:
                continue
            p = Kprobe(addr=instruction.address, pre_handler=pre)
            p.post_handler = _nothing if number % 3 and way != "jumps" else None
            try:
                kernel.register_kprobe(p)
            except KprobeError:
                continue
            planted.append(p)  # p.addr may be behind an ENDBR now
            if way == "jumps":
                size = kernel.kprobes.rules.optimizable.size(instruction.address)
                free = instruction.address + size
        return planted

    def _outcome(
        self,
        kernel: CalledKernel,
        function: Symbol,
        arguments: list[int],
        way: str | None,
        most: int = 0,
        planted: list[Kprobe] | None = None,
    ) -> Outcome | str:
        """What the call does; its memory is summed up for comparing two runs of one ``way``."""
        at_return: dict[str, int] = {}

        def returned(*_: object) -> None:
            at_return.update(kernel.machine.regs.as_dict())

        machine = kernel.machine
        machine.engine.on_code(machine.return_address, returned)
        machine.engine.forget_code(machine.return_address, machine.return_address + 1)
        try:
            kernel.call(function, *arguments, timeout=TIMEOUT, max_instructions=most)
            end, registers = "return", at_return
        except GuestFault as fault:
            end = f"fault {fault.trap} at {fault.place}"
            registers = fault.regs.as_dict()
        except (GuestLimit, GuestTimeout):
            return "endless"
        kernel.unregister_kprobes(planted or [])
        return Outcome(
            end,
            registers,
            _memory(kernel, WITHOUT[way]) if way else 0,
            _stack(kernel, registers["sp"]),
            len(kernel.warnings),
        )


class _Path:
    """The addresses that were executed, as their number and a checksum.

    An address twice in a row counts once: a REP instruction tells of each of its iterations.
    """

    def __init__(self) -> None:
        self.length = self.sum = self.last = 0

    def add(self, address: int) -> None:
        if address == self.last:
            return
        self.last = address
        self.length += 1
        self.sum = zlib.crc32(address.to_bytes(8, "little"), self.sum)

    @property
    def known(self) -> _Known:
        return self.length, self.sum


def _nothing(p: Kprobe, regs: Any, flags: int) -> None:
    """A post_handler that is only there."""


def _stack(kernel: CalledKernel, sp: int) -> bytes:
    """What is in use of the stack."""
    for region in _stacks(kernel):
        if region.start <= sp <= region.end:
            return kernel.read(sp, region.end - sp)
    return b""


def _stacks(kernel: CalledKernel) -> list[Any]:
    return [r for r in kernel.machine.memory.regions if r.name.startswith("stack")]


def _same_stack(plain: bytes, probed: bytes) -> bool:
    """Whether all bytes are equal that the function has written.

    An optimised probe saves registers below the stack pointer, where later others make room for
    what they never write.
    """
    return len(plain) == len(probed) and all(
        byte in (other, UNWRITTEN) for byte, other in zip(plain, probed, strict=True)
    )


def _memory(kernel: CalledKernel, without: tuple[str, ...]) -> int:
    """A checksum of all RAM but the regions with such names."""
    memory = kernel.machine.memory
    ram = memoryview(memory.ram)
    total = done = 0
    unused = sorted(
        (region.offset, region.end - region.start)
        for region in memory.regions
        if region.name.startswith(without)
    )
    for start, size in [*unused, (len(ram), 0)]:
        total = zlib.crc32(ram[done:start], total)
        done = start + size
    return total


def _compare(plain: Outcome, probed: Outcome) -> str:
    """What differs, in words; empty if nothing does."""
    if plain.end != probed.end:
        return f"{plain.end} without probes, {probed.end} with them"
    problems = []
    ignored = {"flags": UNDEFINED if "ax" in plain.registers else 0}
    for name, value in plain.registers.items():
        other = probed.registers[name]
        if (value ^ other) & ~ignored.get(name, 0):
            problems.append(f"{name} is {value:#x} without probes and {other:#x} with them")
    for name in ("memory", "warnings"):
        if getattr(plain, name) != getattr(probed, name):
            problems.append(f"{name} differ")
    if not _same_stack(plain.stack, probed.stack):
        problems.append("stack differs")
    return "; ".join(problems)


def _in_a_child(action: Callable[[], Any]) -> Any:
    """What ``action`` returns in a copy of this process; a text if that one did not survive."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            answer = action()
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        with os.fdopen(writer, "wb") as pipe:
            pickle.dump(answer, pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(child, 0)
    return pickle.loads(data) if data else f"the process died (status {status})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+")
    parser.add_argument("--functions", type=int, default=300, help="how many (default 300)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--function", help="run this one alone")
    parser.add_argument("--json", action="store_true", help="one JSON object an image")
    options = parser.parse_args()
    console, failed = Console(stderr=True), 0
    for image in options.images:
        sweep = Sweep(image, options.seed)
        functions = (
            [sweep.plain.symbols[options.function]]
            if options.function
            else sweep.choose(options.functions)
        )
        with Progress(console=console, transient=True) as progress:
            for function in progress.track(functions, description=Path(image).name):
                sweep.run(function)
        failed += len(sweep.differences)
        if options.json:
            found = [asdict(difference) for difference in sweep.differences]
            print(json.dumps({"image": image, **sweep.counts, "differences": found}))
        else:
            _print(sweep, len(functions))
    return 1 if failed else 0


def _print(sweep: Sweep, functions: int) -> None:
    counts = sweep.counts
    print(f"{sweep.image}: {functions} functions, {counts['probes']} probes, {counts['hits']} hits")
    ends = ("return", "fault", "endless")
    print("  runs: " + ", ".join(f"{counts[end]} {end}" for end in ends))
    print(f"  differences: {len(sweep.differences)}")
    for difference in sweep.differences[:SHOWN]:
        print(f"  {difference.function}, {difference.arguments} arguments, {difference.way}:")
        print(f"    {difference.what}\n    {difference.command}")


if __name__ == "__main__":
    sys.exit(main())
