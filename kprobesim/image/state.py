"""A kernel image inside a snapshot: all that is known of it, read back piece by piece when asked.

The original file is not needed any more. Segments are pages that the snapshot may hold anyway, as
part of the guest's RAM; symbols are stored decoded and in order, whatever file they came from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from kprobesim.arch.architecture import ARCHITECTURES
from kprobesim.errors import ImageError, KprobesimError
from kprobesim.image.elf import Section
from kprobesim.image.files.source import MAX_IMAGE_SIZE
from kprobesim.image.kernel_image import KernelImage
from kprobesim.image.segment import Segment
from kprobesim.image.symbols.table import Columns
from kprobesim.sizes import MASK64
from kprobesim.snapshot.container import read_container
from kprobesim.snapshot.packing import (
    PackingError,
    pack,
    pack_value,
    pack_words,
    unpack,
    unpack_value,
    unpack_words,
)
from kprobesim.snapshot.pages import Frames, PagedBytes, PageReader, PagesError, PageWriter

__all__ = [
    "Sections",
    "identity",
    "late_pages",
    "pack_image",
    "page_reader",
    "read_stored_image",
    "unpack_image",
]

_IMAGE = "image"
_NAMES, _ADDRESSES = "symbols/names", "symbols/addresses"
_SEGMENT = "segment/"
_CONFIG = "image/config"
_SIZES, _KINDS = "symbols/sizes", "symbols/kinds"
_MOST_SYMBOLS = 1 << 22


class Sections(Protocol):
    """A file of named sections: a snapshot's container, or a catalogue."""

    @property
    def path(self) -> Path:
        """Which."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What it says of them."""

    @property
    def sections(self) -> Mapping[str, Any]:
        """Their names."""

    def section(self, name: str) -> memoryview:
        """The bytes of one."""

    def frames(self, name: str) -> Frames:
        """The bytes of one that is not read before some of them are asked for, if that can be."""

    def damaged(self, why: str) -> KprobesimError:
        """The error to raise for content that makes no sense."""


class StoredSegment(Segment):
    """A segment whose bytes are unpacked when first asked for."""

    __slots__ = ("_data", "_first", "_read")
    _data: memoryview | None
    _read: Callable[[], memoryview]
    _first: Callable[[int], bytes] | None

    def __init__(
        self,
        facts: dict[str, Any],
        read: Callable[[], memoryview],
        first: Callable[[int], bytes] | None = None,
    ) -> None:
        for name, value in facts.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_read", read)
        object.__setattr__(self, "_first", first)
        object.__setattr__(self, "_data", None)

    def first(self, size: int) -> bytes:
        """The first ``size`` bytes, for which little is unpacked."""
        if self._data is None and self._first is not None:
            return self._first(size)
        return super().first(size)

    @property
    def data(self) -> memoryview:
        """The bytes; raises :class:`SnapshotError`."""
        data = self._data
        if data is None:
            data = self._read()
            object.__setattr__(self, "_data", data)
        return data


def identity(image: KernelImage) -> dict[str, str | None]:
    """Which kernel ``image`` is, in whatever file: its build ID, release, and its content's hash.

    A vmlinux has a build ID, and an ARM64 Image made from it has none; both have the same bytes.
    """
    from hashlib import sha256  # 3 ms: not for who only reads

    content = sha256()
    for segment in image.segments:
        content.update(segment.vaddr.to_bytes(8, "little"))
        content.update(bytes(segment.data).rstrip(b"\0"))
    return {
        "arch": image.arch,
        "release": image.release,
        "build_id": image.build_id,
        "sha256": content.hexdigest(),
    }


def pack_image(image: KernelImage, pages: PageWriter | None) -> dict[str, bytes]:
    """Sections that hold ``image``.

    Args:
        image: The kernel.
        pages: Takes the bytes of the segments; without it, they are sections of their own.
    """
    segments = [
        {
            "vaddr": s.vaddr,
            "paddr": s.paddr,
            "memsz": s.memsz,
            "readable": s.readable,
            "writable": s.writable,
            "executable": s.executable,
            "name": s.name,
            "size": len(s.data),
            "runs": None if pages is None else pages.add(s.data),
        }
        for s in image.segments
    ]
    from dataclasses import asdict  # 5 ms: not for who only reads

    symbols = image.symbols if image.has_symbols else None
    facts = {
        "path": str(image.path),
        "arch": image.arch,
        "container": image.container,
        "entry": image.entry,
        "percpu_load": image.percpu_load,
        "build_id": image.build_id,
        "banner": image.banner,
        "segments": segments,
        "section_headers": [asdict(header) for header in image.section_headers],
        "symbols": None if symbols is None else {"count": len(symbols), "source": symbols.source},
    }
    sections = {_IMAGE: pack_value(facts)}
    if pages is not None:
        from kprobesim.image.config import config_text  # it keeps what it unpacks, as images are

        sections[_CONFIG] = pack(config_text(image) or b"")
    else:
        sections |= {_SEGMENT + s.name: bytes(s.data) for s in image.segments}
    if symbols is not None:
        columns = symbols.columns
        sections[_NAMES] = pack(b"\0".join(columns.names))
        sections[_ADDRESSES] = pack_words(columns.addresses)
        if columns.sizes is not None:
            sections[_SIZES] = pack_words(columns.sizes)
        sections[_KINDS] = pack(columns.kinds)
    return sections


def read_stored_image(path: Path) -> KernelImage:
    """The image of the kernel that runs in the snapshot ``path``; raises SnapshotError."""
    container = read_container(path)
    return unpack_image(container, page_reader(container))


def page_reader(container: Sections, prefix: str = "") -> PageReader:
    """The pages in ``container``, in sections named after ``prefix``; raises its errors."""
    count = container.facts.get(f"{prefix}pages")
    if type(count) is not int or count < 0:
        raise container.damaged("it does not say how many pages it has")
    try:
        return PageReader(
            container.frames(f"{prefix}pages"), container.section(f"{prefix}pages/sizes"), count
        )
    except PagesError as error:
        raise container.damaged(str(error)) from error


class _LatePages(PageReader):
    def __init__(self, file: Sections) -> None:
        self._file = file

    def read(self, runs: bytes | memoryview, size: int) -> bytearray:
        return self._pages.read(runs, size)

    def view(self, runs: bytes | memoryview, size: int) -> PagedBytes:
        return self._pages.view(runs, size)

    @cached_property
    def _pages(self) -> PageReader:
        return page_reader(self._file)


def late_pages(file: Sections) -> PageReader:
    """The pages in ``file``, which are looked for when the first is asked for."""
    return _LatePages(file)


def unpack_image(
    container: Sections,
    pages: PageReader | None,
    path: Path | None = None,
) -> KernelImage:
    """The image that :func:`pack_image` was given.

    Args:
        container: Its sections.
        pages: Has the bytes of the segments, if they are not sections themselves.
        path: The file that it is from, by default the one that it was from.

    Raises:
        SnapshotError: The sections make no sense; the image may also raise it later, if what it
            then reads makes none.
    """
    try:
        facts = unpack_value(container.section(_IMAGE))
        if facts["arch"] not in ARCHITECTURES:
            raise ValueError("no such architecture")
        segments = [_segment(container, pages, dict(s)) for s in facts["segments"]]
        headers = [Section(**header) for header in facts["section_headers"]]
        symbols = facts["symbols"]
        _check(facts, segments, headers)

        image = KernelImage(
            path or Path(facts["path"]),
            facts["arch"],
            facts["container"],
            facts["entry"],
            segments,
            section_headers=headers,
            read_columns=lambda _: _columns(container, symbols),
            percpu_load=facts["percpu_load"],
            read_build_id=lambda: facts["build_id"],
            banner=facts["banner"],
        )
        if _CONFIG in container.sections:
            image.stored_config = lambda: _config(container)
        return image
    except (PackingError, ImageError, AttributeError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, KprobesimError) and not isinstance(error, ImageError):
            raise
        raise container.damaged(f"its kernel image cannot be read ({error!r})") from error


def _config(container: Sections) -> bytes:
    try:
        return unpack(container.section(_CONFIG))
    except PackingError as error:
        raise container.damaged(str(error)) from error


def _segment(container: Sections, pages: PageReader | None, facts: dict[str, Any]) -> Segment:
    size, runs = facts.pop("size"), facts.pop("runs")
    if type(size) is not int or not 0 <= size <= facts["memsz"]:
        raise ValueError("a segment's size cannot be")
    if runs is None:
        whole = container.section(_SEGMENT + facts["name"])
        if len(whole) != size:
            raise ValueError("a segment's size is another")
        return StoredSegment(facts, lambda: whole)
    if type(runs) is not bytes or pages is None:
        raise ValueError("a segment's pages cannot be")

    def read() -> memoryview:
        try:
            return memoryview(pages.read(runs, size)).toreadonly()
        except PagesError as error:
            raise container.damaged(str(error)) from error

    def first(wanted: int) -> bytes:
        try:
            return pages.view(runs, size).read(0, min(wanted, size))
        except PagesError as error:
            raise container.damaged(str(error)) from error

    return StoredSegment(facts, read, first)


def _check(facts: dict[str, Any], segments: list[Segment], headers: list[Section]) -> None:
    """Types and ranges, for a file whose checksum is right and whose content still is not."""
    numbers = [facts["entry"], *([] if facts["percpu_load"] is None else [facts["percpu_load"]])]
    texts = [facts["path"], facts["container"], facts["banner"]]
    texts += [] if facts["build_id"] is None else [facts["build_id"]]
    for segment in segments:
        numbers += [segment.vaddr, segment.paddr, segment.memsz]
        texts.append(segment.name)
        flags = (segment.readable, segment.writable, segment.executable)
        if not all(isinstance(flag, bool) for flag in flags) or segment.end > MASK64 + 1:
            raise ValueError("a segment's place cannot be")
    if not 0 < sum(segment.memsz for segment in segments) <= MAX_IMAGE_SIZE:
        raise ValueError("it is larger than any kernel, or nothing")
    for header in headers:
        numbers += [header.index, header.type, header.flags, header.addr, header.offset]
        numbers += [header.size, header.link, header.info, header.align]
        texts.append(header.name)
    if not all(type(number) is int and 0 <= number <= MASK64 for number in numbers):
        raise ValueError("a number is none, or out of range")
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a text is none")


def _columns(container: Sections, facts: dict[str, Any] | None) -> tuple[Columns, str] | None:
    if facts is None:
        return None
    try:
        count = facts["count"]
        if type(count) is not int or not 0 <= count <= _MOST_SYMBOLS:
            raise ValueError("no kernel has so many symbols")
        joined = unpack(container.section(_NAMES))
        if joined.count(b"\0") != max(count - 1, 0):
            raise ValueError("there are more or fewer names than symbols")
        names = joined.split(b"\0") if count else []
        kinds = unpack(container.section(_KINDS), count)
        addresses = unpack_words("Q", container.section(_ADDRESSES), count)
        sizes = None
        if _SIZES in container.sections:
            sizes = unpack_words("Q", container.section(_SIZES), count)
        return Columns(names, addresses, sizes, kinds, ordered=True), str(facts["source"])
    except (PackingError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, KprobesimError):
            raise
        raise container.damaged(f"its symbols cannot be read ({error!r})") from error
