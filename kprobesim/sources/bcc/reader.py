"""A tool of BCC's as a source: its calls of ``attach_*`` and the functions in its C text.

Python is not run, so a name that is computed is a note. What stands below a question such as
``if BPF.get_kprobe_functions(b"f"):``, or is tried, may be missing; the branches are alternatives.
"""

from __future__ import annotations

import bisect
import re
from pathlib import Path
from typing import Any, NamedTuple

from kprobesim.errors import UsageError
from kprobesim.sources.bcc.c_text import arguments_of, c_probes
from kprobesim.sources.bcc.questions import Questions
from kprobesim.sources.reading import Reading, shown
from kprobesim.sources.regexes import check_regex
from kprobesim.sources.versions import VersionsByPlace
from kprobesim.sources.wanted import Interface

__all__ = ["is_bcc", "read_bcc"]

_PYTHON = re.compile(r"#!.*\bpython")
_USES = re.compile(r"\bfrom\s+bcc\b|\bimport\s+bcc\b")
_CALL = re.compile(
    r"\.(?P<what>attach_(?:kprobe|kretprobe|tracepoint|raw_tracepoint))\s*\("
    r"(?P<rest>(?:(?!\)\s*\n|\.attach_).){0,500})",
    re.DOTALL,
)
_NAMED = re.compile(r"\b(?P<key>event|event_re|tp|fn_name|event_off)\s*=\s*")
_TEXT = re.compile(r"[bBrRuU]{0,2}([\"'])(?P<text>(?:(?!\1)[^\n])*)\1")
_SYSTEM_CALL = re.compile(
    r"\w+\.get_syscall_(?:fnname\(|prefix\(\)(?:\.decode\([^()]{0,20}\))?\s*\+)"
    r"\s*b?[\"'](?P<name>\w+)[\"']"
)
_ASSIGNED = re.compile(
    r"^[ \t]*(?P<name>\w+)\s*=\s*(?P<value>b?[\"'].{0,200}|\w+\.get_syscall_\w+\(.{0,100})$",
    re.MULTILINE,
)
_NAMES = ("event", "event_re", "tp")
_COMPUTED = re.compile(r"\s*[+%.]")
_REPLACED = re.compile(r"\.replace\(\s*[\"']([A-Z][A-Z0-9_]*)[\"']")
_ASKS_BTF = re.compile(r"\bsupport_(?:kfunc|lsm)\s*\(")
_PLACEHOLDER = re.compile(r"[A-Z][A-Z0-9_]*")


def is_bcc(text: str, path: Path) -> bool:
    """Whether a text is a program for BCC."""
    return bool((path.suffix == ".py" or _PYTHON.match(text)) and _USES.search(text))


def read_bcc(text: str, reading: Reading) -> None:
    """Tell ``reading`` of all that the tool attaches."""
    starts = [0, *(found.end() for found in re.finditer("\n", text))]
    questions, versions = Questions(text), VersionsByPlace(text)
    values = _Values(text, starts, questions)
    groups: dict[int, list[int]] = {}
    for found in _CALL.finditer(text):
        line = bisect.bisect_right(starts, found.start("what"))
        given = _arguments(found["rest"])
        key = next((key for key in _NAMES if key in given), None)
        for value, choice in values.of(given[key], line) if key is not None else ():
            call = _Call(found["what"], key == "event_re", value, given.get("fn_name", ""), line)
            before = len(reading.wanted)
            _attach(call, text, choice is not None, reading)
            if choice is not None and len(reading.wanted) > before:
                groups.setdefault(choice, []).append(before)
    replaced = set(_REPLACED.findall(text))
    for probe in c_probes(text):
        line = bisect.bisect_right(starts, probe.at)
        if _PLACEHOLDER.fullmatch(probe.target) or any(one in probe.target for one in replaced):
            reading.note(line, f"{shown(probe.text)}: the tool writes another name there")
            continue
        choice = questions.of_place(probe.at)
        if choice is not None:
            groups.setdefault(choice, []).append(len(reading.wanted))
        by_btf = probe.interface in (Interface.FENTRY, Interface.FEXIT, Interface.LSM)
        reading.want(
            probe.text,
            line,
            probe.interface,
            probe.target,
            module=probe.module,
            returns=probe.returns,
            optional=choice is not None or (by_btf and _ASKS_BTF.search(text) is not None),
            arguments=probe.arguments,
            versions=versions.at(probe.at),
        )
    for choice, numbers in groups.items():
        if questions.has_branches(choice):
            reading.alternatives(numbers)


def _arguments(rest: str) -> dict[str, str]:
    """The keyword arguments of a call, as they are written."""
    found = list(_NAMED.finditer(rest))
    return {one["key"]: rest[one.end() :] for one in found}


class _Values:
    """What variables that names are kept in may hold."""

    def __init__(self, text: str, starts: list[int], questions: Questions) -> None:
        self._questions = questions
        self._assigned: dict[str, list[tuple[int, str]]] = {}
        for found in _ASSIGNED.finditer(text):
            line = bisect.bisect_right(starts, found.start("name"))
            self._assigned.setdefault(found["name"], []).append((line, found["value"]))

    def of(self, value: str, line: int) -> list[tuple[str, int | None]]:
        """The texts that ``value`` may be in a line, each with the question it depends on."""
        question = self._questions.of_line(line)
        variable = re.match(r"\w+", value)
        held = self._assigned.get(variable[0], []) if variable else []
        before = [one for one in held if one[0] < line] or held
        if not before:
            return [(value, question)]
        chosen = self._questions.of_line(before[-1][0])
        if chosen is None:
            return [(before[-1][1], question)]
        together = [text for at, text in before if self._questions.of_line(at) == chosen]
        return [(text, chosen) for text in dict.fromkeys(together)]


class _Call(NamedTuple):
    """A call that attaches: of which method, what is its name, in which line."""

    what: str
    is_regex: bool
    value: str
    function: str
    line: int


def _attach(call: _Call, text: str, optional: bool, reading: Reading) -> None:
    what, line, value = call.what, call.line, call.value
    returns = what == "attach_kretprobe"
    more: dict[str, Any] = {"optional": optional, "returns": returns}
    if found := _SYSTEM_CALL.match(value):
        reading.want(f"{what} {found['name']}", line, Interface.SYSCALL, found["name"], **more)
        return
    literal = _TEXT.match(value)
    if literal is None or _COMPUTED.match(value, literal.end()):
        reading.note(line, f"{what} of a name that the tool computes")
        return
    name = literal["text"]
    interface = {
        "attach_tracepoint": Interface.TRACEPOINT,
        "attach_raw_tracepoint": Interface.RAW_TRACEPOINT,
    }.get(what, Interface.KPROBE_PERF)
    if call.is_regex:
        try:
            check_regex(name)
        except UsageError as error:
            reading.problem(line, f"{what}: {error}")
            return
        more |= {"pattern": True, "regex": True}
        reading.want(f"{what} {name}", line, interface, f"^(?:{name})$", **more)
        return
    function = _TEXT.match(call.function)
    if function is not None and not returns and interface is Interface.KPROBE_PERF:
        more["arguments"] = arguments_of(text, function["text"])
    reading.want(f"{what} {name}", line, interface, name, **more)
