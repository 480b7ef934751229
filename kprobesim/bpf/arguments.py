"""Which arguments a program reads, and what it takes them for: told by its code alone."""

from __future__ import annotations

from dataclasses import dataclass

from kprobesim.arch.architecture import ARM64, X86_64, architecture
from kprobesim.bpf.attachment import AttachKind
from kprobesim.bpf.core.kinds import CoreKind
from kprobesim.bpf.core.names import essential_name
from kprobesim.bpf.flow.reach import Place, Reached, World
from kprobesim.bpf.flow.walk import walk
from kprobesim.bpf.object import BpfObject
from kprobesim.bpf.program import Program, SourceLine
from kprobesim.types.btf import Btf
from kprobesim.types.model import Struct, Type

__all__ = ["ArgumentRead", "argument_reads", "compiled_for", "own_reach"]

_WORD = 8
_BY_REGISTERS = frozenset(
    {
        AttachKind.KPROBE,
        AttachKind.KPROBE_MULTI,
        AttachKind.KPROBE_SESSION,
        AttachKind.KRETPROBE,
        AttachKind.KRETPROBE_MULTI,
        AttachKind.KSYSCALL,
        AttachKind.KRETSYSCALL,
    }
)
_BY_SLOTS = frozenset(kind for kind in AttachKind if kind.needs_btf_id) - {AttachKind.ITER} | {
    AttachKind.RAW_TRACEPOINT
}


@dataclass(frozen=True)
class ArgumentRead:
    """One value of the probed function that a program reads.

    ``ordinal`` is its place among the arguments, from 0; of an ``fexit`` program the one behind the
    last is the return value. ``register`` is where it is looked for, if in one. ``type`` is what
    the program takes it to point to, ``struct file``, if it reads members through it.
    """

    ordinal: int | None
    register: str | None = None
    returned: bool = False
    type: str | None = None
    line: SourceLine | None = None


def compiled_for(btf: Btf | None) -> str | None:
    """The architecture whose ``struct pt_regs`` an object has; ``None`` if it has none."""
    if btf is None:
        return None
    if btf.named("user_pt_regs", Struct):
        return ARM64.name
    for one in btf.named("pt_regs", Struct):
        names = {member.name for member in one.members}
        if names & {"di", "rdi"}:
            return X86_64.name
        if "regs" in names or "" in names:
            return ARM64.name
    return None


def own_reach(obj: BpfObject, program: Program) -> Reached:
    """What of a program can be reached if nothing is known of the kernel."""
    fields: dict[Place, Type] = {}
    for function, records in obj.core.items():
        for index, record in records:
            if record.kind == CoreKind.BYTE_OFFSET and obj.btf is not None:
                fields[function, index] = obj.btf.type(record.type)
    return walk(obj, program, World(), None, fields)


def argument_reads(
    obj: BpfObject, program: Program, arch: str | None = None, reached: Reached | None = None
) -> tuple[ArgumentRead, ...]:
    """The arguments that ``program`` reads, in order.

    Args:
        obj: Where it is from.
        program: Of a kind that has arguments, or nothing is returned.
        arch: Whose registers its context holds; by default that which it was compiled for.
        reached: A walk through it in some kernel; by default one that knows of none.
    """
    kind = program.attachment.kind
    if kind not in _BY_SLOTS and kind not in _BY_REGISTERS:
        return ()
    seen = reached or own_reach(obj, program)
    arch = arch or compiled_for(obj.btf)
    found: dict[tuple[int | None, str | None], ArgumentRead] = {}
    for read in sorted(seen.reads.values(), key=lambda one: one.offset):
        word = read.offset // _WORD
        function, index = read.place
        line, takes = function.source_line(index), _type(seen, word * _WORD)
        if kind in _BY_SLOTS:
            one = ArgumentRead(word, type=takes, line=line)
        else:
            named = _register(arch, word, kind)
            if named is None:
                continue
            ordinal, register, returned = named
            one = ArgumentRead(ordinal, register, returned, takes, line)
        found.setdefault((one.ordinal, one.register), one)
    return tuple(found.values())


def _register(arch: str | None, word: int, kind: AttachKind) -> tuple[int | None, str, bool] | None:
    """The argument, the register and whether it is the return value, by its word in pt_regs."""
    if arch is None:
        return None
    abi = architecture(arch).abi
    if not 0 <= word < len(abi.pt_regs):
        return None
    register, arguments = abi.pt_regs[word], abi.arguments
    if kind.returns:
        return None, register, register == abi.result
    if kind is AttachKind.KSYSCALL:
        arguments = abi.syscall_arguments
    return (arguments.index(register) if register in arguments else None), register, False


def _type(seen: Reached, offset: int) -> str | None:
    for kind in seen.believed.get(offset, {}).values():
        return f"{kind.kind} {essential_name(kind.name)}"
    return None
