"""Compiled objects: whether libbpf and the verifier take their programs, wherever they attach."""

from __future__ import annotations

import errno as errno_names
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

from kprobesim.arch.architecture import ARM64, halves
from kprobesim.bpf.arguments import argument_reads, compiled_for
from kprobesim.bpf.attachment import AttachKind
from kprobesim.bpf.core.names import essential_name
from kprobesim.bpf.declared import declared
from kprobesim.bpf.externs import ExternKind
from kprobesim.bpf.facts import KernelFacts as LoadingFacts
from kprobesim.bpf.helper_programs import PATH_OF_FILE
from kprobesim.bpf.load import Blocker, BlockerKind, LoadedObject, LoadedProgram, would_load
from kprobesim.bpf.object import BpfObject
from kprobesim.bpf.program import Program
from kprobesim.compat.event_reads import misread_fields
from kprobesim.compat.finding import Finding
from kprobesim.compat.kernel_facts import KernelFacts
from kprobesim.compat.kinds import Kind
from kprobesim.errors import Reason
from kprobesim.sources.wanted import Interface, Source, Wanted, WantedArgument
from kprobesim.types.btf import Btf

__all__ = ["Objects"]

_KINDS = {
    BlockerKind.TYPE: Kind.TYPE,
    BlockerKind.EXTERN: Kind.EXTERN,
    BlockerKind.HELPER: Kind.UNSUPPORTED,
    BlockerKind.FEATURE: Kind.UNSUPPORTED,
    BlockerKind.NO_BTF: Kind.NO_BTF,
    BlockerKind.OBJECT: Kind.REFUSED,
}
_EINVAL, _ESRCH = errno_names.EINVAL, errno_names.ESRCH
_KERNEL = "vmlinux"
_OVERRIDE = "bpf_override_return"
_BY_REGISTERS = (
    Interface.KPROBE_PERF,
    Interface.KPROBE_MULTI,
    Interface.KPROBE_SESSION,
    Interface.SYSCALL,
)
_ON_FUNCTIONS = (
    AttachKind.KPROBE,
    AttachKind.KRETPROBE,
    AttachKind.FENTRY,
    AttachKind.FEXIT,
    AttachKind.FMOD_RET,
)
_BY_TRAMPOLINE = (Interface.FENTRY, Interface.FEXIT, Interface.FMOD_RET, Interface.FSESSION)
_MAY_CALL_D_PATH = "btf_allowlist_d_path"
_MOST_SHOWN = 4
_TARGETS = halves(x86_64="x86", arm64=ARM64.name)  # libbpf's, of bpf_tracing.h


class Objects:
    """The objects among the sources, each as it would be loaded into one kernel."""

    def __init__(self, kernel: KernelFacts) -> None:
        self._kernel = kernel
        self._loaded: dict[int, LoadedObject] = {}

    def program(self, source: Source, wanted: Wanted) -> LoadedProgram | None:
        """The program that ``wanted`` is about; ``None`` if the source is no object."""
        compiled = source.object
        if compiled is None or wanted.program is None:
            return None
        loaded = self._load(compiled)
        return next((one for one in loaded.programs if one.program.name == wanted.program), None)

    def _load(self, compiled: BpfObject) -> LoadedObject:
        key = id(compiled)
        if key not in self._loaded:
            modules = self._modules(compiled)
            facts = replace(self._facts, modules=modules) if modules else self._facts
            self._loaded[key] = would_load(compiled, facts)
        return self._loaded[key]

    def _modules(self, compiled: BpfObject) -> dict[str, Btf]:
        """The types of the modules that programs attach to or call, so that have to be loaded."""
        known = self._kernel.known
        names: set[str] = set()
        for program in compiled.programs if compiled.core else ():
            where = program.attachment
            if where.module is not None:
                names.add(where.module)
            elif (
                where.kind in _ON_FUNCTIONS
                and where.target is not None
                and not where.pattern
                and not known.symbols.candidates(where.target)
            ):
                names.update(known.modules_with(where.target))
        for extern in compiled.externs:
            if extern.kind is ExternKind.KFUNC and not known.symbols.candidates(extern.name):
                names.update(known.modules_with(essential_name(extern.name)))
        # Without one nobody asks which modules there are: a package has to be unpacked for that.
        there = names & set(known.modules) if names else ()
        found = {name: known.module_btf(name) for name in sorted(there)}
        return {name: btf for name, btf in found.items() if btf is not None}

    @cached_property
    def _facts(self) -> LoadingFacts:
        kernel, known = self._kernel, self._kernel.known
        return LoadingFacts(
            btf=kernel.btf,
            addresses=lambda name: [s.address for s in known.symbols.candidates(name)],
            config=known.config,
            version=kernel.version,
        )

    def with_arguments(self, source: Source, wanted: Wanted) -> Wanted:
        """``wanted`` with the arguments that its program reads on this kernel, or declares."""
        program, compiled = self.program(source, wanted), source.object
        if program is None or compiled is None or wanted.arguments or wanted.pattern:
            return wanted
        arch = self._kernel.kernel.arch
        declared_ones = _declared(program.program, wanted)
        found: dict[int | None, WantedArgument] = {one.ordinal: one for one in declared_ones}
        for read in argument_reads(compiled, program.program, arch, program.reached):
            if read.returned:
                text = "its result" + (f" ({read.line})" if read.line else "")
                found[None] = WantedArgument(text, returned=True)
            if read.ordinal is None or read.returned:
                continue
            known = found.get(read.ordinal)
            if known is None or (known.type is None and read.type is not None):
                text = f"arg{read.ordinal}" + (f" ({read.line})" if read.line else "")
                found[read.ordinal] = WantedArgument(text, ordinal=read.ordinal, type=read.type)
        return replace(wanted, arguments=tuple(found.values()))

    def findings(self, source: Source, wanted: Wanted) -> Iterator[Finding]:
        """Why the program is not loaded."""
        program = self.program(source, wanted)
        if program is None or source.object is None:
            return
        arch = compiled_for(source.object.btf)
        other = arch is not None and arch != self._kernel.kernel.arch
        if other and wanted.interface in _BY_REGISTERS:
            yield Finding(
                Kind.REFUSED,
                f"the object was compiled for {arch}: it looks for arguments in its registers",
                errno=_EINVAL,
                instead=(f"compile it with -D__TARGET_ARCH_{_TARGETS[self._kernel.kernel.arch]}",),
            )
            return
        if wanted.interface is Interface.TRACEPOINT:
            loaded = self._load(source.object)
            yield from misread_fields(self._kernel, wanted, loaded, program)
        yield from self._paths_of_files(wanted, program)
        yield from self._called_modules(source.object, program)
        for blocker in program.blockers:
            if blocker.path != _OVERRIDE:  # told of the function: see overrides.py
                yield _finding(blocker)

    def _paths_of_files(self, wanted: Wanted, program: LoadedProgram) -> Iterator[Finding]:
        """bpf_d_path_allowed() of kernel/trace/bpf_trace.c: few functions may call it."""
        listed = self._kernel.btf_set(_MAY_CALL_D_PATH)
        if PATH_OF_FILE not in program.reached.helpers or not listed:
            return
        if wanted.interface in _BY_TRAMPOLINE and wanted.target not in listed:
            near = tuple(f"{wanted.interface}/{name}" for name in sorted(listed))
            yield Finding(
                Kind.UNSUPPORTED,
                f"it calls bpf_d_path, which programs on {wanted.target} may not "
                f"({_MAY_CALL_D_PATH})",
                errno=_EINVAL,
                instead=near[:_MOST_SHOWN],
                found_by="btf",
            )

    def _called_modules(self, compiled: BpfObject, program: LoadedProgram) -> Iterator[Finding]:
        """Functions of modules that the program calls: libbpf looks only at what is loaded."""
        for one in self._load(compiled).externs:
            name = one.extern.name
            if one.where not in (None, _KERNEL) and name in program.reached.kfuncs:
                yield Finding(
                    Kind.MODULE,
                    f"it calls {name}, which is in the module {one.where}: there once that is "
                    "loaded",
                    errno=_ESRCH,
                    rule=Reason.MODULE_NOT_LOADED,
                    instead=(f"modprobe {one.where} first",),
                )


def _declared(program: Program, wanted: Wanted) -> Iterator[WantedArgument]:
    """The parameters that the source of the program gives it, by their places."""
    said = None if wanted.returns else declared(program)
    for number, parameter in enumerate(said.parameters if said is not None else ()):
        text = f"{parameter.type.rstrip()} {parameter.name}".replace("* ", "*")
        kind = parameter.points_to
        said_type = kind if kind and kind.startswith(("struct ", "union ")) else None  # not void
        yield WantedArgument(text, ordinal=number, type=said_type)


def _finding(blocker: Blocker) -> Finding:
    kind = _KINDS[blocker.kind]
    message = blocker.text
    if blocker.path and blocker.path not in message:
        message = f"{blocker.path}: {message}"
    if blocker.line is not None:
        message += f" ({blocker.line})"
    if blocker.depends:
        return Finding(
            Kind.OPTIONAL,
            f"only if the object's constants are set otherwise: {message}",
            found_by="btf",
        )
    if blocker.path.startswith("CONFIG_"):
        kind = Kind.CONFIG
    return Finding(kind, message, errno=_EINVAL, found_by="btf")
