"""C source: ``SEC("kprobe/...")``, ``.symbol_name = "..."``; what a text says without a compiler.

What macros make of it is not seen, nor are types: the compiled object tells all.
"""

from __future__ import annotations

import re
from pathlib import Path

from kprobesim.sources.reading import Reading
from kprobesim.sources.sections import want_section
from kprobesim.sources.versions import Versions, VersionsByPlace
from kprobesim.sources.wanted import Interface

__all__ = ["is_c_source", "read_c_source"]

_SUFFIXES = (".c", ".h", ".cc", ".cpp")
_COMMENT = re.compile(r'"(?:[^"\\\n]|\\.)*(?:"|\\?\Z|(?=\n))|/\*.*?(?:\*/|\Z)|//[^\n]*', re.DOTALL)
_PROBE = re.compile(
    r"\bSEC\s*\(\s*\"(?P<section>[^\"\n]{1,500})\"\s*\)"
    r"|\.symbol_name\s*=\s*\"(?P<symbol>[A-Za-z_.][\w.]{0,255})\""
)
_OFFSET = re.compile(r"\.offset\s*=\s*(0[xX][0-9a-fA-F]{1,8}|\d{1,9})\b")
_KRETPROBE = re.compile(r"\bstruct\s+kretprobe\b")
_DATA = re.compile(r"(\.?maps|license|version|\.\w.*|cgroup/dev)")
_NEAR = 2000  # characters of one initializer


def is_c_source(text: str, path: Path) -> bool:
    """Whether a text is C that names probes."""
    return path.suffix in _SUFFIXES and _PROBE.search(text) is not None


def read_c_source(text: str, reading: Reading) -> None:
    """Tell ``reading`` of what stands in the text of C code."""
    text = _COMMENT.sub(
        lambda one: one[0] if one[0][0] == '"' else re.sub(r"[^\n]", " ", one[0]), text
    )
    versions = VersionsByPlace(text)
    line, last = 1, 0
    for found in _PROBE.finditer(text):
        line += text.count("\n", last, found.start())
        last = found.start()
        if found["section"] is None:
            _want_kprobe(text, found, line, reading, versions.at(found.start()))
        elif _DATA.fullmatch(found["section"]) is None:
            want_section(found["section"], line, reading, versions=versions.at(found.start()))


def _want_kprobe(
    text: str, found: re.Match[str], line: int, reading: Reading, versions: Versions | None
) -> None:
    """The kprobe or kretprobe of a module whose initializer this is."""
    before = max(text.rfind(";", 0, found.start()) + 1, found.start() - _NEAR)
    end = text.find(";", found.end(), found.end() + _NEAR)
    after = end if end >= 0 else found.end()
    offset = _OFFSET.search(text, before, after)
    number = offset[1] if offset else "0"
    reading.want(
        found[0],
        line,
        Interface.REGISTER_KPROBE,
        found["symbol"],
        offset=int(number, 16 if number[:2] in ("0x", "0X") else 10),
        returns=_KRETPROBE.search(text, before, found.start()) is not None,
        versions=versions,
    )
