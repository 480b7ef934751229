"""What became of functions is told by a catalogue as by the kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from kprobesim import CatalogError
from kprobesim.catalog.file import open_catalog
from kprobesim.catalog.writer import CatalogWriter
from kprobesim.functions.facts import Clone, Evidence, FunctionFacts, InlinedAt, Inlining
from kprobesim.image import load_image
from kprobesim.survey.fact_store import FactStore, pack_facts
from kprobesim.survey.known import open_known


def test_a_catalogue_tells_what_the_code_tells(sample: Path, catalog: Path) -> None:
    here, there = open_known(sample), open_known(catalog)
    assert there.functions.names() == sorted(here.functions.names())
    for facts in there.functions.facts_of_all():
        assert facts == here.functions.facts(facts.name)
    for name in ("no_such_function", "", "\udc80", "gcd.isra.0", "Linux", "%s"):
        assert there.functions.facts(name) == here.functions.facts(name)
    assert there.functions.strings == here.functions.strings


def test_all_that_is_known_is_kept(sample: Path, tmp_path: Path, arch: str) -> None:
    symbols, other_symbols = (
        load_image(sample.with_name(f"guest-{name}.elf")).symbols
        for name in (arch, "arm64" if arch == "x86_64" else "x86_64")
    )
    one, other = symbols["gcd"], symbols["fib"]
    facts = FunctionFacts(
        "gcd",
        symbols=(one,),
        clones=(Clone(other, "isra"),),
        inlining=Inlining.PART,
        inlined_into=(InlinedAt("lcm", "math.c", 12, 0x1234), InlinedAt("mix")),
        callers=("lcm", "mix"),
        tail_called_only=True,
        address_taken=True,
        traceable=False,
        prototype="int gcd(int a, int b)",
        changed_signature=True,
        lost_arguments=(0, 1),
        found_by="dwarf",
        certainty="exact",
        evidence=(Evidence("it says so", "dwarf", "exact"),),
        argument_registers=("di", "si"),
    )
    many = [FunctionFacts(f"f{number}", argument_registers=()) for number in range(200)]
    path = tmp_path / "facts.parquet"
    with CatalogWriter(path, "", "") as writer:
        writer.add_sections(pack_facts(open_known(sample).functions, [*many, facts]))
        writer.finish({})
    store = FactStore(open_catalog(path), symbols)
    assert store.facts("gcd") == facts
    told = [each for each in store.facts_of_all() if each.name != "fib"]  # which is no real clone
    assert told == sorted([*many, facts], key=lambda each: each.name)
    assert store.facts("a").inlining is store.facts("zz").inlining is Inlining.GONE
    assert store.facts("fib").symbols == (other,)  # as the clone that it is said to be
    with pytest.raises(CatalogError, match="no symbol gcd at"):
        FactStore(open_catalog(path), other_symbols).facts("gcd")
