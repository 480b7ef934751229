"""Definitions of ``perf probe``: a file of them, or a shell script that calls it.

The grammar is that of tools/perf/Documentation/perf-probe.txt, Linux 6.18::

    [[GROUP:]EVENT=]FUNC[@SRC][:LINE|+OFFSET|%return|;PATTERN] [ARG ...]
    [[GROUP:]EVENT=]SRC:LINE [ARG ...]
    [[GROUP:]EVENT=]SRC;PATTERN [ARG ...]
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from kprobesim.errors import UsageError
from kprobesim.sources.places import GLOB, parse_point, parse_unsigned
from kprobesim.sources.reading import Reading, shown
from kprobesim.sources.text import MAX_LINE
from kprobesim.sources.wanted import Interface, WantedArgument

__all__ = ["is_perf_command", "is_perf_probe", "read_perf_probe"]

_COMMAND = re.compile(r"(?:^|[;&|!($#]|\b(?:if|then|do|sudo))\s*perf\s+probe\s")
_EVENT = re.compile(
    r"(?:(?P<group>[A-Za-z_]\w*):)?(?P<event>[A-Za-z_]\w*)\*?=(?P<rest>.*)", re.DOTALL
)
_FUNCTION = re.compile(
    r"(?P<function>[A-Za-z_.$*?\[][\w.$*?\[\]-]*|0[xX][0-9a-fA-F]+)(?:@(?P<file>[^:;+%\s]+))?"
    r"(?P<rest>(?:[:;+%]).*)?",
    re.DOTALL,
)
_SOURCE = re.compile(r"(?P<file>[\w./+-]+\.[chS])(?P<rest>[:;].+)", re.DOTALL)
_LIKE_ONE = re.compile(
    r"(?:\w+:)?\w+=[\w.@*?]+.*|\w[\w.]*(?:@[\w./-]+)?(?::\d+|%return|;\S.*|\+\d+\s+\S+.*)(?:\s.*)?"
    r"|[\w./-]+\.[chS][:;]\S.*|\w[\w.]*@[\w./-]+(?:\s.*)?"
)
_ARGUMENT = re.compile(
    r"(?:(?P<label>[A-Za-z_]\w*)=)?(?P<what>.+?)(?::(?P<type>[\w@/\[\]]+))?(?:@user)?", re.DOTALL
)
_MEMBERS = re.compile(r"[A-Za-z_]\w*(?:(?:->|\.)[A-Za-z_]\w*|\[-?\d+\])*")
_ADDING = ("-a", "--add", "-D", "--definition")
_WITH_VALUE = (
    "-k --vmlinux -s --source -m --module -x --exec -v -d --del --max-probes --target-ns -G"
    " --filter -F --symfs"
).split()
_OTHERS = ("-l", "--list", "-L", "--line", "-V", "--vars", "-F", "--funcs", "-d", "--del")
_MOST_ARGUMENTS = 128


def is_perf_command(line: str) -> bool:
    """Whether a line of a shell's calls ``perf probe``."""
    return _COMMAND.search(line) is not None


def is_perf_probe(line: str) -> bool:
    """Whether a line is a definition that nothing else takes."""
    return _LIKE_ONE.fullmatch(line.strip()) is not None


def read_perf_probe(text: str, reading: Reading) -> None:
    """Tell ``reading`` of each definition."""
    joined = re.sub(r"\\\n", lambda _: " \x01", text)  # a command over several lines
    is_script = any(map(is_perf_command, joined.split("\n")))
    number = 1
    for line in joined.split("\n"):
        if not is_script or is_perf_command(line):
            _read_line(line.replace("\x01", ""), number, reading)
        number += 1 + line.count("\x01")


def _read_line(line: str, number: int, reading: Reading) -> None:
    line = line.strip()
    if not line or line.startswith("#"):
        return
    if len(line) > MAX_LINE:
        reading.problem(number, f"has {len(line):,} characters: one definition stands on a line")
        return
    try:
        if _COMMAND.search(line):
            _read_command(line, number, reading)
        else:
            _want(_parse(line), number, None, reading)
    except UsageError as error:
        reading.problem(number, f"{shown(line)}: {error}")


def _read_command(line: str, number: int, reading: Reading) -> None:
    """``perf probe [-m MODULE] [--add] DEFINITION ...``: what has no option is one definition."""
    try:
        words = shlex.split(_COMMAND.split(line, maxsplit=1)[1], comments=True)
    except ValueError as error:
        raise UsageError(f"the quotes do not end ({error})") from error
    module, added, plain = None, list[str](), list[str]()
    at = 0
    while at < len(words):
        word, _, value = words[at].partition("=")
        at += 1
        if word in (";", "&&", "||", "|", ">", "2>&1", "2>/dev/null"):
            break
        has_value = word in (*_ADDING, *_WITH_VALUE)
        if word.startswith("--") and "=" in words[at - 1]:
            pass
        elif has_value and at < len(words):
            value = words[at]
            at += 1
        if word in _ADDING:
            added.append(value)
        elif word in ("-m", "--module"):
            module = value
        elif word in ("-x", "--exec"):
            reading.note(number, f"{shown(value)} is a program, not the kernel")
            return
        elif word in _OTHERS:
            return
        elif not word.startswith("-"):
            plain.append(words[at - 1])
    if plain:
        added.append(" ".join(plain))
    for definition in added:
        _want(_parse(definition), number, module, reading)


@dataclass(frozen=True)
class _Probe:
    """A definition; ``place`` is what only DWARF can find."""

    text: str
    event: str | None
    function: str
    offset: int
    address: int | None
    returns: bool
    file: str | None
    place: str | None
    arguments: tuple[WantedArgument, ...]


def _parse(text: str) -> _Probe:
    head, *words = _words(text)
    event = None
    if found := _EVENT.fullmatch(head):
        event, head = found["event"], found["rest"]
    if head.startswith("%") or re.match(r"sdt_\w+:", head):
        raise UsageError("a static probe (SDT) is in a program, not in the kernel")
    arguments = tuple(_argument(word) for word in words[:_MOST_ARGUMENTS])
    if source := _SOURCE.fullmatch(head):
        return _Probe(text, event, "", 0, None, False, source["file"], source[0], arguments)
    found = _FUNCTION.fullmatch(head.replace("\\", ""))
    if found is None:
        raise UsageError(f"{head[:60]!r} is no FUNCTION[@FILE][:LINE|+OFFSET|%return|;PATTERN]")
    rest = found["rest"] or ""
    if rest.startswith("%") and rest != "%return":
        raise UsageError(f"{rest[:40]} is no suffix: only %return is")
    offset = 0
    place: str | None = None
    if rest.startswith((":", ";")):
        if len(rest) == 1 or (rest[0] == ":" and not rest[1:].isdigit()):
            raise UsageError(f"behind {rest[0]} stands a line or a pattern of the source")
        place = f"{found['function']}{rest}"
    elif rest.startswith("+"):
        offset = parse_unsigned(rest[1:])
    point = parse_point(found["function"])
    return _Probe(
        text,
        event,
        point.symbol,
        offset,
        point.address,
        rest == "%return",
        found["file"],
        place,
        arguments,
    )


def _words(text: str) -> list[str]:
    """The words of a definition; a pattern of the source may hold blanks only in quotes."""
    try:
        words = shlex.split(text) if '"' in text or "'" in text else text.split()
    except ValueError as error:
        raise UsageError(f"the quotes do not end ({error})") from error
    if not words:
        raise UsageError("a definition is empty")
    return words


def _argument(word: str) -> WantedArgument:
    found = _ARGUMENT.fullmatch(word)
    what = found["what"] if found else ""
    if what in ("$vars", "$params", "$comm", "-") or what.startswith(("$stack", "+", "\\", "@0")):
        return WantedArgument(word)
    if what == "$retval":
        return WantedArgument(word, returned=True)
    if argument := re.fullmatch(r"\$arg([1-9]\d?)", what):
        return WantedArgument(word, ordinal=int(argument[1]) - 1)
    if what.startswith("%"):
        return WantedArgument(word, register=what[1:])
    if what.startswith("@"):
        return WantedArgument(word, symbol=re.split(r"[-+]", what[1:])[0])
    if _MEMBERS.fullmatch(what) is None:
        raise UsageError(f"{word[:60]!r} is no argument: a variable, $retval, %REGISTER, @SYMBOL")
    name, *members = re.split(r"->|\.", re.sub(r"\[-?\d+\]", "", what))
    return WantedArgument(word, name=name, members=tuple(members))


def _want(probe: _Probe, number: int, module: str | None, reading: Reading) -> None:
    reading.want(
        probe.text,
        number,
        Interface.KPROBE_EVENTS,
        probe.function,
        offset=probe.offset,
        address=probe.address,
        module=module,
        returns=probe.returns,
        pattern=GLOB.search(probe.function) is not None,
        arguments=probe.arguments,
        program=probe.event,
        source_place=probe.place,
        file=probe.file,
    )
