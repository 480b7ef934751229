"""A tool of BCC's as a source: its calls of ``attach_*`` and the functions in its C text.

Python is not run, so a name that is computed is a note. What stands below a question such as
``if BPF.get_kprobe_functions(b"f"):``, or is tried, may be missing; the branches are alternatives.
"""

from __future__ import annotations

import bisect
import re
from pathlib import Path
from typing import Any

from kprobesim.errors import UsageError
from kprobesim.sources.bcc.c_text import arguments_of, c_probes
from kprobesim.sources.reading import Reading, shown
from kprobesim.sources.regexes import check_regex
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
_SYSTEM_CALL = re.compile(r"\w+\.get_syscall_fnname\(\s*b?[\"'](?P<name>\w+)[\"']")
_ASSIGNED = re.compile(
    r"^[ \t]*(?P<name>\w+)\s*=\s*(?P<value>b?[\"'].{0,200}|\w+\.get_syscall_fnname\(.{0,100})$",
    re.MULTILINE,
)
_QUESTION = re.compile(
    r"\s*(?:if\b.*\b(?:get_kprobe_functions|ksymname|tracepoint_exists)\b|try\s*:)"
)
_ANOTHER_BRANCH = ("elif", "else", "except")
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
    values = {found["name"]: found["value"] for found in _ASSIGNED.finditer(text)}
    choices = _choices(text)
    groups: dict[int, list[int]] = {}
    for found in _CALL.finditer(text):
        line = bisect.bisect_right(starts, found.start("what"))
        given = _arguments(found["rest"])
        choice = choices.get(line)
        before = len(reading.wanted)
        _attach(found["what"], given, values, text, line, choice is not None, reading)
        if choice is not None and len(reading.wanted) > before:
            groups.setdefault(choice, []).append(before)
    for numbers in groups.values():
        reading.alternatives(numbers)
    replaced = set(_REPLACED.findall(text))
    for probe in c_probes(text):
        line = bisect.bisect_right(starts, probe.at)
        if _PLACEHOLDER.fullmatch(probe.target) or any(one in probe.target for one in replaced):
            reading.note(line, f"{shown(probe.text)}: the tool writes another name there")
            continue
        by_btf = probe.interface in (Interface.FENTRY, Interface.FEXIT, Interface.LSM)
        reading.want(
            probe.text,
            line,
            probe.interface,
            probe.target,
            module=probe.module,
            returns=probe.returns,
            optional=by_btf and _ASKS_BTF.search(text) is not None,
            arguments=probe.arguments,
        )


def _arguments(rest: str) -> dict[str, str]:
    """The keyword arguments of a call, as they are written."""
    found = list(_NAMED.finditer(rest))
    return {one["key"]: rest[one.end() :] for one in found}


def _attach(
    what: str,
    given: dict[str, str],
    values: dict[str, str],
    text: str,
    line: int,
    optional: bool,
    reading: Reading,
) -> None:
    key = next((key for key in ("event", "event_re", "tp") if key in given), None)
    if key is None:
        return
    value = given[key]
    variable = re.match(r"\w+", value)
    if variable and variable[0] in values:
        value = values[variable[0]]
    returns = what == "attach_kretprobe"
    more: dict[str, Any] = {"optional": optional, "returns": returns}
    if call := _SYSTEM_CALL.match(value):
        reading.want(f"{what} {call['name']}", line, Interface.SYSCALL, call["name"], **more)
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
    if key == "event_re":
        try:
            check_regex(name)
        except UsageError as error:
            reading.problem(line, f"{what}: {error}")
            return
        more |= {"pattern": True, "regex": True}
        reading.want(f"{what} {name}", line, interface, f"^(?:{name})$", **more)
        return
    function = _TEXT.match(given.get("fn_name", ""))
    if function is not None and not returns and interface is Interface.KPROBE_PERF:
        more["arguments"] = arguments_of(text, function["text"])
    reading.want(f"{what} {name}", line, interface, name, **more)


def _choices(text: str) -> dict[int, int]:
    """By line, the question below which it stands: what is attached there may be missing."""
    found: dict[int, int] = {}
    open_questions: list[tuple[int, int]] = []  # indentation and number
    count = 0
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        indent = len(line) - len(line.lstrip())
        goes_on = line.lstrip().startswith(_ANOTHER_BRANCH)
        while open_questions and (
            open_questions[-1][0] > indent or (open_questions[-1][0] == indent and not goes_on)
        ):
            open_questions.pop()
        if _QUESTION.match(line[:300]):
            count += 1
            open_questions.append((indent, count))
        elif open_questions and open_questions[-1][0] < indent:
            found[number] = open_questions[-1][1]
    return found
