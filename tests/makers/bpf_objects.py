"""Compiled eBPF objects, from C by the clang of the ziglang wheel, each compiled once."""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from pathlib import Path

from kprobesim.bpf.object import BpfObject

SOURCES = Path(__file__).parents[1] / "data" / "bpf"
_FLAGS = ("-target", "bpf", "-O2", "-Wall", "-Werror", "-Wno-unused-variable", "-I", str(SOURCES))


@functools.lru_cache
def compiled(source: str, *flags: str, name: str = "test") -> bytes:
    """The object that clang makes of a C file of tests/data/bpf, or of the text of one."""
    with tempfile.TemporaryDirectory() as folder:
        path = SOURCES / source
        if "\n" in source:
            path = Path(folder) / f"{name}.c"
            path.write_text(source)
        output = Path(folder) / "object.o"
        clang = [sys.executable, "-m", "ziglang", "clang", *_FLAGS, *(flags or ("-g",))]
        subprocess.run([*clang, "-c", str(path), "-o", str(output)], check=True, timeout=120)
        return output.read_bytes()


def compiled_object(source: str, *flags: str) -> BpfObject:
    """The same, read."""
    return BpfObject.parse(compiled(source, *flags), "test.bpf.o")
