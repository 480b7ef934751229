"""The GNU build ID of an ELF image: which build exactly this is."""

from __future__ import annotations

import io

from kprobesim.image.files.source import Buffer, stream

__all__ = ["read_build_id"]


def read_build_id(data: Buffer) -> str | None:
    """The ID as hex digits; ``None`` if the file has none or its notes are damaged."""
    from elftools.common.exceptions import ELFError
    from elftools.construct import ConstructError
    from elftools.elf.elffile import ELFFile
    from elftools.elf.segments import NoteSegment

    file = io.BytesIO(data) if isinstance(data, bytes) else stream(data)
    try:
        for segment in ELFFile(file).iter_segments():
            if isinstance(segment, NoteSegment):
                for note in segment.iter_notes():
                    if note["n_name"] == "GNU" and note["n_type"] == "NT_GNU_BUILD_ID":
                        return str(note["n_desc"])
    except (ELFError, ConstructError, ValueError, OSError, UnicodeError):
        return None
    return None
