"""Command lines of BCC's tools that take probes: ``trace 'r::vfs_read "%d", retval'``.

The grammars are those of tools/trace.py, argdist.py, funccount.py, stackcount.py, funclatency.py
and funcslower.py of BCC 0.35. A part of a kernel's probe may be left out from the left.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

from kprobesim.errors import UsageError
from kprobesim.sources.bcc.c_text import fields_of, parameters
from kprobesim.sources.places import parse_unsigned
from kprobesim.sources.reading import Reading, shown
from kprobesim.sources.regexes import check_regex
from kprobesim.sources.text import MAX_LINE
from kprobesim.sources.wanted import Interface, WantedArgument

__all__ = ["is_command", "read_commands"]


class _Tool(NamedTuple):
    """``valued`` are its options that have a value, ``probes`` those whose value is a probe."""

    valued: str
    probes: str = ""
    has_pattern: bool = False
    returns: bool = False


_TOOLS = {
    "trace": _Tool("bpLZMcnfsI"),
    "argdist": _Tool("ptzidnTI", "HC"),
    "funccount": _Tool("pidc", has_pattern=True),
    "stackcount": _Tool("pciD", has_pattern=True),
    "funclatency": _Tool("pidl", has_pattern=True, returns=True),
    "funcslower": _Tool("pmua", returns=True),
}
_LONG_VALUED = (
    "--buffer-pages --pid --tid --uid --string-size --max-events --cgroup-path --name --msg-filter"
    " --sym_file_list --include --interval --duration --number --top --cpu --level --min-ms"
    " --min-us --arguments"
).split()
_LONG_PROBES = ("--histogram", "--count")
_NAMES = "|".join(_TOOLS)
_TELLING = r"(?=(?:[ \t]+-\S+(?:[ \t]+\d+)?)*[ \t]+(?:['\"]|[prt]:{more}))"
_COMMAND = re.compile(
    r"(?:^|[;&|!($#]|\b(?:if|then|do|sudo))[ \t]*"
    rf"(?:[\w./~-]{{0,200}}/(?P<path>{_NAMES})(?:\.py|-bpfcc)?|(?P<full>{_NAMES})(?:\.py|-bpfcc)"
    rf"|(?P<word>(?:trace|argdist|stackcount){_TELLING.format(more='')}"
    rf"|func(?:count|latency|slower){_TELLING.format(more='|[^ ]*[_*]')}))"
    r"[ \t]+",
    re.MULTILINE,
)
_ALONE = re.compile(r"""(?:'[^']*'|"(?:[^"\\]|\\.)*"|\\.|(?<=\S)#|[^\n'"\\;&|#])*""", re.DOTALL)
_COMPUTED = re.compile(r"\$\([^()\n]*\)|`[^`\n]*`")
_SPEC = re.compile(r"(?P<spec>[^ \t(]+)(?P<signature>\([^(]*\))?(?P<rest>.*)", re.DOTALL)
_PATTERN = re.compile(r"(?P<spec>\S+)(?P<signature>)(?P<rest>)")
_READS = re.compile(r"\b(?:arg(?P<number>[1-6])|(?P<result>retval))\b|(?P<returned>\$retval)")
_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"')
_NAME = re.compile(r"[\w.*?$]+")
_OF_X86 = "__x64_sys_"  # where trace reads the arguments of the call, not of the function


def is_command(line: str) -> bool:
    """Whether a line of a shell's calls one of these tools."""
    return next(_commands(line), None) is not None


def read_commands(text: str, reading: Reading) -> None:
    """Tell ``reading`` of each probe of each command."""
    line, counted = 1, 0
    for name, at in _commands(text):
        line += text.count("\n", counted, at)
        counted = at
        try:
            for probe in _probes(_TOOLS[name], text[at : at + MAX_LINE]):
                _want(name, probe, line, reading)
        except UsageError as error:
            reading.problem(line, f"{name}: {error}")


def _commands(text: str) -> Iterator[tuple[str, int]]:
    """The tool of each command, and where its arguments begin."""
    for found in _COMMAND.finditer(text):
        yield found["path"] or found["full"] or found["word"], found.end()


class _Probe(NamedTuple):
    text: str
    is_regex: bool = False


def _probes(tool: _Tool, text: str) -> Iterator[_Probe]:
    words, is_regex = iter(_words(text)), False
    left = 0 if tool.probes else 1 if tool.has_pattern else MAX_LINE
    for word in words:
        option, has_value, value = word.partition("=")
        if word.startswith("--"):
            is_regex |= option == "--regexp"
            if option in (*_LONG_VALUED, *_LONG_PROBES) and not has_value:
                value = next(words, "")
            if option in _LONG_PROBES:
                yield _Probe(value)
        elif word.startswith("-"):
            for at, letter in enumerate(word[1:], 2):
                is_regex |= letter == "r"
                if letter in tool.valued + tool.probes:
                    value = word[at:] or next(words, "")
                    if letter in tool.probes:
                        yield _Probe(value)
                    break
        elif left:
            left -= 1
            yield _Probe(word, is_regex)


def _words(text: str) -> list[str]:
    """Those of the first command in ``text``."""
    found = _ALONE.match(text)
    assert found is not None  # it may be empty
    whole = found[0] + text[found.end() : found.end() + 1].strip("\n;&|#")  # or a quote, too
    try:
        words = shlex.split(_COMPUTED.sub("0", whole.replace("\\\n", " ")))
    except ValueError as error:
        raise UsageError("the quotes round a probe do not end") from error
    return [word for word in words if not re.match(r"\d?[<>]", word)]


def _want(tool: str, probe: _Probe, line: int, reading: Reading) -> None:
    """One probe: ``[p|r|t|u]:[LIBRARY|CATEGORY]:NAME[+OFFSET][(SIGNATURE)] [REST]``."""
    found = (_PATTERN if _TOOLS[tool].has_pattern else _SPEC).fullmatch(probe.text)
    if found is None:
        raise UsageError(f"{shown(probe.text)} names no function")
    given = found["spec"]
    if tool == "argdist" and given.count(":") < 2:
        raise UsageError(f"{shown(given)} is no KIND:LIBRARY:FUNCTION(SIGNATURE)")
    kind, *place = given.split(":") if given.count(":") > 1 else ("p", *given.rpartition(":")[::2])
    name, library = place[-1], ":".join(place[:-1])
    if kind not in ("", "p", "r", "t", "u"):
        raise UsageError(f"{shown(given)}: the kind of a probe is p, r, t or u, not {kind[:20]}")
    if kind == "u" or (kind != "t" and library):
        reading.note(line, f"{shown(given)} is in a program, not in the kernel")
        return
    name, _, offset = (name, "", "") if probe.is_regex else name.partition("+")
    text = f"{tool} {given}"
    if kind == "t":
        pattern = "*" in name or "*" in library
        target = f"{library}:{name}"
        fields = () if pattern else fields_of(found["rest"])
        reading.want(text, line, Interface.TRACEPOINT, target, pattern=pattern, arguments=fields)
        return
    if probe.is_regex:
        check_regex(name)
    elif not _NAME.fullmatch(name):
        raise UsageError(f"{shown(name)} is no name of a function")
    has_pattern = _TOOLS[tool].has_pattern and (probe.is_regex or "*" in name)
    returns = kind == "r" or _TOOLS[tool].returns
    arguments = () if has_pattern else _arguments(name, found["signature"] or "()", found["rest"])
    reading.want(
        text,
        line,
        Interface.KPROBE_PERF,
        name,
        offset=parse_unsigned(offset) if offset else 0,
        returns=returns,
        pattern=has_pattern,
        regex=probe.is_regex,
        arguments=tuple(one for one in arguments if one.returned or kind != "r"),
    )


def _arguments(name: str, signature: str, rest: str) -> Iterator[WantedArgument]:
    """What a probe reads: its signature's parameters, ``arg1`` to ``arg6``, what it returns."""
    if not name.startswith(_OF_X86):
        parts = [part for part in signature[1:-1].split(",") if part.strip()]
        yield from parameters(parts)
    seen = set[str]()
    for one in _READS.finditer(_STRINGS.sub("", rest)):
        if one[0] in seen or (one["number"] and name.startswith(_OF_X86)):
            continue
        seen.add(one[0])
        number = int(one["number"]) - 1 if one["number"] else None
        yield WantedArgument(one[0], ordinal=number, returned=number is None)
