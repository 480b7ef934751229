"""``CatalogedKernel``: a kernel in a catalogue, asked as any other and answering at once."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from kprobesim.catalog.file import Catalog
from kprobesim.errors import UsageError
from kprobesim.functions.facts import FunctionFacts
from kprobesim.image.modules.store import StoredFinder, pack_modules
from kprobesim.kernel.offline import Opened, pack_kernel
from kprobesim.snapshot.packing import (
    PackingError,
    pack_value,
    pack_words,
    unpack_value,
    unpack_words,
)
from kprobesim.survey.fact_store import FactStore, pack_facts
from kprobesim.survey.known import FactSource, KnownKernel
from kprobesim.trace.kernel_facts import event_texts

__all__ = ["CatalogedKernel", "pack_known"]


class CatalogedKernel(KnownKernel):
    """The kernel in ``catalog``."""

    def __init__(self, path: Path, opened: Opened, catalog: Catalog) -> None:
        super().__init__(path, opened)
        self.catalog = catalog

    @cached_property
    def _survey(self) -> Mapping[str, Any]:
        try:
            found = unpack_value(self.catalog.section("survey"))
            if not isinstance(found, dict):
                raise PackingError("it is nothing")
        except PackingError as error:
            raise self.catalog.damaged(f"its survey cannot be read ({error})") from error
        return found

    def _listed(self, name: str) -> frozenset[str]:
        names = self._survey.get(name)
        if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
            raise self.catalog.damaged(f"its {name} are none")
        return frozenset(names)

    @cached_property
    def traced_functions(self) -> Mapping[int, str]:
        """What ``available_filter_functions`` lists once it has booted: names by address."""
        names, addresses, *_ = self.symbols.columns
        try:
            indices = unpack_words("I", self.catalog.section("survey/traced"))
            texts = [name.decode("utf-8", "surrogateescape") for name in names]
            return {addresses[index]: texts[index] for index in indices}
        except (PackingError, IndexError) as error:
            raise self.catalog.damaged(f"its traced functions make no sense ({error})") from error

    @cached_property
    def raw_tracepoints(self) -> frozenset[str]:
        """All tracepoints, also those that have no event."""
        return self._listed("raw_tracepoints")

    @cached_property
    def trace_events(self) -> frozenset[str]:
        """All events of tracefs."""
        return self._listed("trace_events")

    @cached_property
    def functions(self) -> FactSource:
        """What became of each function."""
        return FactStore(self.catalog, self.symbols)

    @cached_property
    def config(self) -> Mapping[str, str] | None:
        """Its options; ``None`` where nobody told."""
        found = self._survey.get("config")
        return found if isinstance(found, dict) else None

    @cached_property
    def event_texts(self) -> Mapping[str, str]:
        """What it says to each error in definitions of ``kprobe_events``, by the error's name."""
        found = self._survey.get("event_texts")  # which older catalogues do not have
        return found if isinstance(found, dict) else event_texts(self.image)

    def module_types(self, module: str) -> tuple[bytes, bytes | None] | None:
        """The sections ``.BTF`` and ``.BTF.base`` of a module; ``None`` without.

        Raises:
            UsageError: There is no such module.
        """
        finder = self.rules.finder
        assert isinstance(finder, StoredFinder)
        if module not in finder.store.names():
            raise UsageError(f"{self.name}: no module {module} can be had")
        return finder.store.types(module)


def pack_known(
    kernel: KnownKernel, facts_of_all: Iterable[FunctionFacts], *, module_files: bool
) -> tuple[dict[str, Any], dict[str, bytes], list[tuple[str, str, int]]]:
    """Facts and sections for a catalogue, and the functions of modules for its rows.

    Args:
        kernel: The kernel.
        facts_of_all: What became of its functions.
        module_files: Keep its modules themselves, not only their functions and types.

    Raises:
        KprobesimError: It is damaged where something that is packed lies.
    """
    facts, sections = pack_kernel(kernel.rules)
    config = kernel.config
    sections["survey"] = pack_value(
        {
            "raw_tracepoints": sorted(kernel.raw_tracepoints),
            "trace_events": sorted(kernel.trace_events),
            "config": None if config is None else dict(config),
            "event_texts": dict(kernel.event_texts),
        }
    )
    indices = array("I")
    if kernel.image.has_symbols:
        traced = dict(kernel.traced_functions)
        names, addresses, *_ = kernel.symbols.columns
        for index, (name, address) in enumerate(zip(names, addresses, strict=True)):
            if address in traced and traced[address] == name.decode("utf-8", "surrogateescape"):
                del traced[address]
                indices.append(index)
    sections["survey/traced"] = pack_words(indices)
    sections |= pack_facts(kernel.functions, facts_of_all)
    functions: list[tuple[str, str, int]] = []
    if kernel.rules.finder is not None:
        modules = pack_modules(kernel.rules.finder, files=module_files)
        sections |= modules.sections
        functions = modules.functions
        facts["problems"] = modules.problems
    return facts, sections, functions
