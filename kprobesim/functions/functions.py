"""``Functions``: what became of the functions of one kernel, each told when it is asked for."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence, Set
from functools import cached_property

from kprobesim.functions.arguments import Arguments
from kprobesim.functions.clones import split_clone
from kprobesim.functions.code import Code, Read
from kprobesim.functions.declared import Declared
from kprobesim.functions.dwarf.debug_file import open_symcache
from kprobesim.functions.dwarf.inlines import Inlines
from kprobesim.functions.facts import Clone, FunctionFacts, InlinedAt
from kprobesim.functions.inlining import Judged, by_code, by_dwarf
from kprobesim.functions.own_names import OwnNames
from kprobesim.functions.seen import Seen, bodies
from kprobesim.functions.signature import judge_signature
from kprobesim.image import KernelImage, Symbol
from kprobesim.image.loaded_image import LoadedImage
from kprobesim.types.btf import Btf

__all__ = ["Functions", "open_functions"]

#: So many functions on each side tell what is usual where a function is.
_BESIDE = 3


class Functions:
    """What became of the functions of ``image``, and of the modules that it has by now.

    >>> functions.facts("blk_account_io_start").inlining
    <Inlining.WHOLE: 'wholly inlined'>

    Args:
        image: The kernel, with or without modules.
        read: Gives its code as it runs.
        btf: Its types.
        dwarf: What its debug information says of inlined copies. Without it, that has to be
            concluded from types and code, and each answer says how sure it is.
    """

    def __init__(
        self, image: KernelImage, read: Read, btf: Btf | None = None, dwarf: Inlines | None = None
    ) -> None:
        self.image = image
        self.declared = Declared(btf, image.arch)
        self.dwarf = dwarf
        self._read = read
        self._codes: dict[str, Code] = {}
        self._sites_of: frozenset[int] = frozenset()
        self._sites: Sequence[int] = ()

    # -- the code of kernel and modules ----------------------------------------------------------

    @cached_property
    def kernel(self) -> Code:
        """The code of the kernel itself."""
        return Code(self._kernel_image, self._read)

    @property
    def _kernel_image(self) -> KernelImage:
        return self.image.kernel if isinstance(self.image, LoadedImage) else self.image

    def codes(self) -> Iterator[Code]:
        """The code of the kernel, and of each module that there is now."""
        yield self.kernel
        modules = self.image.modules if isinstance(self.image, LoadedImage) else {}
        for name, module in modules.items():
            code = self._codes.get(name)
            if code is None or code.part is not module:
                code = self._codes[name] = Code(module, self._read, self._all_entries)
            yield code

    def _all_entries(self) -> Set[int]:
        """Where functions of the kernel and of all modules begin."""
        return self.kernel.entries.union(*(code.entries for code in self.codes()))

    @cached_property
    def _clones_declared(self) -> bool:
        """Whether the types have prototypes of functions that are there as clones only."""
        symbols = self.kernel.part.symbols
        return any(
            base in self.declared and not symbols.candidates(base) for base in self.kernel.clones
        )

    # -- facts -----------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """All functions of the source that are known of: with a symbol, a clone or a copy."""
        found = {split_clone(name)[0] for name in self.kernel.names.values()}
        found |= self._own_names.compiled if self.dwarf is None else self.dwarf.names()
        return sorted(found)

    @property
    def strings(self) -> frozenset[bytes]:
        """The kernel's constants that could be names of functions."""
        return self._own_names.strings

    def facts_of_all(self) -> Iterator[FunctionFacts]:
        """The facts of each of :meth:`names`."""
        return map(self.facts, self.names())

    def facts(self, name: str) -> FunctionFacts:
        """What became of the function ``name``, which may also be the full name of a clone.

        Raises:
            ImageError: The image is damaged where its symbols or tables are.
        """
        seen = self.seen(name)
        signature = judge_signature(
            seen,
            self.declared,
            self._arguments,
            clones_declared=self._clones_declared,
            clang="clang" in self.image.banner,
        )
        judged = self._judge(seen)
        return FunctionFacts(
            name=name,
            symbols=seen.symbols,
            clones=seen.clones,
            inlining=judged.inlining,
            inlined_into=judged.copies,
            callers=seen.callers,
            tail_called_only=bool(seen.jumps) and not seen.calls and not seen.taken,
            address_taken=seen.taken,
            traceable=seen.traceable,
            prototype=self.declared.text(seen.base),
            changed_signature=signature.changed,
            lost_arguments=signature.lost,
            argument_registers=signature.registers,
            found_by=judged.found_by,
            certainty=judged.certainty,
            evidence=(*judged.evidence, *signature.evidence),
        )

    def seen(self, name: str) -> Seen:
        """What symbols and code tell of the function of that name."""
        symbols = tuple(s for s in self.image.symbols.candidates(name) if s.is_function)
        clones = tuple(self._clones(name))
        found = bodies(symbols, clones)
        callers, calls, jumps = self._callers(name, found)
        entries = {symbol.address for symbol in found}
        taken = any(not code.taken.isdisjoint(entries) for code in self.codes())
        traceable = any(map(self.is_traceable, symbols)) if symbols else None
        return Seen(name, symbols, clones, callers, calls, jumps, taken, traceable)

    def _clones(self, name: str) -> Iterator[Clone]:
        for code in self.codes():
            for full in code.clones.get(name, ()):
                for symbol in code.part.symbols.candidates(full):
                    yield Clone(symbol, split_clone(full)[1][0])

    def _callers(self, name: str, found: Sequence[Symbol]) -> tuple[tuple[str, ...], int, int]:
        """Who branches to those, and how many calls and jumps there are."""
        callers: dict[str, None] = {}
        calls = jumps = 0
        codes = list(self.codes())
        for entry in dict.fromkeys(symbol.address for symbol in found):
            for code in codes:
                for caller, is_call in code.callers_of(entry):
                    if caller != name:
                        callers[caller] = None
                        calls += is_call
                        jumps += not is_call
        return tuple(callers), calls, jumps

    def is_traceable(self, symbol: Symbol) -> bool:
        """Whether ftrace has a site in the function."""
        return self._has_site(symbol.address, symbol.address + max(symbol.size, 1))

    def _has_site(self, start: int, end: int) -> bool:
        sites = self._ftrace_sites
        at = bisect_left(sites, start)
        return at < len(sites) and sites[at] < end

    @property
    def _ftrace_sites(self) -> Sequence[int]:
        sites = self.image.ftrace_sites
        if sites is not self._sites_of:  # modules have come or gone
            self._sites_of, self._sites = sites, sorted(sites)
        return self._sites

    def _judge(self, seen: Seen) -> Judged:
        if self.dwarf is not None:
            judged = by_dwarf(seen, self.dwarf)
            if judged is not None:
                return judged
        return by_code(
            seen,
            self._own_names,
            self._holders_of_rests(seen),
            declared_inline=self._seems_inline(seen),
        )

    def _seems_inline(self, seen: Seen) -> bool:
        """Whether it is local, and left out by ftrace among functions that are not.

        The kernel's ``inline`` means ``notrace`` as well (include/linux/compiler_types.h).
        """
        if seen.traceable is not False or seen.taken or not seen.calls:
            return False
        symbol = seen.symbols[0]
        if (
            symbol.module
            or not symbol.type.islower()
            or not self.image.is_kernel_text(symbol.address)
        ):
            return False
        near = self.kernel.neighbours(symbol.address, _BESIDE)
        traced = sum(self._has_site(start, self.kernel.end_of(start)) for start in near)
        return 3 * traced >= 2 * len(near)

    def _holders_of_rests(self, seen: Seen) -> Iterator[InlinedAt]:
        """Who branches to a part that was split off the function, other than itself."""
        for clone in seen.clones:
            if clone.kind != "part":
                continue
            for site, _ in self.kernel.branches_to(clone.symbol.address):
                holder = self.kernel.caller_at(site)
                if holder is not None and split_clone(holder)[0] != seen.base:
                    yield InlinedAt(holder, address=site)

    @cached_property
    def _arguments(self) -> Arguments:
        return Arguments(self.kernel, self.declared)

    @cached_property
    def _own_names(self) -> OwnNames:
        return OwnNames(self.kernel)


def open_functions(
    image: KernelImage,
    read: Read,
    btf: Btf | None = None,
    *,
    debug: str | os.PathLike[str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Functions:
    """The functions of ``image``, with what its debug information tells, if there is any.

    Args:
        image: The kernel, with or without modules.
        read: Gives its code as it runs.
        btf: Its types.
        debug: A vmlinux with its debug information; else the image's own file is looked at.
        progress: Hears that debug information is read, which takes seconds the first time.

    Raises:
        ImageError: ``debug`` is of another build, has no debug information, or is damaged.
        UsageError: symbolic, which reads it, is not installed.
    """
    kernel = image.kernel if isinstance(image, LoadedImage) else image
    cache = open_symcache(kernel, debug, progress)
    return Functions(image, read, btf, None if cache is None else Inlines(cache, kernel))
