"""Probes on every instruction of a function that takes one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import capstone

from kprobesim import Kernel, Kprobe, KprobeError, Symbol


class Watch:
    """What the handlers of :func:`probes_everywhere` saw."""

    def __init__(self) -> None:
        self.pre = 0
        self.post = 0
        self.strange: list[str] = []
        self.probes: list[Kprobe] = []
        self.refused: list[KprobeError] = []


def instructions(kernel: Kernel, function: Symbol) -> list[int]:
    """Offsets of a function's instructions, by an independent disassembler."""
    if kernel.arch == "arm64":
        return list(range(0, function.size & ~3, 4))
    disassembler = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    disassembler.skipdata = True
    code = kernel.read(function.address, function.size)
    return [offset for offset, *_ in disassembler.disasm_lite(code, 0)]


@contextmanager
def probes_everywhere(
    kernel: Kernel, functions: list[Symbol], *, with_post: bool = True
) -> Iterator[Watch]:
    """Probes with handlers on every instruction of ``functions`` that takes one."""
    watch = Watch()
    trap = 1 if kernel.arch == "x86_64" else 0  # the pre_handler's ip is behind an INT3

    def pre(p: Kprobe, regs: Any) -> None:
        watch.pre += 1
        if regs.ip - trap != p.addr:
            watch.strange.append(f"{p}: ip is {regs.ip:#x} in the pre_handler")

    def post(p: Kprobe, regs: Any, flags: int) -> None:
        watch.post += 1
        if flags:
            watch.strange.append(f"{p}: flags are {flags:#x} in the post_handler")

    try:
        for function in functions:
            for offset in instructions(kernel, function):
                p = Kprobe(
                    addr=function.address + offset,
                    pre_handler=pre,
                    post_handler=post if with_post else None,
                )
                try:
                    kernel.register_kprobe(p)
                except KprobeError as error:
                    watch.refused.append(error)
                else:
                    watch.probes.append(p)
        yield watch
    finally:
        kernel.unregister_kprobes(watch.probes)
