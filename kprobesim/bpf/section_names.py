"""From the name of a section to what its programs attach to, read as libbpf reads it.

``attach_kprobe()`` and its neighbours in libbpf.c take a target apart with ``sscanf``, which stops
where a character does not fit and goes on with what it has. So does this, and says what was left.
"""

from __future__ import annotations

import re

from kprobesim.bpf.attachment import AttachKind, Attachment
from kprobesim.bpf.section_table import SECTIONS

__all__ = ["attachment"]

_FUNCTION = re.compile(r"([A-Za-z0-9_.]+)(?:\+\s*([+-]?(?:0[xX][0-9a-fA-F]+|[0-9]+)))?")
_PATTERN = re.compile(r"[A-Za-z0-9_.*?]+")
_MODULE = re.compile(r"([A-Za-z0-9_-]+):(.+)")
_GLOB = re.compile(r"[*?]")
_KPROBES = frozenset({AttachKind.KPROBE, AttachKind.KRETPROBE})
_PATTERNS = frozenset(
    {AttachKind.KPROBE_MULTI, AttachKind.KRETPROBE_MULTI, AttachKind.KPROBE_SESSION}
)
_BTF_PATTERNS = frozenset(
    {AttachKind.FENTRY_MULTI, AttachKind.FEXIT_MULTI, AttachKind.FSESSION_MULTI}
)


def attachment(section: str) -> Attachment:
    """What programs in ``section`` attach to; a ``?`` in front of it is not part of its name."""
    prefix, slash, target = section.partition("/")
    known = SECTIONS.get(section)
    if known is None and slash and prefix in SECTIONS and SECTIONS[prefix][1]:
        known = SECTIONS[prefix]
    if known is None:
        return Attachment(AttachKind.UNKNOWN, problem="libbpf knows no such section")
    kind, may_have_target = known
    sleepable = prefix.endswith(".s") or kind is AttachKind.SYSCALL
    if not slash or not may_have_target:
        return Attachment(kind, sleepable=sleepable)
    if kind in _KPROBES:
        return _kprobe(kind, target)
    if kind in _PATTERNS:
        return _multi(kind, target)
    if kind is AttachKind.TRACEPOINT:
        return _tracepoint(target, sleepable)
    if kind.needs_btf_id:
        return _in_btf(kind, target, sleepable)
    if not target:
        return Attachment(kind, sleepable=sleepable, problem="there is no name behind the slash")
    return Attachment(kind, target, sleepable=sleepable)


def _kprobe(kind: AttachKind, text: str) -> Attachment:
    of_module = _MODULE.fullmatch(text)
    module, name = of_module.groups() if of_module else (None, text)
    match = _FUNCTION.match(name)
    if match is None:
        return Attachment(kind, problem=f"{text!r} is no name of a function")
    offset = _integer(match[2] or "0")
    problem = None
    if module is not None:
        problem = f"libbpf takes {module!r} for the function; leave the module's name out"
    elif offset < 0:
        problem = "the offset is negative"
    elif kind is AttachKind.KRETPROBE and offset:
        problem = "a return probe has no offset"
    elif match.end() != len(name):
        problem = f"libbpf reads only {match[0]!r} of {text!r}"
    return Attachment(kind, match[1], module=module, offset=max(offset, 0), problem=problem)


def _integer(text: str) -> int:
    """A number as ``%li`` reads it: decimal, ``0x`` hexadecimal, or octal with a leading 0."""
    sign = -1 if text.startswith("-") else 1
    digits = text.lstrip("+-")
    if digits.lower().startswith("0x"):
        return sign * int(digits, 16)
    if digits.startswith("0") and len(digits) > 1:
        octal = re.match(r"[0-7]+", digits)
        return sign * int(octal[0] if octal else "0", 8)
    return sign * int(digits)


def _multi(kind: AttachKind, text: str) -> Attachment:
    match = _PATTERN.match(text)
    if match is None:
        return Attachment(kind, problem=f"{text!r} is no pattern of names of functions")
    problem = None
    if match.end() != len(text):
        problem = f"libbpf reads only {match[0]!r} of {text!r}"
    return Attachment(kind, match[0], pattern=bool(_GLOB.search(match[0])), problem=problem)


def _tracepoint(text: str, sleepable: bool) -> Attachment:
    category, slash, name = text.partition("/")
    if not slash or not category or not name:
        problem = "a tracepoint is tp/category/name, e.g. tp/sched/sched_switch"
        return Attachment(AttachKind.TRACEPOINT, sleepable=sleepable, problem=problem)
    return Attachment(AttachKind.TRACEPOINT, name, category=category, sleepable=sleepable)


def _in_btf(kind: AttachKind, text: str, sleepable: bool) -> Attachment:
    module, colon, name = text.rpartition(":")
    if not name or (colon and not module):
        problem = f"{text!r} is no [MODULE:]NAME"
        return Attachment(kind, sleepable=sleepable, problem=problem)
    return Attachment(
        kind,
        name,
        module=module if colon and module != "vmlinux" else None,
        pattern=kind in _BTF_PATTERNS and bool(_GLOB.search(name)),
        sleepable=sleepable,
    )
