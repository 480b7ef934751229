"""Kernels of a C file or two, compiled with the instruments that a test asks for."""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from pathlib import Path

from kprobesim import Kernel

__all__ = ["tiny_kernel", "tiny_vmlinux"]

_BANNER = 'const char linux_banner[] = "Linux version 6.1.0-tiny (a@b) (clang) #1 SMP\\n";\n'
_SCRIPT = """
ENTRY(_text)
PHDRS { all PT_LOAD FLAGS(7); }
SECTIONS {
  . = BASE;
  .text : AT(ADDR(.text) - OFFSET) { _text = .; _stext = .; *(.text .text.*) _etext = .; } :all
  . = ALIGN(4096);
  .rodata : AT(ADDR(.rodata) - OFFSET) {
    *(.rodata .rodata.*)
    . = ALIGN(8);
    __start_mcount_loc = .; KEEP(*(__patchable_function_entries)) __stop_mcount_loc = .;
    __start_BTF = .; KEEP(*(.BTF)) __stop_BTF = .;
  } :all
  . = ALIGN(4096);
  .data : AT(ADDR(.data) - OFFSET) { *(.data .data.*) *(.bss .bss.*) } :all
  .data..percpu : AT(ADDR(.data..percpu) - OFFSET) { *(.data..percpu) } :all
  _end = .;
  /DISCARD/ : { *(.comment) *(.note*) *(.eh_frame*) *(.llvm_addrsig) *(.kcfi_traps) }
}
"""
# Link address, what it is above the physical one, and what every file is compiled with.
_TARGETS = {
    "x86_64": (0xFFFF_FFFF_8100_0000, 0xFFFF_FFFF_8000_0000, "x86_64-linux-gnu"),
    "arm64": (0xFFFF_8000_0800_0000, 0, "aarch64-linux-gnu"),
}
_GENERAL = {
    "x86_64": ("-mcmodel=kernel", "-mno-red-zone", "-mno-sse"),
    "arm64": ("-mgeneral-regs-only",),
}
_FLAGS = (
    "-O2",
    "-g0",
    "-ffreestanding",
    "-fno-builtin",
    "-fno-pic",
    "-fno-unroll-loops",
    "-fno-omit-frame-pointer",
)


def tiny_kernel(arch: str, code: str, *flags: str, base: int = 0) -> Kernel:
    """A kernel of the functions in ``code``, compiled with ``flags`` as well; ``base``: where."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "vmlinux")
        path.write_bytes(tiny_vmlinux(arch, code, flags=flags, base=base))
        return Kernel.load(path)


@functools.cache
def tiny_vmlinux(arch: str, *codes: str, flags: tuple[str, ...] = (), base: int = 0) -> bytes:
    """The ELF file of such a kernel; each of ``codes`` is a file of its own."""
    start, offset, triple = _TARGETS[arch]
    script = _SCRIPT.replace("BASE", f"{base or start:#x}").replace("OFFSET", f"{offset:#x}")
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        (where / "kernel.lds").write_text(script)
        sources = [f"kernel{number or ''}.c" for number in range(len(codes))]
        for source, code in zip(sources, (codes[0] + _BANNER, *codes[1:]), strict=True):
            (where / source).write_text(code)
        objects = [source.replace(".c", ".o") for source in sources]
        link = ("-static", "--build-id=none", "-T", "kernel.lds", "-o", "out", *objects)
        for command in (
            ("clang", f"--target={triple}", *_FLAGS, *_GENERAL[arch], *flags, "-c", *sources),
            ("ld.lld", *link),
        ):
            subprocess.run([sys.executable, "-m", "ziglang", *command], cwd=where, check=True)
        return (where / "out").read_bytes()
