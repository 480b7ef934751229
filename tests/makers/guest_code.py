"""Machine code of a test's own as a function of a sample guest, and probes in it."""

from __future__ import annotations

from pathlib import Path

from kprobesim import Kernel, Kprobe, PtRegs

SAMPLES = Path(__file__).parent.parent.parent / "samples"


class Code:
    """``code`` (hex digits) takes the place of the guest's longest function."""

    def __init__(self, model: str, code: str, *, arch: str = "x86_64", strict: bool = False):
        self.k = Kernel.load(SAMPLES / f"guest-{arch}.elf", model=model, strict=strict)
        functions = (s for s in self.k.symbols if self.k.image.is_kernel_text(s.address))
        self.start = max(functions, key=lambda symbol: symbol.size).address
        self.hits = self.posts = 0
        self.write(code)

    def write(self, code: str) -> None:
        """Another function."""
        self.k.write(self.start, bytes.fromhex(code.replace(" ", "")))

    def call(self, offset: int, *arguments: int) -> int:
        """The result of the function, with a probe at ``offset``."""
        trap_offset = 1 if self.k.arch == "x86_64" else 0

        def pre(p: Kprobe, regs: PtRegs) -> None:
            assert regs.ip == self.start + offset + trap_offset
            self.hits += 1

        def post(p: Kprobe, regs: PtRegs, flags: int) -> None:
            self.posts += 1
            self.ip = regs.ip - self.start
            self.flags = regs.flags

        where = self.start + offset
        with self.k.probing(addr=where, pre_handler=pre, post_handler=post) as p:
            result = self.k.call(self.start, *arguments)
            self.insn = p.ainsn
        return result
