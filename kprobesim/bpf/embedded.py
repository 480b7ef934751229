"""Objects inside of other files: programs carry theirs, so that one file is all there is to copy.

``bpftool gen skeleton`` makes a string of the object in C, Go embeds the file, systemd's tools link
it in: in each case the whole ELF file lies somewhere in the executable, word for word.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

from kprobesim.bpf.elf_file import ELF_MAGIC, EM_BPF, ET_REL, SHT_NOBITS
from kprobesim.bpf.object import BpfObject, read_file
from kprobesim.errors import BpfObjectError

__all__ = ["is_object", "read_objects"]

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_START = ELF_MAGIC + b"\x02\x01\x01"  # 64 bits, little-endian, version 1


def is_object(data: bytes) -> bool:
    """Whether ``data`` starts like a compiled eBPF object."""
    if not data.startswith(_START) or len(data) < _HEADER.size:
        return False
    _, kind, machine, *_ = _HEADER.unpack_from(data)
    return bool(kind == ET_REL and machine == EM_BPF)


def read_objects(path: str | os.PathLike[str]) -> list[BpfObject]:
    """The object in a file, or all those that it carries.

    The path of one that is carried says where it is: ``/usr/sbin/tool (object at 0x4a000)``.

    Raises:
        BpfObjectError: The file cannot be read, has no object in it, or only damaged ones.
    """
    data = read_file(path)
    name = os.fspath(path)
    if is_object(data):
        return [BpfObject.parse(data, name)]
    found: dict[bytes, BpfObject] = {}
    problem: BpfObjectError | None = None
    for start, end in _places(data):
        content = data[start:end]
        if content in found:
            continue
        try:
            found[content] = BpfObject.parse(content, f"{name} (object at {start:#x})")
        except BpfObjectError as error:
            problem = error
    if found:
        return list(found.values())
    if problem is not None:
        raise problem
    BpfObject.parse(data, name)  # which says what else it is
    raise BpfObjectError(name, "it has no eBPF object in it")


def _places(data: bytes) -> Iterator[tuple[int, int]]:
    """From where to where what may be objects lies."""
    at = data.find(_START)
    while at >= 0:
        end = _end(data, at)
        if end is not None:
            yield at, end
        at = data.find(_START, end or at + 1)


def _end(data: bytes, start: int) -> int | None:
    """Where the object at ``start`` ends: behind its sections and the table of them."""
    if not is_object(data[start : start + _HEADER.size]):
        return None
    header = _HEADER.unpack_from(data, start)
    table, size, count = header[6], header[11], header[12]
    end = table + size * count
    if size != _SECTION.size or start + end > len(data):
        return None
    for section in _SECTION.iter_unpack(data[start + table : start + end]):
        if section[1] != SHT_NOBITS:
            end = max(end, section[4] + section[5])
    return start + end if start + end <= len(data) else None
