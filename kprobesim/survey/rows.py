"""What a catalogue says of a kernel in rows: functions, symbols, types, tracepoints, options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kprobesim.catalog.schema import RECORDS
from kprobesim.functions.clones import ENTRY_PADDING, split_clone
from kprobesim.functions.facts import FunctionFacts
from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.kprobes.rules.verdict import Verdict
from kprobesim.survey.known import KnownKernel
from kprobesim.types.btf import Btf
from kprobesim.types.c_text import declaration, prototype
from kprobesim.types.model import Composite, Enum, Function, Type, Typedef

__all__ = ["rows_of"]

Columns = dict[str, list[Any]]


def rows_of(
    kernel: KnownKernel, became: Mapping[str, FunctionFacts]
) -> Iterator[tuple[str, Columns]]:
    """All rows but those of modules: the kind of record, and its columns.

    Args:
        kernel: The kernel.
        became: What became of its functions, by their names.

    Raises:
        ImageError: The kernel is damaged where something of it is read.
        TypesError: Its BTF is damaged.
    """
    yield "kernel", _kernel(kernel)
    if kernel.image.has_symbols:
        yield "function", _functions(kernel, became)
        yield "symbol", _symbols(kernel)
    yield "tracepoint", _tracepoints(kernel)
    options = kernel.config or {}
    yield "option", {"name": list(options), "text": list(options.values())}
    if kernel.btf is not None:
        yield from _types(kernel.btf)


class _Rows:
    """Rows of one kind, filled by one value for each of the columns that they have."""

    def __init__(self, record: str, *without: str) -> None:
        self._names = [name for name in RECORDS[record] if name not in without]
        self._rows: list[tuple[Any, ...]] = []
        self.add = self._rows.append

    def columns(self) -> Columns:
        columns = zip(*self._rows, strict=True) if self._rows else ((),) * len(self._names)
        return {name: list(column) for name, column in zip(self._names, columns, strict=True)}


def _kernel(kernel: KnownKernel) -> Columns:
    facts = {
        "release": kernel.release,
        "arch": kernel.arch,
        "build id": kernel.build_id,
        "banner": kernel.image.banner.strip(),
        "model": kernel.rules.model.name,
        "container": kernel.image.container,
        "file": kernel.path.name,
    }
    known = {name: value for name, value in facts.items() if value}
    return {"name": list(known), "text": list(known.values())}


def _functions(kernel: KnownKernel, became: Mapping[str, FunctionFacts]) -> Columns:
    """Those with a symbol, then those that are only there as copies in others."""
    rules, traced, injectable = kernel.rules.rules, kernel.traced_functions, kernel.error_injection
    rows = _Rows("function", "module")
    there = set()
    probe = Kprobe()  # one for all: to make one takes a tenth of the time to judge it
    for symbol in kernel.symbols.functions():
        if symbol.name.startswith(ENTRY_PADDING):
            continue
        probe.addr = symbol.address
        verdict = rules.check(probe, suggest=False)
        fails = injectable.get(symbol.address)
        base = split_clone(symbol.name)[0]
        there.add(base)
        rows.add(
            (
                symbol.name,
                symbol.address,
                symbol.size,
                bool(verdict),
                _kind(verdict),
                verdict.errno,
                None if verdict.reason is None else verdict.reason.value,
                symbol.address in traced,
                verdict.emulated,
                kernel.symbols.count(symbol.name),
                *_became(kernel, became.get(base)),
                None if fails is None else fails.name,
            )
        )
    for name in sorted(became.keys() - there):
        copied = (name, None, None, False, None, None, None, False, None, 0)
        rows.add((*copied, *_became(kernel, became[name]), None))
    return rows.columns()


def _became(kernel: KnownKernel, facts: FunctionFacts | None) -> tuple[Any, ...]:
    """The columns from ``prototype`` to ``certainty``."""
    if facts is None:
        return (None,) * 10
    return (
        facts.prototype or _prototype(kernel.btf, facts.name),
        facts.changed_signature,
        list(facts.lost_arguments),
        facts.inlining.name.lower(),
        [copy.caller for copy in facts.inlined_into],
        list(facts.callers),
        facts.tail_called_only,
        [clone.symbol.name for clone in facts.clones],
        facts.found_by,
        facts.certainty,
    )


def _prototype(btf: Btf | None, name: str) -> str | None:
    """The function's declaration; ``None`` if the types have none, or several."""
    numbers = () if btf is None else btf.functions().get(name, ())
    function = btf.type(numbers[0]) if btf is not None and len(numbers) == 1 else None
    return prototype(function) if isinstance(function, Function) else None


def _kind(verdict: Verdict) -> str | None:
    """How a probe would run: one that becomes a jump is armed as a breakpoint first."""
    return "jump" if verdict.optimizable else verdict.kind


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _symbols(kernel: KnownKernel) -> Columns:
    names, addresses, sizes, kinds, _ = kernel.symbols.columns
    return {
        "name": [_text(name) for name in names],
        "address": list(addresses),
        "size": [None] * len(names) if sizes is None else list(sizes),
        "letter": [chr(kind) for kind in kinds],
    }


def _tracepoints(kernel: KnownKernel) -> Columns:
    rows = _Rows("tracepoint")
    events = sorted(kernel.trace_events)
    for event in events:
        rows.add(tuple(event.split(":", 1)))
    shown = {event.partition(":")[2] for event in events}
    for name in sorted(kernel.raw_tracepoints - shown):
        rows.add((None, name))
    return rows.columns()


def _types(btf: Btf, module: str | None = None) -> Iterator[tuple[str, Columns]]:
    """The types that can be named, the members of structs and unions, the values of enums."""
    types, members, enumerators = _Rows("type"), _Rows("member"), _Rows("enumerator")
    texts: dict[int, str] = {}

    def text(each: Type) -> str:
        known = texts.get(each.number)
        if known is None:
            known = texts[each.number] = declaration(each)
        return known

    for each in btf:
        if isinstance(each, Composite) and each.name:
            types.add((module, each.name, each.kind, each.size, None))
            for member in each.flat():
                members.add(
                    (
                        module,
                        each.name,
                        member.name,
                        text(member.type),
                        member.offset,
                        member.bit_offset,
                        member.bit_size or None,
                        member.type.size,
                    )
                )
        elif isinstance(each, Enum):
            owner = each.name or None
            if owner:
                types.add((module, owner, each.kind, each.size, None))
            for name, value in each.values:
                enumerators.add((module, owner, name, value))
        elif isinstance(each, Typedef):
            types.add((module, each.name, each.kind, each.size, text(each.target)))
    yield "type", types.columns()
    yield "member", members.columns()
    yield "enumerator", enumerators.columns()


def module_rows(functions: Sequence[tuple[str, str, int]]) -> Columns:
    """The functions of modules: each a module, a name, a size."""
    return {
        "module": [module for module, _, _ in functions],
        "name": [name for _, name, _ in functions],
        "size": [size for _, _, size in functions],
    }
