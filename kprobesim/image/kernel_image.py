"""``KernelImage``: everything that is known of a kernel before it runs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from kprobesim.arch.architecture import architecture
from kprobesim.errors import ImageError
from kprobesim.image.elf import Section
from kprobesim.image.findings import Findings
from kprobesim.image.ranges import Ranges
from kprobesim.image.regions import code_ranges, make_regions, rodata_range
from kprobesim.image.segment import ImageRegion, Segment
from kprobesim.image.symbols.table import Columns, SymbolTable
from kprobesim.image.tables import places
from kprobesim.image.tables.banner import Banner, find_banners
from kprobesim.image.tables.btf import find_btf
from kprobesim.image.tables.bugtable import BugTable
from kprobesim.image.tables.discover import find_export
from kprobesim.image.tables.error_injection import ERROR_INJECTION, ErrorInjection
from kprobesim.image.tables.extable import ExceptionTable
from kprobesim.image.tables.patch_sites import (
    PatchSites,
    ftrace_places,
    jump_label_sites,
    static_call_sites,
)
from kprobesim.image.tables.shapes import TableShapes
from kprobesim.sizes import PAGE
from kprobesim.types.btf import Btf

__all__ = ["KernelImage"]


class KernelImage:
    """A kernel image at its link address, relocated; made by ``load_image``.

    ``entry`` is the entry point that the container names (a physical address for an x86 vmlinux),
    ``container`` says for people what the file was, ``percpu_load`` is where the initial copy of
    the per-CPU data lies (``None`` when the image has none), ``banner`` is looked for unless given.
    Symbols, regions and tables are read when first asked for; they raise ``ImageError`` if the file
    is damaged there.
    """

    def __init__(
        self,
        path: Path,
        arch: str,
        container: str,
        entry: int,
        segments: Sequence[Segment],
        *,
        section_headers: Sequence[Section] = (),
        read_columns: Callable[[KernelImage], tuple[Columns, str] | None],
        percpu_load: int | None = None,
        read_build_id: Callable[[], str | None] | None = None,
        banner: str | None = None,
    ) -> None:
        self.path = path
        self.arch = arch
        self.isa = architecture(arch)
        self.container = container
        self.entry = entry
        self.segments = tuple(sorted(segments, key=lambda segment: segment.vaddr))
        self.section_headers = tuple(section_headers)
        self._read_columns = read_columns
        self._percpu_load = percpu_load
        self._read_build_id = read_build_id
        self._known_banner = banner
        self.findings = Findings()
        self.stored_config: Callable[[], bytes] | None = None
        self._starts = [segment.vaddr for segment in self.segments]
        for low, high in zip(self.segments, self.segments[1:], strict=False):
            if low.end > high.vaddr:
                raise ImageError(
                    path,
                    f"its segments {low.name} and {high.name} overlap at {high.vaddr:#x}; "
                    "the file is damaged, copy or extract it again",
                )

    def with_symbols(
        self, read_columns: Callable[[KernelImage], tuple[Columns, str] | None]
    ) -> KernelImage:
        """The same image with symbols from elsewhere."""
        return KernelImage(
            self.path,
            self.arch,
            self.container,
            self.entry,
            self.segments,
            section_headers=self.section_headers,
            read_columns=read_columns,
            percpu_load=self._percpu_load,
            read_build_id=self._read_build_id,
            banner=self._known_banner,
        )

    def __repr__(self) -> str:
        return f"<KernelImage {self.path.name} {self.arch} {self.release or 'no release'}>"

    # Memory

    def contains(self, vaddr: int) -> bool:
        """Whether the byte at ``vaddr`` belongs to the image."""
        return self.segment_at(vaddr) is not None

    def segment_at(self, vaddr: int) -> Segment | None:
        """The segment that holds ``vaddr``, if one does."""
        index = bisect_right(self._starts, vaddr) - 1
        segment = self.segments[index] if index >= 0 else None
        return segment if segment and vaddr < segment.vaddr + segment.memsz else None

    def read(self, vaddr: int, size: int) -> bytes:
        """``size`` bytes as the kernel finds them at start; ``ImageError`` outside of the image."""
        index = bisect_right(self._starts, vaddr) - 1
        if index >= 0:  # mostly it is all in one place, and this is asked often
            segment = self.segments[index]
            offset = vaddr - segment.vaddr
            if offset + size <= len(segment.data):
                return bytes(segment.data[offset : offset + size])
        parts: list[bytes] = []
        at, left = vaddr, size
        while left > 0:
            holder = self.segment_at(at)
            if holder is None:
                raise ImageError(
                    self.path, f"has nothing at {at:#x} (asked for {size} bytes at {vaddr:#x})"
                )
            offset = at - holder.vaddr
            take = min(left, holder.memsz - offset)
            chunk = bytes(holder.data[offset : offset + take])
            parts.append(chunk + bytes(take - len(chunk)))
            at += take
            left -= take
        return b"".join(parts)

    def read_string(self, vaddr: int, limit: int = 4096) -> str | None:
        """The NUL-terminated string at ``vaddr``; ``None`` if there is none within ``limit``."""
        segment = self.segment_at(vaddr)
        if segment is None:
            return None
        offset = vaddr - segment.vaddr
        text, end, _ = bytes(segment.data[offset : offset + limit]).partition(b"\0")
        return text.decode("utf-8", "replace") if end else None

    # Names

    @property
    def has_symbols(self) -> bool:
        """Whether there are any :attr:`symbols`."""
        return self._symbols is not None

    @cached_property
    def symbols(self) -> SymbolTable:
        """All symbols; ``ImageError`` when neither the image nor ``symbols=`` has any."""
        if self._symbols is None:
            raise ImageError(
                self.path,
                "has no symbol table and no kallsyms in a known layout; pass symbols= (--symbols): "
                "the vmlinux of the -dbg package, its System.map, or a copy of /proc/kallsyms",
            )
        return self._symbols

    @cached_property
    def _symbols(self) -> SymbolTable | None:
        found = self._read_columns(self)
        if found is None:
            return None
        columns, source = found
        extents = [(segment.vaddr, segment.end) for segment in self.segments]
        return SymbolTable(columns, extents=extents, source=source)

    @cached_property
    def sections(self) -> Mapping[str, tuple[int, int]]:
        """Address and size of each loaded section; empty when the file has no section headers."""
        return {s.name: (s.addr, s.size) for s in self.section_headers if s.is_alloc}

    def bounds(self, start: str, stop: str) -> tuple[int, int] | None:
        """The range between two symbols, or ``None`` unless both exist in order."""
        low, high = self._address(start), self._address(stop)
        return (low, high) if low is not None and high is not None and low <= high else None

    def _address(self, name: str) -> int | None:
        if self._symbols is None:
            return None
        found = self._symbols.candidates(name)
        return found[0].address if len(found) == 1 else None

    def exported(self, name: str) -> int | None:
        """The address of a symbol; also of exported data in an image that names functions only."""
        found = self.symbols.candidates(name)
        if not found and not self.symbols.candidates("__start___ksymtab"):  # or all had names
            return find_export(self.segments, name)
        return found[0].address if found else None

    # The kernel about itself

    @cached_property
    def kallsyms_all(self) -> bool:
        """Whether the kernel itself knows symbols of data (CONFIG_KALLSYMS_ALL).

        Told by how many symbols it knows. A kernel that is silent about that knows all we do.
        """
        count = self._address("kallsyms_num_syms")
        if count is None:
            return True
        code = sum(map(self.is_code, self.symbols.columns.addresses))
        return int.from_bytes(self.read(count, 4), "little") > code * 1.2  # data: nearly half

    @cached_property
    def _banner(self) -> Banner:
        if self._known_banner is not None:
            return Banner(self._known_banner)
        found = find_banners(segment.data for segment in self.segments)
        if len(found) > 1:  # only then is it worth reading the symbols
            address = self._address("linux_banner")
            if address is not None and self.contains(address):
                found = find_banners([(self.read_string(address) or "").encode()]) or found
        return found[0] if found else Banner()

    @property
    def banner(self) -> str:
        """The line that the kernel prints first, or ``""`` if it has none."""
        return self._banner.text

    @property
    def release(self) -> str:
        """What ``uname -r`` would print, or ``""``."""
        return self._banner.release

    @property
    def version(self) -> tuple[int, ...]:
        """``(6, 1, 192)``; ``(6, 1)`` when the last number is not known; ``()`` when none is."""
        return self._banner.version

    @cached_property
    def build_id(self) -> str | None:
        """The GNU build ID in hex digits; ``None`` if the image is no ELF file or has none."""
        return self._read_build_id() if self._read_build_id else None

    @property
    def preemptible(self) -> bool:
        """Whether it was built with PREEMPT, PREEMPT_DYNAMIC, PREEMPT_LAZY or PREEMPT_RT."""
        return self._banner.preemptible

    @cached_property
    def percpu_load(self) -> int | None:
        """Where the initial per-CPU data lies."""
        if self._percpu_load is not None:
            return self._percpu_load
        for name in ("__per_cpu_load", "__per_cpu_start"):  # x86 6.15 dropped the former
            address = self._address(name)
            if address is not None and self.contains(address):
                return address
        return None

    def has_module(self, name: str) -> bool:
        """Whether the module ``name`` is loaded; what is only an image has none."""
        return False

    # Code and data

    @cached_property
    def _code(self) -> Ranges:
        code = code_ranges(self.section_headers, self.segments, self.bounds)
        if self.contains(self.entry) and self.entry not in code:
            # The head of an ARM64 Image has no symbol without CONFIG_KALLSYMS_ALL.
            code = Ranges([*code, (self.entry, self.entry + PAGE)])
        return code

    @cached_property
    def regions(self) -> tuple[ImageRegion, ...]:
        """All pages of the image, sorted, each ``text``, ``mixed``, ``rodata`` or ``data``."""
        # The kernel write-protects all of its core text, whatever the linker put between.
        fixed = [
            pair
            for pair in (rodata_range(self.arch, self.bounds), self.bounds("_stext", "_etext"))
            if pair
        ]
        return make_regions(self.segments, self.section_headers, self._code, fixed)

    @cached_property
    def text_ranges(self) -> tuple[tuple[int, int], ...]:
        """Core kernel text, ``[_stext, _etext)``; without those symbols, all code but init's."""
        core = self.bounds("_stext", "_etext")
        if core:
            return (core,)
        init = self.init_text
        return tuple(pair for pair in self._code if init is None or pair[0] != init[0])

    @cached_property
    def _core_text(self) -> Ranges:
        return Ranges(self.text_ranges)

    @cached_property
    def init_text(self) -> tuple[int, int] | None:
        """``[_sinittext, _einittext)``: code that is gone after boot."""
        return self.bounds("_sinittext", "_einittext")

    @cached_property
    def init(self) -> tuple[int, int] | None:
        """``[__init_begin, __init_end)``, which is freed after boot; else what is known of it."""
        return self.bounds("__init_begin", "__init_end") or self.init_text

    def is_kernel_text(self, address: int) -> bool:
        """Whether ``address`` is in core kernel text, init text not counted."""
        return address in self._core_text

    def is_code(self, address: int) -> bool:
        """Whether ``address`` is in any code, init and exit code counted."""
        return address in self._code

    # Tables

    def table(self, start: str, stop: str, section: str) -> tuple[int, bytes] | None:
        """Address and bytes of a table between two symbols, or in a section; ``None`` without."""
        place = self.bounds(start, stop)
        if place is None and section in self.sections:
            address, size = self.sections[section]
            place = (address, address + size)
        if place is None:
            return None
        return place[0], self.read(place[0], place[1] - place[0])

    @cached_property
    def _shapes(self) -> TableShapes:
        return TableShapes(self, list(self._code), self.findings)

    @cached_property
    def btf(self) -> Btf | None:
        """The kernel's types; ``None`` without CONFIG_DEBUG_INFO_BTF, ``TypesError`` if damaged."""
        return find_btf(self.segments, self.bounds("__start_BTF", "__stop_BTF"), self.path.name)

    @cached_property
    def exception_table(self) -> ExceptionTable:
        """``__ex_table``; empty when the image has none."""
        start, table = self.table(*places.EXCEPTION_TABLE) or self._shapes.exception_table()
        return ExceptionTable(self.arch, start, table, self.is_code)

    @cached_property
    def bug_table(self) -> BugTable:
        """``__bug_table``; empty when the image has none."""
        start, table = self.table(*places.BUG_TABLE) or self._shapes.bug_table()
        return BugTable(start, table, self._shapes.is_bug_trap, self.read_string)

    @cached_property
    def mcount_sites(self) -> Sequence[int]:
        """Addresses of the calls or nops that ftrace patches, in the table's order."""
        _, table = self.table(*places.MCOUNT_SITES) or self._shapes.mcount_sites()
        return places.addresses(table)

    @cached_property
    def ftrace_sites(self) -> frozenset[int]:
        """Where ftrace patches the code, one for each of ``mcount_sites`` that it can patch."""
        return ftrace_places(self.arch, self.mcount_sites, self.read, self.findings)

    @cached_property
    def jump_table(self) -> tuple[int, bytes]:
        """Where ``__jump_table`` lies, and its bytes; none when it cannot be found."""
        return self.table(*places.JUMP_TABLE) or self._shapes.jump_table()

    @cached_property
    def jump_labels(self) -> PatchSites:
        """The bytes of all jump labels (``__jump_table``); empty when it cannot be found."""
        start, table = self.jump_table
        return jump_label_sites(self.arch, start, table, self.read)

    @cached_property
    def static_calls(self) -> PatchSites:
        """The bytes of all static calls (x86); empty when the table cannot be found."""
        start, table = self.table(*places.STATIC_CALLS) or (0, b"")
        return static_call_sites(start, table)

    @cached_property
    def cfi_traps(self) -> frozenset[int]:
        """Where kCFI's checks trap (``__kcfi_traps``, x86 since 6.1); empty without CONFIG_CFI."""
        start, table = self.table(*places.CFI_TRAPS) or (0, b"")
        return frozenset(places.relative_addresses(start, table, 4))

    @cached_property
    def error_injection(self) -> ErrorInjection:
        """``_error_injection_whitelist``; empty without CONFIG_FUNCTION_ERROR_INJECTION."""
        table = self.table(*ERROR_INJECTION)

        def name_at(address: int) -> str | None:
            found = self.symbols.at(address)
            return found.symbol.name if found is not None else None

        return ErrorInjection(table[1] if table else b"", self.version, name_at)

    @cached_property
    def kprobe_blacklist(self) -> Sequence[int]:
        """Addresses in ``_kprobe_blacklist``: functions marked NOKPROBE_SYMBOL."""
        members = [m for m in map(self._address, places.ALWAYS_BLACKLISTED) if m is not None]
        _, table = self.table(*places.KPROBE_BLACKLIST) or self._shapes.kprobe_blacklist(members)
        return places.addresses(table)
