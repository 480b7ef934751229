"""The configuration that a kernel was built with: carried in its image, or beside it.

With CONFIG_IKCONFIG the image holds ``.config``, packed by gzip between two marks
(kernel/configs.c). Distributions put it beside the kernel instead: ``boot/config-RELEASE`` in the
package, ``config-RELEASE`` in the folder of an installed one, ``.config`` in a build tree.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kprobesim.errors import ImageError
from kprobesim.image.cache import keep
from kprobesim.image.files.compression import CompressionError, Packed, decompress
from kprobesim.image.files.deb import AR_MAGIC, open_data_tar
from kprobesim.image.files.source import open_file, read_file
from kprobesim.image.kernel_image import KernelImage
from kprobesim.image.segment import Segment
from kprobesim.snapshot.container import Container

__all__ = ["config_text", "parse_config", "read_config"]

_START, _END = b"IKCFG_ST\x1f\x8b", b"IKCFG_ED"
_LIMIT = 4 << 20
_LINE = re.compile(r"^(CONFIG_\w+)=(.*)$|^# (CONFIG_\w+) is not set$", re.MULTILINE)
_IN_PACKAGE = re.compile(r"(?:\./)?(?:usr/)?(?:boot/config-.+|lib/modules/[^/]+/config)")


def read_config(image: KernelImage) -> Mapping[str, str] | None:
    """The options of ``image`` by name: ``"y"``, ``"m"``, ``"n"``, a number or ``'"text"'``.

    ``None`` if neither the image nor what lies beside it tells.
    """
    text = config_text(image)
    return None if text is None else parse_config(text.decode("utf-8", "replace"))


def config_text(image: KernelImage) -> bytes | None:
    """The text of the ``.config``: what was stored with ``image``, or what its files tell.

    ``None`` if nobody tells, as where the image's file is not there any more.
    """
    if image.stored_config is not None:
        return image.stored_config() or None
    text = _embedded(image.segments)
    if text is None and image.path.is_file():
        text = _beside(image.path, image.release)
    return text


def parse_config(text: str) -> dict[str, str]:
    """The options in the text of a ``.config``; those that are not set are ``"n"``."""
    return {
        found[1] or found[3]: found[2] if found[1] else "n"
        for found in _LINE.finditer(text.replace("\r\n", "\n"))
    }


def _embedded(segments: Sequence[Segment]) -> bytes | None:
    for segment in segments:
        found = re.search(re.escape(_START), segment.data)
        if found is None:
            continue
        start = found.start() + len(_START) - 2
        end = re.compile(re.escape(_END)).search(segment.data, start)
        packed = bytes(segment.data[start : end.start() if end else start + _LIMIT])
        try:
            return bytes(decompress(Packed("gzip", packed), _LIMIT))
        except CompressionError:
            continue  # the mark alone, as in the code that looks for it
    return None


def _beside(path: Path, release: str) -> bytes | None:
    data = open_file(path)
    if bytes(data[: len(AR_MAGIC)]) == AR_MAGIC:
        found: bytes = keep(data, "config", _kept, lambda: _in_package(path), _packed)
        return found or None
    names = [".config"] + ([f"config-{release}"] if release and "/" not in release else [])
    for name in reversed(names):
        file = path.with_name(name)
        if file.is_file():
            return read_file(file, _LIMIT, "a kernel's configuration")
    return None


def _in_package(path: Path) -> bytes:
    """The file in the package, or nothing."""
    with open_data_tar(path, open_file(path)) as members:
        for tar, member in members:
            if member.isfile() and _IN_PACKAGE.fullmatch(member.name):
                source = tar.extractfile(member)
                if source is None or member.size > _LIMIT:
                    raise ImageError(path, f"its {member.name} is larger than any configuration")
                return source.read(member.size)
    return b""


def _packed(text: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    return {}, {"config": text}


def _kept(container: Container) -> bytes:
    return bytes(container.section("config"))
