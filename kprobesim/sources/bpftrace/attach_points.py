"""One attach point: ``kprobe:MOD:f+0x10``, ``tracepoint:sched:*``, ``k:"f"``."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass

from kprobesim.errors import UsageError
from kprobesim.sources.bpftrace.providers import ALIASES, KERNEL, PASSED, RETURNS
from kprobesim.sources.places import GLOB, Point, parse_point
from kprobesim.sources.wanted import Interface

__all__ = ["AttachPoint", "parse_attach_point", "split_parts"]


@dataclass(frozen=True)
class AttachPoint:
    """An attach point in the kernel; ``interface`` is ``None`` for one elsewhere, see ``why``."""

    text: str
    provider: str
    interface: Interface | None
    point: Point
    why: str = ""

    @property
    def returns(self) -> bool:
        """Whether it is a return probe."""
        return self.provider in RETURNS


def split_parts(text: str) -> list[str]:
    """The parts between colons; quotes keep what is in them together.

    Raises:
        UsageError: It names a positional parameter, or a quote does not end.
    """
    parts, part, quoted, at = [], "", False, 0
    while at < len(text):
        char = text[at]
        if quoted and char == "\\" and at + 1 < len(text):
            at += 1
            part += text[at]
        elif char == '"':
            quoted = not quoted
        elif quoted:
            part += char
        elif char == ":":
            parts.append(part)
            part = ""
        elif char == "$" and text[at + 1 : at + 2].isdigit():
            raise UsageError("it holds a parameter of the command line: write what that stands for")
        else:
            part += char
        at += 1
    if quoted:
        raise UsageError("a quote does not end")
    return [*parts, part]


def parse_attach_point(text: str) -> list[AttachPoint]:
    """Read one; several if the provider is a pattern (``k*probe:f``).

    Raises:
        UsageError: bpftrace refuses it.
    """
    # A name may stand in front: name=kprobe:f.
    head, equals, rest = text.partition("=")
    parts = split_parts(rest if equals and head.isidentifier() else text)
    wanted = ALIASES.get(parts[0], parts[0])
    if GLOB.search(wanted):
        names = [name for name in KERNEL if fnmatch.fnmatchcase(name, wanted)]
        if not names:
            raise UsageError(f"no kind of probe is named {wanted[:40]!r}")
        return [_of_provider(text, name, parts) for name in names]
    wanted = wanted if wanted in KERNEL else ALIASES.get(wanted, wanted.lower())
    if wanted in PASSED:
        return [AttachPoint(text, wanted, None, Point(""), f"{wanted} is {PASSED[wanted]}")]
    if wanted not in KERNEL:
        raise UsageError(
            f"there is no kind of probe {parts[0][:40]!r}: kprobe, fentry, tracepoint ..."
        )
    return [_of_provider(text, wanted, parts)]


def _of_provider(text: str, provider: str, parts: list[str]) -> AttachPoint:
    least, most = {"tracepoint": (2, 3), "fentry": (2, 4), "fexit": (2, 4)}.get(provider, (2, 3))
    if not least <= len(parts) <= most or not all(parts[1:]):
        raise UsageError(f"{provider} takes {least - 1} or {most - 1} names behind colons")
    interface = KERNEL[provider]
    if provider == "tracepoint":
        if len(parts) == 2:
            if not GLOB.search(parts[1]):
                raise UsageError("tracepoint takes a category and an event: tracepoint:sched:*")
            parts = [parts[0], "*", parts[1]]
        return AttachPoint(text, provider, interface, Point(f"{parts[1]}:{parts[2]}"))
    if provider == "iter":
        return AttachPoint(text, provider, interface, Point(parts[1]))
    if provider in ("fentry", "fexit") and (parts[1] == "bpf" or len(parts) == 4):
        if parts[1] != "bpf" or len(parts) == 2:
            raise UsageError(f"{provider} takes MODULE:FUNCTION, or bpf:ID:PROGRAM")
        return AttachPoint(text, provider, None, Point(""), f"{provider}:bpf is in a BPF program")
    module = parts[1] if len(parts) == 3 else None
    point = parse_point(parts[-1], octal=False)
    point = Point(point.symbol, point.offset, module, point.address)
    if point.offset and provider != "kprobe":
        raise UsageError(f"{provider} takes no offset: leave +{point.offset} out")
    if point.address is not None and provider not in ("kprobe", "kretprobe"):
        raise UsageError(f"{provider} takes no address")
    if module in ("vmlinux", "kernel", "*") and not point.pattern:
        point = Point(point.symbol, point.offset, None, point.address)
    elif module == "vmlinux":
        point = Point(point.symbol, point.offset, None)
    return AttachPoint(text, provider, interface, point)
