"""``StoredImage``: a kernel image in a catalogue, whose tables and symbols were found before.

To find a table in an image that names functions only takes a second; to unpack what was found takes
milliseconds, and nothing is unpacked that is not asked for.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, wraps
from typing import Any, TypeVar

from kprobesim.errors import KprobesimError
from kprobesim.image.kernel_image import KernelImage
from kprobesim.image.state import Sections, late_pages, pack_image, unpack_image
from kprobesim.image.stored_text import StoredText, pack_text, without_text
from kprobesim.image.symbols.packed import PackedSymbols, pack_symbols
from kprobesim.image.symbols.table import SymbolTable
from kprobesim.image.tables.bugtable import BugTable, KnownBugs
from kprobesim.image.tables.error_injection import ErrorInjection, InjectionType
from kprobesim.image.tables.extable import ExceptionEntry, ExceptionTable
from kprobesim.image.tables.patch_sites import PatchSites
from kprobesim.snapshot.packing import PackingError, pack, pack_words, unpack, unpack_words
from kprobesim.snapshot.pages import PageWriter
from kprobesim.types.btf import Btf
from kprobesim.types.indexed import BtfIndex, IndexedBtf, index_of

__all__ = ["StoredImage", "pack_stored", "unpack_stored"]

_INJECTION_TYPES = tuple(InjectionType)
_SIGN, _WORD = 1 << 31, (1 << 32) - 1
_LARGEST_BTF = 256 << 20

_T = TypeVar("_T")


def _unpacking(read: Callable[[StoredImage], _T]) -> cached_property[_T]:
    """A property that unpacks a section, and says so if that makes no sense."""

    @wraps(read)
    def sound(image: StoredImage) -> _T:
        try:
            return read(image)
        except (PackingError, LookupError, TypeError, ValueError) as error:
            if isinstance(error, KprobesimError):
                raise
            raise image.file.damaged(str(error)) from error

    return cached_property(sound)


class StoredImage(KernelImage):
    """``image`` with the tables that were packed with it.

    Args:
        image: The kernel, without symbols.
        file: Has the sections, and ``"tables"`` among its facts.
    """

    def __init__(self, image: KernelImage, file: Sections) -> None:
        self.file = file
        self._section = file.section
        self._facts: Mapping[str, Any] = file.facts.get("tables", {})
        self.text = StoredText(file)
        super().__init__(
            image.path,
            image.arch,
            image.container,
            image.entry,
            [self.text.restored(segment) for segment in image.segments],
            section_headers=image.section_headers,
            read_columns=lambda _: None,
            percpu_load=image.percpu_load,
            read_build_id=lambda: image.build_id,
            banner=image.banner,
        )

    @_unpacking
    def _symbols(self) -> SymbolTable | None:
        facts = self._facts.get("symbols")
        if facts is None:
            return None
        extents = [(segment.vaddr, segment.end) for segment in self.segments]
        return PackedSymbols(self._section, facts, extents)

    @cached_property
    def kallsyms_all(self) -> bool:
        """Whether the kernel itself knows symbols of data."""
        return bool(self._facts.get("kallsyms_all"))

    @_unpacking
    def btf(self) -> Btf | None:
        """The types of the kernel; ``None`` without."""
        if not self._facts.get("btf"):
            return None
        index = BtfIndex(
            unpack_words("I", self._section("btf/places")),
            unpack_words("I", self._section("btf/by_name")),
        )
        data = unpack(self._section("btf"), limit=_LARGEST_BTF)
        return IndexedBtf(data, index, self.path.name)

    def _rows(self, name: str, width: int) -> Iterator[tuple[int, ...]]:
        words = unpack_words("Q", self._section(f"tables/{name}"))
        if len(words) % width:
            raise PackingError(f"the table {name} is cut short")
        return zip(*(words[column::width] for column in range(width)), strict=True)

    def read_code(self, address: int, size: int) -> bytes:
        """``size`` bytes as they are once the kernel has booted; ``ImageError`` outside of it."""
        found = self.text.find(address, size)
        if found is None:
            return bytes(self.text.lay_over(bytearray(self.read(address, size)), address))
        return found

    @_unpacking
    def exception_table(self) -> ExceptionTable:
        """``__ex_table``."""
        entries = []
        for insn, fixup, meta, handler in self._rows("exceptions", 4):
            data = (meta & _WORD ^ _SIGN) - _SIGN
            kind = (meta >> 32) - 1
            entries.append(
                ExceptionEntry(insn, fixup, None if kind < 0 else kind, data, handler or None)
            )
        return ExceptionTable.of(entries, self._confidence("exceptions"))

    @_unpacking
    def bug_table(self) -> BugTable:
        """``__bug_table``."""
        files = unpack(self._section("tables/bug_files")).decode("utf-8", "replace").split("\n")
        entries = {
            address: (record, meta >> 32, meta >> 16 & 0xFFFF, meta & 0xFFFF)
            for address, record, meta in self._rows("bugs", 3)
        }
        if any(file > len(files) for _, file, _, _ in entries.values()):
            raise PackingError("a BUG is in none of the files")
        return KnownBugs(entries, files, self._confidence("bugs"))

    def _confidence(self, table: str) -> float:
        return float(self._facts.get("confidence", {}).get(table, 0.0))

    @_unpacking
    def mcount_sites(self) -> Sequence[int]:
        """Addresses of the calls or nops that ftrace patches, in the table's order."""
        return unpack_words("Q", self._section("tables/mcount"))

    @_unpacking
    def ftrace_sites(self) -> frozenset[int]:
        """Where ftrace patches the code."""
        return frozenset(unpack_words("Q", self._section("tables/ftrace")))

    @_unpacking
    def jump_labels(self) -> PatchSites:
        """The bytes of all jump labels."""
        return PatchSites((start, size) for start, size in self._rows("jump_labels", 2))

    @_unpacking
    def static_calls(self) -> PatchSites:
        """The bytes of all static calls."""
        return PatchSites((start, size) for start, size in self._rows("static_calls", 2))

    @_unpacking
    def error_injection(self) -> ErrorInjection:
        """``_error_injection_whitelist``."""
        rows = list(self._rows("error_injection", 2))
        if any(kind >= len(_INJECTION_TYPES) for _, kind in rows):
            raise PackingError("an error is of no known type")
        return ErrorInjection.of({address: _INJECTION_TYPES[kind] for address, kind in rows})

    @_unpacking
    def kprobe_blacklist(self) -> Sequence[int]:
        """Addresses in ``_kprobe_blacklist``."""
        return unpack_words("Q", self._section("tables/blacklist"))


def unpack_stored(file: Sections) -> StoredImage:
    """The image in ``file``.

    Raises:
        KprobesimError: The file's own error, for content that makes no sense; the image may also
            raise it later.
    """
    return StoredImage(unpack_image(file, late_pages(file), file.path), file)


def pack_stored(
    image: KernelImage, code: Sequence[tuple[int, memoryview]]
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Facts and sections of which :func:`unpack_stored` makes ``image`` again.

    Args:
        image: The kernel.
        code: Its areas of code as they run, with their addresses.

    Raises:
        ImageError: The image is damaged where one of its tables is.
    """
    tables, sections = _pack_tables(image)
    facts, text = pack_text(code)
    pages = PageWriter()
    bare = KernelImage(
        image.path,
        image.arch,
        image.container,
        image.entry,
        [without_text(segment, code) for segment in image.segments],
        section_headers=image.section_headers,
        read_columns=lambda _: None,
        percpu_load=image.percpu_load,
        read_build_id=lambda: image.build_id,
        banner=image.banner,
    )
    sections |= text | pack_image(bare, pages)
    sections["pages"], sections["pages/sizes"] = pages.frames()
    return {**facts, "tables": tables, "pages": len(pages)}, sections


def _pack_tables(image: KernelImage) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Facts and sections of the tables of ``image``."""
    facts: dict[str, Any] = {
        "kallsyms_all": image.kallsyms_all,
        "confidence": {
            "exceptions": image.exception_table.confidence,
            "bugs": image.bug_table.confidence,
        },
        "symbols": None,
        "btf": image.btf is not None,
    }
    sections: dict[str, bytes] = {}
    if image.has_symbols:
        facts["symbols"], sections = pack_symbols(image.symbols)
    if image.btf is not None:
        index = index_of(image.btf)
        sections["btf"] = pack(image.btf.data)
        sections["btf/places"] = pack_words(index.places)
        sections["btf/by_name"] = pack_words(index.by_name)
    files: dict[str, int] = {}
    bugs = []
    for record, bug in image.bug_table.records():
        file = 0 if bug.file is None else files.setdefault(bug.file, len(files) + 1)
        bugs.append((bug.addr, record, file << 32 | bug.line << 16 | bug.flags))
    tables: dict[str, Iterable[Iterable[int]]] = {
        "exceptions": (
            (
                e.insn,
                e.fixup,
                (-1 if e.type is None else e.type) + 1 << 32 | e.data & _WORD,
                e.handler or 0,
            )
            for e in image.exception_table
        ),
        "bugs": bugs,
        "mcount": [image.mcount_sites],
        "ftrace": [sorted(image.ftrace_sites)],
        "jump_labels": image.jump_labels.ranges(),
        "static_calls": image.static_calls.ranges(),
        "error_injection": (
            (address, _INJECTION_TYPES.index(kind)) for address, kind in image.error_injection
        ),
        "blacklist": [image.kprobe_blacklist],
    }
    for name, rows in tables.items():
        sections[f"tables/{name}"] = pack_words(array("Q", (n for row in rows for n in row)))
    sections["tables/bug_files"] = pack("\n".join(files).encode("utf-8", "replace"))
    return facts, sections
