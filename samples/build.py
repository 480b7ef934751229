"""Builds the two sample guests from ``samples/guest`` with the ``ziglang`` wheel.

    python samples/build.py           write guest-x86_64.elf, guest-arm64.elf and SHA256SUMS
    python samples/build.py --check   build elsewhere and say which committed file differs

The same compiler gives the same bytes: no dates, no paths, no build ids go into the output, and
the version of the wheel is pinned in ``pyproject.toml``.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

SAMPLES = Path(__file__).resolve().parent
GUEST = SAMPLES / "guest"
SUMS = "SHA256SUMS"
# Files whose functions a tracer cannot follow; the kernel has some too.
UNTRACED = {"string.c", "percpu.c", "guard.c"}
# task_struct.stack_canary (ARM64); fixed_percpu_data.stack_canary (x86-64).
TASK_CANARY, PERCPU_CANARY = 48, 40
COMMON_FLAGS = (
    *("-O2", "-g0", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-Wno-infinite-recursion"),
    *("-ffreestanding", "-fno-builtin", "-fno-pic", "-fno-unroll-loops"),
    *("-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", "-fno-strict-aliasing"),
    "-fstack-protector-strong",
    *("-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-fno-ident"),
    *("-fno-vectorize", "-fno-slp-vectorize", "-fno-jump-tables"),
)


@dataclass(frozen=True)
class Target:
    """One architecture: what its compiler and linker have to be told."""

    name: str
    triple: str
    flags: tuple[str, ...]
    traced: tuple[str, ...]
    link: tuple[str, ...]

    @property
    def output(self) -> str:
        return f"guest-{self.name}.elf"

    def sources(self) -> list[Path]:
        """C first, then assembly, each by name: the order decides every address."""
        return sorted(GUEST.glob("*.c")) + sorted((GUEST / self.name).glob("*.S"))


TARGETS = (
    Target(
        name="x86_64",
        triple="x86_64-linux-gnu",
        flags=(
            *("-mcmodel=kernel", "-mno-red-zone", "-mno-sse", "-mno-mmx", "-mno-80387"),
            *("-mstack-protector-guard=tls", "-mstack-protector-guard-reg=gs"),
            f"-mstack-protector-guard-offset={PERCPU_CANARY}",
        ),
        traced=("-pg", "-mfentry"),
        link=("-static",),
    ),
    Target(
        name="arm64",
        triple="aarch64-linux-gnu",
        flags=(
            "-mgeneral-regs-only",
            *("-mstack-protector-guard=sysreg", "-mstack-protector-guard-reg=sp_el0"),
            f"-mstack-protector-guard-offset={TASK_CANARY}",
        ),
        traced=("-fpatchable-function-entry=2",),
        link=("-shared", "-Bsymbolic", "-z", "notext", "--no-apply-dynamic-relocs", "--no-relax"),
    ),
)


class BuildError(Exception):
    """A tool refused; the message holds its own words."""


def run(*arguments: str) -> None:
    """Run one of the wheel's tools in ``samples/``."""
    command = [sys.executable, "-m", "ziglang", *arguments]
    done = subprocess.run(command, cwd=SAMPLES, capture_output=True, text=True)
    if done.returncode:
        raise BuildError(f"{' '.join(arguments)}\n{done.stderr or done.stdout}")


def record_traced(assembly: str) -> str:
    """List each call of ``__fentry__`` in ``__mcount_loc``: clang does not, on x86-64."""
    entry = '.pushsection __mcount_loc, "a"\n\t.quad 770b\n\t.popsection'
    return re.sub(r"^\t(callq?\t__fentry__)$", rf"770:\t\1\n\t{entry}", assembly, flags=re.M)


def compile_one(target: Target, source: Path, folder: Path) -> Path:
    """The object file of one source; C goes by way of its assembly text."""
    stem = folder / f"{target.name}-{source.name}"
    clang = ("clang", f"--target={target.triple}", "-I", "guest", "-I", f"guest/{target.name}")
    name = str(source.relative_to(SAMPLES))
    if source.suffix == ".c":
        flags = [*COMMON_FLAGS, *target.flags]
        if source.name not in UNTRACED:
            flags += target.traced
        text = Path(f"{stem}.s")
        run(*clang, *flags, "-S", name, "-o", str(text))
        text.write_text(record_traced(text.read_text()))
        name = str(text)
    result = Path(f"{stem}.o")
    run(*clang, "-Wno-unused-command-line-argument", "-c", name, "-o", str(result))
    return result


def build(target: Target, folder: Path) -> Path:
    """Build one guest into ``folder``; its path."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        objects = list(pool.map(lambda s: compile_one(target, s, folder), target.sources()))
    result = folder / target.output
    run(
        *("ld.lld", *target.link, "-T", f"guest/{target.name}/kernel.lds"),
        *("--build-id=none", "--hash-style=gnu", "-z", "max-page-size=4096", "-z", "noexecstack"),
        *("--orphan-handling=error", "--fatal-warnings", "--discard-locals"),
        *("-o", str(result), *map(str, objects)),
    )
    return result


def build_all(folder: Path) -> dict[str, bytes]:
    """Every committed file by name, freshly made."""
    files = {target.output: build(target, folder).read_bytes() for target in TARGETS}
    sums = (f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items())
    return files | {SUMS: "".join(sums).encode()}


def differing(files: dict[str, bytes]) -> list[str]:
    """The names of those that are not on disk as they should be."""
    present = {name: SAMPLES / name for name in files}
    return [
        name
        for name, path in present.items()
        if not path.is_file() or path.read_bytes() != files[name]
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build the two sample guests.")
    parser.add_argument("--check", action="store_true", help="compare with the committed files")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="kprobesim-samples-") as folder:
        try:
            files = build_all(Path(folder))
        except BuildError as error:
            print(f"build.py: {error}", file=sys.stderr)
            return 1
    stale = differing(files)
    if options.check:
        for name in stale:
            print(f"samples/{name} is not what its sources build: run samples/build.py and commit")
        return 1 if stale else 0
    for name in stale:
        (SAMPLES / name).write_bytes(files[name])
    for name, data in files.items():
        print(f"samples/{name}: {len(data)} bytes{', rewritten' if name in stale else ''}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
