"""Builds the samples with the ``ziglang`` wheel: guests and what a booted kernel starts.

    python samples/build.py           write guest-*.elf, init-*.cpio and SHA256SUMS
    python samples/build.py --check   build elsewhere and say which committed file differs
    python samples/build.py mine.c    build a module of your own: mine-x86_64.ko and mine-arm64.ko

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
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from kprobesim.boot.initramfs import character_device, directory, make_cpio

SAMPLES = Path(__file__).resolve().parent
GUEST = SAMPLES / "guest"
INIT = SAMPLES / "init"
MODULES = (SAMPLES / "module", SAMPLES / "client", SAMPLES / "races")
MUTEX_RACES = ("bind_twice", "lock_order", "list", "module", "mutex")
RCU_RACES = ("grace_period", "module")
ONLY_REAL = ("grace_period",)  # what a real kernel has to have
OWN = "races"  # whose headers a module of somebody's own may include
SUMS = "SHA256SUMS"
# Files whose functions a tracer cannot follow; the kernel has some too.
UNTRACED = {"string.c", "percpu.c", "guard.c"}
# task_struct.stack_canary (ARM64); fixed_percpu_data.stack_canary (x86-64).
TASK_CANARY, PERCPU_CANARY = 48, 40
COMMON_FLAGS = (
    *("-O2", "-g0", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-Wno-infinite-recursion"),
    *("-ffreestanding", "-fno-builtin", "-fno-pic", "-fno-unroll-loops"),
    *("-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", "-fno-strict-aliasing"),
    *("-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-fno-ident"),
    *("-fno-vectorize", "-fno-slp-vectorize", "-fno-jump-tables"),
)
GUEST_FLAGS = ("-fstack-protector-strong",)
INIT_FLAGS = ("-fno-stack-protector",)
LINK_FLAGS = (
    *("--build-id=none", "-z", "max-page-size=4096", "-z", "noexecstack"),
    *("--fatal-warnings", "--discard-locals"),
)


@dataclass(frozen=True)
class Target:
    """One architecture: what its compiler and linker have to be told."""

    name: str
    triple: str
    general: tuple[str, ...]  # no vector registers: neither program has a use for them
    flags: tuple[str, ...]
    traced: tuple[str, ...]
    link: tuple[str, ...]
    page_size: int  # the largest of a kernel that runs /init

    def sources(self, program: Path) -> list[Path]:
        """C first, then assembly, each by name: the order decides every address."""
        return sorted(program.glob("*.c")) + sorted((program / self.name).glob("*.S"))


TARGETS = (
    Target(
        name="x86_64",
        triple="x86_64-linux-gnu",
        general=("-mno-sse", "-mno-mmx", "-mno-80387"),
        flags=(
            *("-mcmodel=kernel", "-mno-red-zone"),
            *("-mstack-protector-guard=tls", "-mstack-protector-guard-reg=gs"),
            f"-mstack-protector-guard-offset={PERCPU_CANARY}",
        ),
        traced=("-pg", "-mfentry"),
        link=("-static",),
        page_size=1 << 12,
    ),
    Target(
        name="arm64",
        triple="aarch64-linux-gnu",
        general=("-mgeneral-regs-only", "-mno-outline-atomics"),
        flags=(
            *("-mstack-protector-guard=sysreg", "-mstack-protector-guard-reg=sp_el0"),
            f"-mstack-protector-guard-offset={TASK_CANARY}",
        ),
        traced=("-fpatchable-function-entry=2",),
        link=("-shared", "-Bsymbolic", "-z", "notext", "--no-apply-dynamic-relocs", "--no-relax"),
        page_size=1 << 16,
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


def compile_one(target: Target, source: Path, flags: tuple[str, ...], folder: Path) -> Path:
    """The object file of one source; C goes by way of its assembly where calls are to be listed."""
    own = not source.is_relative_to(SAMPLES)
    program = OWN if own else source.relative_to(SAMPLES).parts[0]
    stem = folder / f"{program}-{target.name}-{source.name}"
    clang = ("clang", f"--target={target.triple}", "-I", program, "-I", f"{program}/{target.name}")
    name = str(source if own else source.relative_to(SAMPLES))
    compiled = source.suffix == ".c"
    how = (*COMMON_FLAGS, *target.general, *flags) if compiled else ()
    if compiled and "-mfentry" in target.traced:
        text = Path(f"{stem}.s")
        run(*clang, *how, "-S", name, "-o", str(text))
        text.write_text(record_traced(text.read_text()))
        name, how = str(text), ()
    result = Path(f"{stem}.o")
    run(*clang, *how, "-Wno-unused-command-line-argument", "-c", name, "-o", str(result))
    return result


def compile_all(
    target: Target, program: Path, flags: Callable[[Path], tuple[str, ...]], folder: Path
) -> list[Path]:
    """The object files of a program's sources, each compiled with its flags."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        return list(
            pool.map(
                lambda source: compile_one(target, source, flags(source), folder),
                target.sources(program),
            )
        )


def link(result: Path, objects: Iterable[Path], *how: str) -> bytes:
    """Link object files into ``result``."""
    run("ld.lld", *how, "-o", str(result), *map(str, objects))
    return result.read_bytes()


def build_guest(target: Target, folder: Path) -> bytes:
    """The guest of one architecture: an ELF file like a vmlinux."""

    def flags(source: Path) -> tuple[str, ...]:
        traced = () if source.name in UNTRACED else target.traced
        return (*GUEST_FLAGS, *target.flags, *traced)

    script = f"guest/{target.name}/kernel.lds"
    how = ("-T", script, "--hash-style=gnu", "--orphan-handling=error", *target.link)
    how = (*LINK_FLAGS, *how)
    objects = compile_all(target, GUEST, flags, folder)
    return link(folder / f"guest-{target.name}.elf", objects, *how)


def build_init(target: Target, folder: Path) -> bytes:
    """The initramfs of one architecture: ``/init`` and the places that it needs."""
    how = (*LINK_FLAGS, "-z", f"max-page-size={target.page_size}", "-static")
    objects = compile_all(target, INIT, lambda source: INIT_FLAGS, folder)
    init = link(folder / f"init-{target.name}", objects, *how)
    return make_cpio(
        {
            "init": init,
            "dev/console": character_device(5, 1),
            "dev/null": character_device(1, 3, 0o666),
            "proc": directory(0o555),
            "sys": directory(0o555),
            "tmp": directory(0o1777),
        }
    )


def build_modules(target: Target, program: Path, folder: Path) -> dict[str, bytes]:
    """Modules for one architecture: relocatable files like a .ko.

    Of the races there is a second one, with those that need nothing of a kernel but its mutexes.
    """

    def flags(source: Path) -> tuple[str, ...]:
        return (*INIT_FLAGS, *target.flags, *target.traced, "-I", f"module/{target.name}")

    objects = compile_all(target, program, flags, folder)
    modules = {program.name: objects}
    if program.name == "races":
        for kind, names in (("mutex-races", MUTEX_RACES), ("rcu-races", RCU_RACES)):
            modules[kind] = _of(objects, names)
        modules["races"] = [path for path in objects if path not in _of(objects, ONLY_REAL)]
    files = {f"{name}-{target.name}.ko": chosen for name, chosen in modules.items()}
    return {
        name: link(folder / name, chosen, "-r", "--build-id=none") for name, chosen in files.items()
    }


def build_own(source: Path, arch: str) -> Path:
    """A module of somebody's own, for the samples' guests and, with ``load_module_of()``, others.

    It may include ``races.h``, of which it has to bring what it calls: a real kernel has its own.

    Args:
        source: Its one file, in C.
        arch: "x86_64" or "arm64".

    Returns:
        The module, beside its source: ``mine-arm64.ko`` of ``mine.c``, of the name ``mine``.

    Raises:
        BuildError: The compiler refuses it.
    """
    source = source.resolve()
    (target,) = (target for target in TARGETS if target.name == arch)
    name = re.sub(r"\W", "_", source.stem)
    flags = (*INIT_FLAGS, *target.flags, *target.traced, "-I", f"module/{arch}")
    result = source.with_name(f"{source.stem}-{arch}.ko")
    with tempfile.TemporaryDirectory(prefix="kprobesim-samples-") as folder:
        made = [
            compile_one(target, each, (*flags, f'-DMODULE_NAME="{name}"'), Path(folder))
            for each in (source, SAMPLES / OWN / "module.c")
        ]
        link(result, made, "-r", "--build-id=none")
    return result


def _of(objects: Iterable[Path], names: Iterable[str]) -> list[Path]:
    """Those of ``objects`` that were made of these sources."""
    ends = tuple(f"-{name}.c.o" for name in names)
    return [path for path in objects if path.name.endswith(ends)]


def build_all(folder: Path) -> dict[str, bytes]:
    """Every committed file by name, freshly made."""
    files = {f"guest-{target.name}.elf": build_guest(target, folder) for target in TARGETS}
    files |= {f"init-{target.name}.cpio": build_init(target, folder) for target in TARGETS}
    for program in MODULES:
        for target in TARGETS:
            files |= build_modules(target, program, folder)
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


def _build_own(sources: Iterable[Path]) -> int:
    for source in sources:
        for target in TARGETS:
            try:
                print(build_own(source, target.name))
            except BuildError as error:
                print(f"build.py: {error}", file=sys.stderr)
                return 1
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build the sample guests and inits.")
    parser.add_argument("--check", action="store_true", help="compare with the committed files")
    parser.add_argument("own", nargs="*", type=Path, metavar="FILE.c", help="a module of your own")
    options = parser.parse_args(arguments)
    if options.own:
        return _build_own(options.own)
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
