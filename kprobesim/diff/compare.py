"""``compare_kernels``: what a newer kernel changes for those who probe the older one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from itertools import chain

from kprobesim.arch.architecture import architecture
from kprobesim.compat.instead import became
from kprobesim.compat.kinds import Kind
from kprobesim.diff.bodies import find_renames, same_body
from kprobesim.diff.change import Change, Difference, KernelDiff, sort_key
from kprobesim.diff.kin import Kin
from kprobesim.diff.layouts import Layouts, changed_types
from kprobesim.diff.names import FunctionNames
from kprobesim.diff.needs import Needs, needs_of
from kprobesim.diff.probing import changed_probing
from kprobesim.diff.prototypes import Prototypes, changed_events, changed_functions, declared
from kprobesim.errors import UsageError
from kprobesim.functions.facts import Inlining
from kprobesim.sources.wanted import Source
from kprobesim.survey.known import KnownKernel

__all__ = ["compare_kernels"]


def compare_kernels(
    old: KnownKernel,
    new: KnownKernel,
    sources: Iterable[Source] | None = None,
    progress: Callable[[str], None] | None = None,
) -> KernelDiff:
    """Compare two kernels, modules apart.

    Args:
        old: The kernel on which the probes work.
        new: The kernel on which they are to work.
        sources: Compare just what these depend on; by default all that there is.
        progress: Hears what takes long.

    Raises:
        UsageError: The kernels are of different architectures.
        KprobesimError: One of them is damaged.
    """
    if old.arch != new.arch:
        raise UsageError(f"{old.name} is for {old.arch}, {new.name} for {new.arch}")
    return _Comparison(old, new, progress or (lambda _: None)).of(sources)


class _Comparison:
    def __init__(self, old: KnownKernel, new: KnownKernel, tell: Callable[[str], None]) -> None:
        self._kernels = old, new
        self._tell = tell
        self._old, self._new = FunctionNames(old), FunctionNames(new)
        self._notes: list[str] = []
        self._before = self._prototypes(old)
        self._after = self._prototypes(new)

    def _prototypes(self, kernel: KnownKernel) -> Prototypes | None:
        if kernel.btf is None:
            self._notes.append(f"{kernel.name} carries no types: these are not compared")
            return None
        return Prototypes(kernel.btf)

    def of(self, sources: Iterable[Source] | None) -> KernelDiff:
        """All differences, or just those of what the sources need."""
        needs = None if sources is None else self._needs(sources)
        differences = sorted(
            chain(self._functions(needs), self._events(needs), self._types(needs)), key=sort_key
        )
        old, new = self._kernels
        unchanged: tuple[str, ...] = ()
        if needs is not None:
            changed = {each.name for each in differences}
            all_of_them = chain(needs.functions, needs.events, needs.types)
            unchanged = tuple(sorted(name for name in all_of_them if name not in changed))
        return KernelDiff(
            old.name, new.name, tuple(differences), tuple(dict.fromkeys(self._notes)), unchanged
        )

    def _needs(self, sources: Iterable[Source]) -> Needs:
        old = self._kernels[0]
        prefix = architecture(old.arch).syscall_prefix
        names = self._old.addresses
        needs = needs_of(sources, names, prefix, old.btf, self._before)
        for name in sorted(needs.functions):
            if name not in names and name not in self._old.clones:
                needs.functions.discard(name)
                needs.notes.append(f"{old.name} has no function {name}")
        for name in sorted(needs.events - old.raw_tracepoints):
            needs.events.discard(name)
            needs.notes.append(f"{old.name} has no tracepoint {name}")
        self._notes += needs.notes
        return needs

    # -- functions -------------------------------------------------------------------------------

    def _functions(self, needs: Needs | None) -> Iterator[Difference]:
        self._tell("comparing functions")
        before, after = self._old.addresses, self._new.addresses
        wanted = before.keys() if needs is None else needs.functions & before.keys()
        both = [name for name in wanted if name in after]
        gone = {name: before[name][0] for name in wanted if name not in after}
        fresh = {name: places[0] for name, places in after.items() if name not in before}
        yield from self._lost(gone, fresh, needs)
        yield from changed_probing(self._old, self._new, both)
        yield from self._missing_calls(both)
        if self._before is not None and self._after is not None:
            # Of several functions of one name the types describe any.
            single = [name for name in both if len(before[name]) == len(after[name]) == 1]
            for each in changed_functions(self._before, self._after, single):
                same = each.change is Change.SIGNATURE and self._is_same_code(each.name)
                yield replace(each, change=Change.TOLD_OTHERWISE) if same else each
        if needs is None:
            for name in fresh:
                yield Difference(Change.NEW, name)

    def _lost(
        self, gone: dict[str, int], fresh: dict[str, int], needs: Needs | None
    ) -> Iterator[Difference]:
        if not gone:
            return
        clones = self._new.clones
        left = {name: place for name, place in gone.items() if name not in clones}
        self._tell(f"looking for {len(left)} functions that are gone among {len(fresh)} new ones")
        kin = Kin(self._before, self._after, fresh)
        renamed = find_renames(self._old.code, left, self._new.code, fresh, kin.are)
        for name in gone:
            if name in renamed and needs is None:
                fresh.pop(renamed[name], None)
            found = self._fate(name, renamed.get(name), kin)
            yield replace(found, old=self._declared(name))

    def _fate(self, name: str, renamed: str | None, kin: Kin) -> Difference:
        """What became of a function that has no symbol any more, by what is surest."""
        clones = self._new.clones.get(name)
        if clones is not None:
            return Difference(Change.SUFFIXED, name, new=", ".join(clones))
        if renamed is not None:
            return Difference(Change.RENAMED, name, new=renamed, details=("by its code",))
        step = became(name, self._new.addresses)
        if step is not None and step.kind is Kind.RENAMED:
            names = ", ".join(step.names)
            return Difference(Change.RENAMED, name, new=names, details=("as history has it",))
        facts = self._kernels[1].functions.facts(name)
        if facts.inlining is Inlining.WHOLE and facts.certainty != "guess":
            callers = ", ".join(sorted({copy.caller for copy in facts.inlined_into}))
            how = f"{facts.certainty}, by {facts.found_by}"
            return Difference(Change.INLINED, name, new=callers, details=(how,))
        if step is not None:
            hint = f"what sees the same calls: {', '.join(step.names)}"
            return Difference(Change.GONE, name, details=(hint,))
        other = kin.nearest(name)
        if other is not None:
            hint = f"perhaps it is {other} now, which takes the same"
            return Difference(Change.GONE, name, details=(hint,))
        return Difference(Change.GONE, name)

    def _declared(self, name: str) -> str:
        found = None if self._before is None else self._before.function(name)
        if self._before is None or found is None:
            return ""
        return declared(self._before.shape(found), name)

    def _is_same_code(self, name: str) -> bool:
        before, after = self._old.addresses[name][0], self._new.addresses[name][0]
        return same_body(self._old.code, before, self._new.code, after)

    def _missing_calls(self, names: Collection[str]) -> Iterator[Difference]:
        """Functions that have twins or clones in the new kernel only."""
        for name in names:
            places, was = self._new.addresses[name], self._old.addresses[name]
            if len(places) > 1 and len(was) == 1:
                yield Difference(
                    Change.MISSES_CALLS, name, "one function", f"{len(places)} of that name"
                )
            clones = set(self._new.clones.get(name, ()))
            if clones and name not in self._old.clones:
                yield Difference(Change.MISSES_CALLS, name, "no clones", ", ".join(sorted(clones)))

    # -- tracepoints and types -------------------------------------------------------------------

    def _events(self, needs: Needs | None) -> Iterator[Difference]:
        old, new = (kernel.raw_tracepoints for kernel in self._kernels)
        for name in old - new if needs is None else needs.events - new:
            yield Difference(Change.EVENT_GONE, name)
        if needs is None:
            for name in new - old:
                yield Difference(Change.EVENT_NEW, name)
        if self._before is not None and self._after is not None:
            yield from changed_events(
                self._before, self._after, None if needs is None else needs.events
            )

    def _types(self, needs: Needs | None) -> Iterator[Difference]:
        if self._before is None or self._after is None:
            return
        self._tell("comparing types")
        before, after = Layouts(self._before.texts), Layouts(self._after.texts)
        yield from changed_types(before, after, None if needs is None else needs.types)
