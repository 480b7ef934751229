"""A kernel from its catalogue answers as the kernel itself does."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from kprobesim import KernelImage, UsageError, open_rules
from kprobesim.catalog.writer import CatalogWriter
from kprobesim.image import load_image
from kprobesim.survey.cataloged import CatalogedKernel, pack_known
from kprobesim.survey.known import KnownKernel, open_known

_EVERY = 16  # bytes between the points that are asked about


def _same_image(one: KernelImage, other: KernelImage) -> None:
    """All that a kernel image knows is the same."""
    for name in ("arch", "release", "version", "build_id", "entry", "banner", "percpu_load"):
        assert getattr(one, name) == getattr(other, name), name
    for name in ("regions", "text_ranges", "init_text", "kallsyms_all", "ftrace_sites", "sections"):
        assert getattr(one, name) == getattr(other, name), name
    for name in ("mcount_sites", "kprobe_blacklist", "exception_table", "bug_table"):
        assert list(getattr(one, name)) == list(getattr(other, name)), name
    for name in ("exception_table", "bug_table"):
        assert getattr(one, name).confidence == getattr(other, name).confidence
    assert list(one.bug_table.records()) == list(other.bug_table.records())
    assert list(one.jump_labels.ranges()) == list(other.jump_labels.ranges())
    assert list(one.static_calls.ranges()) == list(other.static_calls.ranges())
    assert dict(one.error_injection) == dict(other.error_injection)
    assert [bytes(s.data) for s in one.segments] == [bytes(s.data) for s in other.segments]
    assert list(one.symbols) == list(other.symbols)
    assert one.symbols.source == other.symbols.source


def _same_answers(one: KnownKernel, other: KnownKernel, addresses: list[int]) -> None:
    for address in addresses:
        for events in (False, True):
            wanted = one.rules.check(addr=address, events=events)
            assert other.rules.check(addr=address, events=events) == wanted
        assert one.symbols.at(address) == other.symbols.at(address)


def test_image_and_answers_are_the_same(sample: Path, catalog: Path) -> None:
    here, there = open_known(sample), open_known(catalog)
    assert isinstance(there, CatalogedKernel)
    _same_image(here.image, there.image)
    start, end = here.image.text_ranges[0]
    _same_answers(here, there, list(range(start, end, _EVERY)))
    for symbol in here.symbols:
        assert here.symbols.candidates(symbol.name) == there.symbols.candidates(symbol.name)
    assert here.rules.check("no_such") == there.rules.check("no_such")  # with names like it
    assert here.rules.model == there.rules.model
    assert (here.name, here.release, here.arch) == (there.name, there.release, there.arch)


def test_what_only_kernels_are_asked_is_the_same(sample: Path, catalog: Path) -> None:
    here, there = open_known(sample), open_known(catalog)
    names = "traced_functions error_injection raw_tracepoints trace_events event_texts"
    for name in names.split():
        assert getattr(here, name) == getattr(there, name), name
    assert here.config == there.config and here.modules == there.modules == ()
    assert there.btf is None
    with pytest.raises(UsageError, match="no module nowhere"):
        there.module_types("nowhere")


def test_code_across_its_ends_is_read(sample: Path, catalog: Path) -> None:
    here, there = open_rules(sample), open_rules(catalog)
    for start, end in here.image.text_ranges:
        for at, size in ((start, 64), (end - 8, 16), (start - 4, 8), (start, end - start)):
            if here.image.contains(at) and here.image.contains(at + size - 1):
                assert there.read(at, size) == here.read(at, size)


def test_an_image_is_loaded_from_a_catalogue(sample: Path, catalog: Path) -> None:
    _same_image(load_image(sample), load_image(catalog))


def test_symbols_are_for_images(catalog: Path, sample: Path) -> None:
    for opened in (open_known, open_rules, load_image):
        with pytest.raises(UsageError, match="is a catalogue"):
            opened(catalog, symbols=sample)  # type: ignore[operator]


def test_a_modules_place_is_judged_by_its_own_file(sample: Path, catalog: Path, arch: str) -> None:
    here, there = open_rules(sample), open_rules(catalog)
    module = sample.parent / f"module-{arch}.ko"
    assert there.offer(module) == here.offer(module) == "kprobesim_sample"
    place = "kprobesim_sample:sample_add"
    assert there.check(place) == here.check(place) and there.check(place)
    missing = there.check("nowhere:f").message or ""
    assert "no module nowhere in it" in missing


def test_a_real_kernel_answers_the_same(real_arm64_image: Path, tmp_path: Path) -> None:
    open_known(real_arm64_image)  # so that it comes from the cache, as it does for people
    here = open_known(real_arm64_image)
    file = tmp_path / "kernel.parquet"
    here.rules.finder = None  # its modules take seconds
    with CatalogWriter(file, here.release, here.arch) as writer:
        facts, sections, functions = pack_known(here, (), module_files=False)
        writer.add_sections(sections)
        writer.finish({**facts, "kernel": {}, "source": {}})
    assert functions == []
    there = open_known(file)
    for name in ("ftrace_sites", "kallsyms_all", "kprobe_blacklist", "init"):
        assert getattr(here.image, name) == getattr(there.image, name), name
    names = "traced_functions raw_tracepoints trace_events config event_texts"
    for name in names.split():
        assert getattr(here, name) == getattr(there, name), name
    chance = random.Random(20261129)
    start, end = here.image.text_ranges[0]
    _same_answers(here, there, [chance.randrange(start, end, 4) for _ in range(300)])
    segment = here.image.segments[0]
    assert bytes(there.image.segments[0].data) == bytes(segment.data)
    assert here.btf is not None and there.btf is not None
    assert there.btf.data == here.btf.data
