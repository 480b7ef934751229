"""A plain list: a name, ``name+0x10``, ``MOD:name``, a line of kallsyms, or an attach point a line.

Lists for ftrace are such lists, too: ``name [module]`` as in ``available_filter_functions``, globs,
``name:mod:module`` as ``set_ftrace_filter`` takes it. So is ``SYMBOL,OFFSET``.
"""

from __future__ import annotations

import re

from kprobesim.bpf.attachment import AttachKind
from kprobesim.bpf.section_names import attachment
from kprobesim.errors import UsageError
from kprobesim.sources.bpftrace.attach_points import parse_attach_point
from kprobesim.sources.bpftrace.reader import is_attach_point
from kprobesim.sources.places import GLOB, Point, parse_point
from kprobesim.sources.reading import Reading, shown
from kprobesim.sources.sections import want_section
from kprobesim.sources.text import MAX_LINE
from kprobesim.sources.wanted import Interface

__all__ = ["is_name", "read_names", "read_place", "want_point"]

_NAME = re.compile(
    r"!?(?:[\w-]+:)?[A-Za-z_.$*?\[][\w.$*?\[\]!^-]*(\+\w+(/\w+)?)?|0[xX][0-9a-fA-F]+"
)
_OF_MODULE = re.compile(r"(?P<symbol>\S+)\s+\[(?P<module>[\w-]+)\]")
_KALLSYMS = re.compile(
    r"(?P<address>[0-9a-fA-F]{8,16}) [A-Za-z] (?P<symbol>\S+)(?:\s+\[(?P<module>[\w-]+)\])?"
)
_FTRACE = re.compile(r"(?P<symbol>[^:\s]+):(?:mod:(?P<module>[\w*?!-]+)|[a-z_]+(?::.*)?)")
_CSV = re.compile(r"\s*(?P<symbol>[^,\s]+)\s*,\s*(?P<offset>[^,\s]*)\s*(?:,.*)?")
_COMMENT = re.compile(r"(^|\s)(#|//|;).*")
_SECTION = re.compile(r"(?:SEC\(\")?(\??[a-z_]+(?:\.[a-z]+)*/[^\"\s]{1,300})(?:\"\))?")


def is_name(line: str) -> bool:
    """Whether a line can be one of such a list."""
    line = _COMMENT.sub("", line).strip()
    return bool(
        _NAME.fullmatch(line)
        or _OF_MODULE.fullmatch(line)
        or _KALLSYMS.fullmatch(line)
        or (_CSV.fullmatch(line) and "(" not in line)
        or is_attach_point(line)
        or _section(line)
    )


def _section(line: str) -> str:
    """The section's name in ``kprobe/vfs_read`` or ``SEC("kprobe/vfs_read")``; else empty."""
    found = _SECTION.fullmatch(line)
    if found is None or attachment(found[1].removeprefix("?")).kind is AttachKind.UNKNOWN:
        return ""
    return found[1]


def read_names(text: str, reading: Reading) -> None:
    """Tell ``reading`` of each place in a list."""
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > MAX_LINE:
            reading.problem(number, f"has {len(line):,} characters: a list has one place a line")
            continue
        line = _COMMENT.sub("", line).strip()
        if not line or line.replace(" ", "").lower() in ("symbol,offset", "symbol", "name"):
            continue
        try:
            read_place(line, number, reading)
        except UsageError as error:
            reading.problem(number, f"{shown(line)} is no place in a kernel: {error}")


def read_place(line: str, number: int, reading: Reading) -> None:
    """Tell ``reading`` of one line, which has no blanks round it.

    Raises:
        UsageError: It is no place in a kernel.
    """
    if line.startswith("!"):
        reading.note(number, f"{shown(line)} takes functions out of a filter")
    elif is_attach_point(line):
        for one in parse_attach_point(line):
            if one.interface is None:
                reading.note(number, f"{shown(line)}: {one.why}")
            else:
                want_point(reading, line, number, one.point, one.interface, one.returns)
    elif section := _section(line):
        want_section(section, number, reading)
    elif found := _KALLSYMS.fullmatch(line):
        want_point(reading, line, number, Point(found["symbol"], module=found["module"]))
    elif found := _OF_MODULE.fullmatch(line):
        point = parse_point(found["symbol"], octal=False)
        want_point(reading, line, number, Point(point.symbol, point.offset, found["module"]))
    elif (found := _FTRACE.fullmatch(line)) and (found["module"] or line.count(":") > 1):
        point = Point(found["symbol"], module=found["module"])
        want_point(reading, line, number, point, Interface.FTRACE)
    elif found := _CSV.fullmatch(line):
        want_point(reading, line, number, _with_offset(found["symbol"], found["offset"]))
    else:
        text, percent, suffix = line.partition("%")
        if percent and suffix != "return":
            raise UsageError(f"%{suffix[:20]} is no suffix: only %return is")
        point = parse_point(text, octal=False)
        want_point(reading, line, number, point, returns=bool(percent))


def _with_offset(symbol: str, offset: str) -> Point:
    """``SYMBOL,OFFSET``: the offset is decimal or begins with 0x."""
    if not GLOB.search(symbol):
        return parse_point(f"{symbol}+{offset or '0'}", octal=False)
    return parse_point(symbol, octal=False)


def want_point(
    reading: Reading,
    text: str,
    line: int | None,
    point: Point,
    interface: Interface | None = None,
    returns: bool = False,
) -> None:
    """One place; a pattern is for ftrace's filters, which alone take one."""
    usual = Interface.FTRACE if point.pattern else Interface.REGISTER_KPROBE
    reading.want(
        text,
        line,
        interface or usual,
        point.symbol,
        offset=point.offset,
        address=point.address,
        module=point.module,
        returns=returns,
        pattern=point.pattern,
    )
