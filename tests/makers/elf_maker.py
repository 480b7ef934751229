"""Small ELF files made byte by byte, so that tests can damage any field."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

R, W, X = 4, 2, 1
WRITE, ALLOC, EXEC = 1, 2, 4
PROGBITS, SYMTAB, STRTAB, RELA, NOBITS = 1, 2, 3, 4, 8
MACHINE = {"x86_64": 62, "arm64": 183}
FUNC, OBJECT, NOTYPE = 2, 1, 0
LOCAL, GLOBAL, WEAK = 0, 1, 2
ABS = 0xFFF1


@dataclass
class Load:
    vaddr: int
    data: bytes
    flags: int
    paddr: int = 0
    memsz: int = 0


@dataclass
class Sect:
    name: str
    flags: int
    addr: int
    size: int
    type: int = PROGBITS


@dataclass
class Sym:
    name: str
    value: int
    size: int = 0
    kind: int = FUNC
    bind: int = GLOBAL
    section: str | int = ".text"


@dataclass
class ElfMaker:
    arch: str = "x86_64"
    loads: list[Load] = field(default_factory=list)
    sections: list[Sect] = field(default_factory=list)
    symbols: list[Sym] | None = None
    entry: int = 0x1000000
    type: int = 2

    def build(self) -> bytes:
        head = 64 + 56 * len(self.loads)
        body = bytearray()
        phdrs = b""
        where: list[tuple[Load, int]] = []
        for load in self.loads:
            offset = head + len(body)
            where.append((load, offset))
            memsz = load.memsz or len(load.data)
            phdrs += struct.pack(
                "<IIQQQQQQ", 1, load.flags, offset, load.vaddr, load.paddr, len(load.data), memsz, 1
            )
            body += load.data
        shdrs: list[tuple[int, int, int, int, int, int, int, int, int, int]] = [(0,) * 10]
        names = bytearray(b"\0")

        def name(text: str) -> int:
            at = len(names)
            names.extend(text.encode() + b"\0")
            return at

        index = {}
        for sect in self.sections:
            offset = 0
            for load, start in where:
                if load.vaddr <= sect.addr < load.vaddr + len(load.data):
                    offset = start + sect.addr - load.vaddr
            index[sect.name] = len(shdrs)
            shdrs.append(
                (name(sect.name), sect.type, sect.flags, sect.addr, offset, sect.size, 0, 0, 1, 0)
            )
        if self.symbols is not None:
            strings = bytearray(b"\0")
            table = bytearray(24)
            for sym in self.symbols:
                at = len(strings)
                strings += sym.name.encode() + b"\0"
                number = sym.section if isinstance(sym.section, int) else index[sym.section]
                info = sym.bind << 4 | sym.kind
                table += struct.pack("<IBBHQQ", at, info, 0, number, sym.value, sym.size)
            link = len(shdrs) + 1
            shdrs.append(
                (name(".symtab"), SYMTAB, 0, 0, head + len(body), len(table), link, 1, 8, 24)
            )
            body += table
            shdrs.append(
                (name(".strtab"), STRTAB, 0, 0, head + len(body), len(strings), 0, 0, 1, 0)
            )
            body += strings
        shoff = shnum = shstrndx = 0
        if self.sections or self.symbols is not None:
            shstr = name(".shstrtab")
            shstrndx = len(shdrs)
            shdrs.append((shstr, STRTAB, 0, 0, head + len(body), len(names), 0, 0, 1, 0))
            body += names
            shoff, shnum = head + len(body), len(shdrs)
            for shdr in shdrs:
                body += struct.pack("<IIQQQQIIQQ", *shdr)
        ident = b"\x7fELF\x02\x01\x01" + bytes(9)
        ehdr = struct.pack(
            "<16sHHIQQQIHHHHHH", ident, self.type, MACHINE[self.arch], 1, self.entry, 64, shoff,
            0, 64, 56, len(self.loads), 64, shnum, shstrndx,
        )  # fmt: skip
        return ehdr + phdrs + bytes(body)


TEXT = {"x86_64": 0xFFFFFFFF81000000, "arm64": 0xFFFF800080000000}
BANNER = (
    "Linux version 6.1.7-test (me@here) (gcc 12) #1 SMP PREEMPT_DYNAMIC Mon Jan 1 00:00:00 UTC 2024"
)


def small_kernel(arch: str = "x86_64") -> ElfMaker:
    """Two functions, a banner, an exception table, data and bss: 16 KiB in two segments."""
    base = TEXT[arch]
    text = bytearray(b"\x90" * 0x2000 if arch == "x86_64" else b"\x1f\x20\x03\xd5" * 0x800)
    rodata = bytearray(0x1000)
    rodata[: len(BANNER)] = BANNER.encode()
    ex_at = base + 0x2800
    struct.pack_into("<iii", rodata, 0x800, base + 0x10 - ex_at, base + 0x40 - ex_at - 4, 3)
    data = bytearray(range(256)) * 16
    maker = ElfMaker(
        arch,
        [
            Load(base, bytes(text + rodata), R | X, 0x1000000),
            Load(base + 0x3000, bytes(data), R | W, 0x1003000, 0x2000),
        ],
        [
            Sect(".text", ALLOC | EXEC, base, 0x1F00),
            Sect(".rodata", ALLOC, base + 0x2000, 0x800),
            Sect("__ex_table", ALLOC, ex_at, 12),
            Sect(".data", ALLOC | WRITE, base + 0x3000, 0x1000),
            Sect(".bss", ALLOC | WRITE, base + 0x4000, 0x1000, NOBITS),
        ],
        [
            Sym("_text", base, 0, NOTYPE),
            Sym("_stext", base, 0, NOTYPE),
            Sym("do_one", base, 0x30),
            Sym("__do_one", base, 0x30),
            Sym("do_two", base + 0x40, 0x20),
            Sym("twice", base + 0x80, 0x10, bind=LOCAL),
            Sym("twice", base + 0xA0, 0x10, bind=LOCAL),
            Sym("_etext", base + 0x1F00, 0, NOTYPE),
            Sym("linux_banner", base + 0x2000, 200, OBJECT, section=".rodata"),
            Sym("__start___ex_table", ex_at, 0, NOTYPE, section="__ex_table"),
            Sym("__stop___ex_table", ex_at + 12, 0, NOTYPE, section="__ex_table"),
            Sym("counter", base + 0x3008, 8, OBJECT, section=".data"),
            Sym("buffer", base + 0x4000, 64, OBJECT, LOCAL, ".bss"),
            Sym("answer", 42, 0, NOTYPE, section=ABS),
            Sym("$x", base, 0, NOTYPE, LOCAL),
        ],
        type=2 if arch == "x86_64" else 3,
    )
    if arch == "arm64":
        maker.entry = base
    return maker
