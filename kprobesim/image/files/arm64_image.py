"""The ARM64 boot image: the kernel's memory as it is, behind a 64-byte header.

Header: Documentation/arch/arm64/booting.rst (6.12). The image does not say at which virtual address
it was linked; its pointers do.
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_left
from collections import Counter
from itertools import accumulate, compress
from pathlib import Path

from kprobesim.errors import ImageError
from kprobesim.image.files.pe import pe_sections
from kprobesim.image.files.rela import apply_rela, find_rela
from kprobesim.image.files.source import MAX_IMAGE_SIZE, Buffer, Window, check_size, part
from kprobesim.image.segment import Segment

__all__ = ["is_arm64_image", "is_zboot", "load_arm64_image", "zboot_payload"]

_HEADER = struct.Struct("<IIQQQ24s4sI")
_CUT = "the file is cut short or damaged; copy or extract it again"
#: KIMAGE_VADDR is a multiple of this (arch/arm64/include/asm/memory.h).
_GRAIN_SHIFT = 21
#: Debian's have 35 MiB, one with everything built in and KASAN ten times as much.
_MOST_STORED = 512 << 20
#: Kernels point into 40 steps of 2 MiB, and have a few hundred words that only look like pointers.
_MOST_STEPS = 1 << 16
_CHUNK = 1 << 20
_IS_FF = bytes(255) + b"\1"


def is_arm64_image(head: bytes) -> bool:
    """Whether the first bytes ``head`` are an ARM64 Image header."""
    return head[0x38:0x3C] == b"ARM\x64"


def load_arm64_image(path: Path, data: Buffer) -> Segment:
    """The image as one segment at its link address, relocated."""
    if len(data) < _HEADER.size:
        raise ImageError(path, f"is an ARM64 Image of only {len(data)} bytes; {_CUT}")
    _, _, text_offset, image_size, flags, _, _, pe_offset = _HEADER.unpack(data[: _HEADER.size])
    if flags & 1:
        raise ImageError(path, "is a big-endian ARM64 Image; kprobesim runs little-endian ones")
    check_size(path, data, _MOST_STORED, "an ARM64 Image")
    stored = _stored_size(data, pe_offset)
    if stored > len(data):
        raise ImageError(path, f"has {len(data)} bytes of an Image of {stored}; {_CUT}")
    size = max(image_size, len(data))
    if size > MAX_IMAGE_SIZE:
        raise ImageError(path, f"wants {size} bytes of memory, but the limit is 1 GiB; {_CUT}")
    view = part(data, 0, len(data))
    base = _link_address(view, size, text_offset)
    if base is None:
        raise ImageError(
            path,
            "holds no pointers that would tell at which address it was linked; load the vmlinux "
            "it was made from instead",
        )
    table = find_rela(view, base, base + size)
    try:
        [(_, relocated)] = apply_rela([(base, view)], table)
    except ValueError as error:
        raise ImageError(path, f"has a {error}; {_CUT}") from None
    return Segment(base, text_offset, relocated, size, True, True, True, "Image")


def _stored_size(data: Buffer, pe_offset: int) -> int:
    """How long the file must be by its PE header (0 if it has none)."""
    return max((s.offset + s.size for s in pe_sections(data, pe_offset) if s.size), default=0)


def _link_address(data: memoryview, size: int, text_offset: int) -> int | None:
    """Where the image lies so that it holds what its pointers point to.

    Words that look like kernel addresses are counted in steps of 2 MiB. The image is as long as it
    is and starts at such a step: it is where the most pointers are. Tables of relocations hold
    their addresses and values as plain words, so this needs no relocation done before.
    """
    steps: Counter[int] = Counter()
    for start in range(0, len(data) & ~7, _CHUNK):
        words = array("Q")
        chunk = data[start : start + _CHUNK]
        words.frombytes(chunk[: len(chunk) & ~7])
        if sys.byteorder == "big":
            words.byteswap()
        high = compress(words, bytes(chunk[: len(chunk) & ~7])[7::8].translate(_IS_FF))
        steps.update([w >> _GRAIN_SHIFT for w in high if 0xFFFF << 48 <= w < 0xFFFFFFFF << 32])
        if len(steps) > _MOST_STEPS:
            return None
    length = (text_offset + size - 1 >> _GRAIN_SHIFT) + 1
    best, most = None, 1
    ordered = sorted(steps)
    before = [0, *accumulate(steps[step] for step in ordered)]
    for index, step in enumerate(ordered):
        # Fewer at a later step would mean that this one's pointers are the image's too.
        inside = before[bisect_left(ordered, step + length)] - before[index]
        if inside > most:
            best, most = step, inside
    return None if best is None else (best << _GRAIN_SHIFT) + text_offset


def is_zboot(head: bytes) -> bool:
    """Whether ``head`` starts an EFI image that unpacks itself (CONFIG_EFI_ZBOOT)."""
    return head[:2] == b"MZ" and head[4:8] == b"zimg"


def zboot_payload(path: Path, data: Buffer) -> Buffer:
    """The packed Image in an EFI zboot image (drivers/firmware/efi/libstub/zboot-header.S)."""
    if len(data) < 56:
        raise ImageError(path, f"is an EFI zboot image of only {len(data)} bytes; {_CUT}")
    offset, length = struct.unpack("<II", data[8:16])
    if offset + length > len(data):
        raise ImageError(
            path, f"its payload ends at byte {offset + length} but the file has {len(data)}; {_CUT}"
        )
    return Window(data, offset, length)
