"""Compiled objects: whether libbpf and the verifier take their programs, wherever they attach."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

from kprobesim.bpf.arguments import argument_reads
from kprobesim.bpf.facts import KernelFacts as LoadingFacts
from kprobesim.bpf.facts import kernel_version
from kprobesim.bpf.load import Blocker, BlockerKind, LoadedObject, LoadedProgram, would_load
from kprobesim.compat.finding import Finding
from kprobesim.compat.kernel_facts import KernelFacts
from kprobesim.compat.kinds import Kind
from kprobesim.sources.wanted import Source, Wanted, WantedArgument

__all__ = ["Objects"]

_KINDS = {
    BlockerKind.TYPE: Kind.TYPE,
    BlockerKind.EXTERN: Kind.EXTERN,
    BlockerKind.HELPER: Kind.UNSUPPORTED,
    BlockerKind.NO_BTF: Kind.NO_BTF,
    BlockerKind.OBJECT: Kind.REFUSED,
}
_EINVAL = 22


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
        key = id(compiled)
        if key not in self._loaded:
            self._loaded[key] = would_load(compiled, self._facts)
        named = (one for one in self._loaded[key].programs if one.program.name == wanted.program)
        return next(named, None)

    @cached_property
    def _facts(self) -> LoadingFacts:
        kernel, known = self._kernel, self._kernel.known
        return LoadingFacts(
            btf=kernel.btf,
            addresses=lambda name: [s.address for s in known.symbols.candidates(name)],
            config=known.config,
            version=kernel_version(known.release, known.image.banner),
        )

    def with_arguments(self, source: Source, wanted: Wanted) -> Wanted:
        """``wanted`` with the arguments that its program reads on this kernel."""
        program, compiled = self.program(source, wanted), source.object
        if program is None or compiled is None or wanted.arguments:
            return wanted
        reads = argument_reads(compiled, program.program, self._kernel.kernel.arch, program.reached)
        arguments = tuple(
            WantedArgument(
                _text(read.ordinal, str(read.line) if read.line else None),
                ordinal=read.ordinal,
                type=read.type,
            )
            for read in reads
            if read.ordinal is not None and not read.returned
        )
        return replace(wanted, arguments=arguments)

    def findings(self, source: Source, wanted: Wanted) -> Iterator[Finding]:
        """Why the program is not loaded."""
        program = self.program(source, wanted)
        for blocker in program.blockers if program is not None else ():
            yield _finding(blocker)


def _text(ordinal: int | None, line: str | None) -> str:
    return f"arg{ordinal}" + (f" ({line})" if line else "")


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
