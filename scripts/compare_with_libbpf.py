"""Hold our reading of eBPF objects against libbpf's own, which loads them into no kernel.

    python scripts/compare_with_libbpf.py [--objects FILE... | --random N | --record] KERNEL...

libbpf.so.1 is told that every bpf() succeeds, and given the types, symbols and settings of KERNEL
(``libbpf_without_kernel.c``, compiled by the ziglang wheel, is preloaded). What it makes of the
instructions of each object is compared with what ``kprobesim.bpf`` does. Without --objects those of
tests/data/bpf are taken. --random makes one with N relocations of random fields, types and values
of the first kernel, to be resolved in all. --record writes what the tests compare with: of each
kernel's types those that core.c needs (``bpftool gen min_core_btf``), and the instructions that
libbpf makes with them. The exit status is 0 if all is equal.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from makers.bpf_objects import compiled  # noqa: E402
from random_relocations import random_object  # noqa: E402

from kprobesim.bpf.core.relocate import relocate  # noqa: E402
from kprobesim.bpf.facts import KernelFacts, kernel_version  # noqa: E402
from kprobesim.bpf.instructions import decode  # noqa: E402
from kprobesim.bpf.load import would_load  # noqa: E402
from kprobesim.bpf.object import BpfObject  # noqa: E402
from kprobesim.errors import KprobesimError  # noqa: E402
from kprobesim.survey.known import KnownKernel, open_known  # noqa: E402
from kprobesim.types.btf import Btf  # noqa: E402

RECORDED = ROOT / "tests" / "data" / "bpf" / "recorded"
SOURCES = ("core.c", "sections.c", "guards.c")
PAGE = 1 << 16
#: What libbpf says of an absent target, after all instructions were relocated.
TARGET = "failed to find kernel BTF type ID"


class OpenOptions(ctypes.Structure):
    """``struct bpf_object_open_opts`` of libbpf 1.1."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("object_name", ctypes.c_char_p),
        ("relaxed_maps", ctypes.c_bool),
        ("pin_root_path", ctypes.c_char_p),
        ("unused", ctypes.c_uint32),
        ("kconfig", ctypes.c_char_p),
        ("btf_custom_path", ctypes.c_char_p),
    )


def ask_libbpf(path: str, config: str) -> dict[str, Any]:
    """In a process of its own: what libbpf makes of the object."""
    lib, libc = ctypes.CDLL("libbpf.so.1"), ctypes.CDLL(None)
    warnings: list[str] = []

    def note(level: int, text: bytes, arguments: int) -> int:
        line = ctypes.create_string_buffer(PAGE)
        libc.vsnprintf(line, PAGE, ctypes.c_char_p(text), ctypes.c_void_p(arguments))
        if level == 0:
            warnings.append(line.value.decode("utf-8", "replace").strip())
        return 0

    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
    callback = kind(note)
    lib.libbpf_set_print(callback)
    for name in ("bpf_object__open_file", "bpf_object__next_program", "bpf_program__insns"):
        getattr(lib, name).restype = ctypes.c_void_p
    lib.bpf_program__name.restype = ctypes.c_char_p
    lib.bpf_program__insn_cnt.restype = ctypes.c_size_t
    options = OpenOptions(sz=ctypes.sizeof(OpenOptions), kconfig=config.encode() or None)
    obj = lib.bpf_object__open_file(path.encode(), ctypes.byref(options))
    if not obj:
        return {"opened": False, "warnings": warnings}
    failed = lib.bpf_object__load(ctypes.c_void_p(obj))
    programs, program = {}, None
    while program := lib.bpf_object__next_program(ctypes.c_void_p(obj), ctypes.c_void_p(program)):
        handle = ctypes.c_void_p(program)
        size = 8 * lib.bpf_program__insn_cnt(handle)
        code = ctypes.string_at(lib.bpf_program__insns(handle), size)
        programs[lib.bpf_program__name(handle).decode()] = code.hex()
    return {"opened": True, "loaded": not failed, "programs": programs, "warnings": warnings}


class Libbpf:
    """libbpf in processes with the preloaded library, for one kernel."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.preload = folder / "preload.so"
        source = Path(__file__).with_name("libbpf_without_kernel.c")
        zig = [sys.executable, "-m", "ziglang", "cc", "-target", "x86_64-linux-gnu.2.36"]
        command = [*zig, "-shared", "-fPIC", str(source), "-o", str(self.preload)]
        subprocess.run(command, check=True, timeout=300)

    def ask(
        self, obj: bytes, btf: bytes, symbols: str = "", config: str = "", release: str = "6.1.0"
    ) -> dict[str, Any]:
        """What it makes of an object in a kernel with these types, symbols and settings."""
        files = {"object.o": obj, "vmlinux": btf, "kallsyms": symbols.encode()}
        for name, data in files.items():
            (self.folder / name).write_bytes(data)
        (self.folder / "config").write_text(config)
        surroundings = {
            "LD_PRELOAD": str(self.preload),
            "KERNEL_BTF": str(self.folder / "vmlinux"),
            "KERNEL_KALLSYMS": str(self.folder / "kallsyms"),
            "KERNEL_RELEASE": release,
        }
        done = subprocess.run(
            [sys.executable, __file__, "--inside", str(self.folder / "object.o")],
            env=os.environ | surroundings,
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


def facts_of(kernel: KnownKernel) -> KernelFacts:
    """The kernel as ``would_load`` asks it."""

    def addresses(name: str) -> list[int]:
        return [one.address for one in kernel.symbols.candidates(name)]

    return KernelFacts(
        btf=kernel.btf,
        addresses=addresses,
        config=kernel.config,
        version=kernel_version(kernel.release),
    )


def differences(
    obj: BpfObject, facts: KernelFacts, answer: dict[str, Any]
) -> tuple[int, list[str]]:
    """How many relocations were compared, and what differs."""
    assert facts.btf is not None
    loaded = would_load(obj, facts)
    wrong = []
    if not answer["opened"] or not answer["loaded"]:
        told = any(one.blockers for one in loaded.programs) or _absent_targets(obj, facts)
        if not told:
            wrong.append(f"libbpf: {answer['warnings'][:2]}; we see no reason")
        if not any(TARGET in line for line in answer["warnings"]):
            return 0, wrong
    elif loaded.blockers:
        wrong.append(f"libbpf loads it; we say {loaded.blockers[0].text}")
    count = 0
    code = {name: decode(bytes.fromhex(text)) for name, text in answer["programs"].items()}
    for one in relocate(obj, facts.btf).relocations:
        theirs = code.get(one.function.name)
        if theirs is not None and one.function in {each.function for each in obj.programs}:
            count += 1
            ours = loaded.code.instructions[one.function][one.instruction]
            other = theirs[one.instruction]
            if ours != other:
                wrong.append(f"{one.path} {one.kind.text}: {ours}, libbpf {other}")
    return count, wrong


def _absent_targets(obj: BpfObject, facts: KernelFacts) -> bool:
    """Whether a program that is found by BTF has a target that is not there."""
    names = [one.attachment.btf_name for one in obj.programs if not one.optional]
    return any(facts.btf is not None and name and not facts.btf.named(name) for name in names)


def compare(paths: list[str], objects: dict[str, bytes], libbpf: Libbpf) -> bool:
    """Print a line for each kernel and object; whether all was equal."""
    well = True
    for path in paths:
        kernel = open_known(path)
        if kernel.btf is None:
            print(f"{kernel.name}: no BTF")
            continue
        facts = facts_of(kernel)
        symbols = "".join(f"{one.address:x} T {one.name}\n" for one in kernel.symbols)
        config = "".join(f"{name}={value}\n" for name, value in (kernel.config or {}).items())
        for name, data in objects.items():
            try:
                obj = BpfObject.parse(data, name)
                answer = libbpf.ask(data, kernel.btf.data, symbols, config, kernel.release)
                count, wrong = differences(obj, facts, answer)
            except KprobesimError as error:
                count, wrong = 0, [str(error)]
            state = "loaded" if answer.get("loaded") else "refused"
            line = f"{kernel.name} {name}: {state}, {count} compared, {len(wrong)} differ"
            print(line, flush=True)
            for line in wrong[:10]:
                print(f"    {line}")
            well = well and not wrong
    return well


def record(paths: list[str], libbpf: Libbpf) -> None:
    """Write what tests/bpf/test_recorded.py compares with."""
    RECORDED.mkdir(exist_ok=True)
    data = compiled("core.c")
    obj = BpfObject.parse(data)
    values: dict[str, dict[str, list[int]]] = {}
    for path in paths:
        kernel = open_known(path)
        assert kernel.btf is not None, path
        name = f"{'.'.join(kernel.release.split('.')[:2])}-{kernel.arch}"
        for file, content in (("core.o", data), ("whole.btf", kernel.btf.data)):
            (libbpf.folder / file).write_bytes(content)
        bpftool = ["bpftool", "gen", "min_core_btf", "whole.btf", "small.btf", "core.o"]
        subprocess.run(bpftool, check=True, cwd=libbpf.folder, timeout=300)
        small = (libbpf.folder / "small.btf").read_bytes()
        (RECORDED / f"{name}.btf").write_bytes(small)
        answer = libbpf.ask(data, small)
        code = {one: decode(bytes.fromhex(text)) for one, text in answer["programs"].items()}
        values[name] = {
            f"{one.function.name} {one.instruction} {one.kind.text} {one.path}": list(
                code[one.function.name][one.instruction]
            )
            for one in relocate(obj, Btf(small)).relocations
        }
        print(f"{name}: {len(small)} bytes, {len(values[name])} relocations")
    text = json.dumps(values, indent=0, separators=(",", ":"))
    (RECORDED / "values.json").write_text(text + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kernels", nargs="*")
    parser.add_argument("--objects", nargs="+", default=[])
    parser.add_argument("--random", type=int, default=0, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.inside:
        config = Path(chosen.inside).with_name("config").read_text()
        json.dump(ask_libbpf(chosen.inside, config), sys.stdout)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        libbpf = Libbpf(Path(folder))
        if chosen.record:
            record(chosen.kernels, libbpf)
            return 0
        objects = {path: Path(path).read_bytes() for path in chosen.objects}
        if chosen.random:
            first = open_known(chosen.kernels[0]).btf
            assert first is not None, "the first kernel has no BTF"
            made = random_object(first, chosen.random, chosen.seed, Path(folder))
            objects = {f"{chosen.random} random": made}
        objects = objects or {name: compiled(name) for name in SOURCES}
        return 0 if compare(chosen.kernels, objects, libbpf) else 1


if __name__ == "__main__":
    sys.exit(main())
