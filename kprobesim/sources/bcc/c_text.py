"""The C in a tool of BCC's: what attaches by names or macros, and parameters of functions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from kprobesim.sources.wanted import Interface, WantedArgument

__all__ = ["CProbe", "arguments_of", "c_probes", "fields_of", "parameters"]

_MACROS = {
    "TRACEPOINT_PROBE": (Interface.TRACEPOINT, False),
    "RAW_TRACEPOINT_PROBE": (Interface.RAW_TRACEPOINT, False),
    "KFUNC_PROBE": (Interface.FENTRY, False),
    "KRETFUNC_PROBE": (Interface.FEXIT, True),
    "KMOD_RET": (Interface.FMOD_RET, False),
    "MODULE_KFUNC_PROBE": (Interface.FENTRY, False),
    "MODULE_KRETFUNC_PROBE": (Interface.FEXIT, True),
    "LSM_PROBE": (Interface.LSM, False),
}
#: Functions whose names say what they attach to: bcc's BPF._trace_autoload().
_PREFIXES = {
    "kprobe": (Interface.KPROBE_PERF, False),
    "kretprobe": (Interface.KPROBE_PERF, True),
    "tracepoint": (Interface.TRACEPOINT, False),
    "raw_tracepoint": (Interface.RAW_TRACEPOINT, False),
}
_MACRO = re.compile(
    rf"^[ \t]*(?P<macro>{'|'.join(_MACROS)})\((?P<rest>[^()\n]{{0,500}})\)", re.MULTILINE
)
_FUNCTION = re.compile(
    rf"(?:^|[\"'])[ \t]*(?:static\s+)?(?:int|void)\s+(?P<kind>{'|'.join(_PREFIXES)})__(?P<name>\w+)"
    r"\s*\((?P<rest>[^()]{0,1000})\)",
    re.MULTILINE,
)
_PARAMETER = re.compile(
    r"(?:const\s+|volatile\s+)*(?P<type>(?:(?:struct|union|enum)\s+)?\w+(?:\s+\w+)*?)"
    r"(?:\s+__user)?\s*(?P<stars>[*\s]*?)\s*(?P<name>\w+)(?:\[\w*\])?"
)
_FIELD = re.compile(r"\bargs\s*->\s*(?:data_loc_)?(\w+)")
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_BRACE = re.compile(r"[{}]")
_DIRECTIVE = re.compile(r"^[ \t]*#", re.MULTILINE)
_LONGEST_BODY = 1 << 14
_OF_SYSTEM_CALL = "syscall__"


@dataclass(frozen=True)
class CProbe:
    """A function in C that attaches by itself; ``at`` is its place in the text."""

    text: str
    at: int
    interface: Interface
    target: str
    module: str | None
    returns: bool
    arguments: tuple[WantedArgument, ...]


def c_probes(text: str) -> Iterator[CProbe]:
    """Those of a text, in no order."""
    for found in _MACRO.finditer(text):
        interface, returns = _MACROS[found["macro"]]
        first, *rest = (part.strip() for part in found["rest"].split(","))
        module = None
        if found["macro"].startswith("MODULE_") and rest:
            module, first = first, rest.pop(0)
        arguments = parameters(rest, returns)
        if interface is Interface.TRACEPOINT:
            first = f"{first}:{rest[0]}" if rest else first
            arguments = fields_of(_body(text, found.end()))
        head = f"{found['macro']}({first})"
        yield CProbe(
            head,
            found.start("macro"),
            interface,
            first,
            module,
            returns,
            arguments,
        )
    for found in _FUNCTION.finditer(text):
        interface, returns = _PREFIXES[found["kind"]]
        name = found["name"]
        if interface is Interface.TRACEPOINT:
            name = name.replace("__", ":", 1)
        arguments = parameters(found["rest"].split(",")[1:], False)
        yield CProbe(
            f"{found['kind']}__{found['name']}",
            found.start("kind"),
            interface,
            name,
            None,
            returns,
            () if returns else arguments,
        )


def arguments_of(text: str, function: str) -> tuple[WantedArgument, ...]:
    """What the C function takes behind its context: those arguments of the probed one.

    None if the tool has several of that name, of which it takes one as the kernel demands.
    """
    if function.startswith(_OF_SYSTEM_CALL):
        return ()  # bcc reads them from the call's own registers
    found = re.findall(rf"\b{re.escape(function)}\s*\(([^()]{{0,1000}})\)\s*\{{", text)
    return parameters(found[0].split(",")[1:], False) if len(set(found)) == 1 else ()


def fields_of(code: str) -> tuple[WantedArgument, ...]:
    """Fields of an event's record that C reads: ``args->nr_sector``."""
    names = dict.fromkeys(_FIELD.findall(_COMMENT.sub("", code)))
    return tuple(WantedArgument(f"args->{name}", name=name) for name in names)


def _body(text: str, at: int) -> str:
    """The block of C that begins there; nothing if ``#if`` leaves out some of it."""
    depth = 0
    for found in _BRACE.finditer(text, at, at + _LONGEST_BODY):
        depth += 1 if found[0] == "{" else -1
        if depth <= 0:
            body = text[at : found.end()]
            return "" if _DIRECTIVE.search(body) else body
    return ""


def parameters(parts: list[str], last_is_result: bool = False) -> tuple[WantedArgument, ...]:
    """Arguments by the declarations of parameters: ``struct file *file``."""
    found = []
    for number, part in enumerate(part for part in parts if part.strip()):
        match = _PARAMETER.fullmatch(" ".join(part.split()))
        kind = match["type"] if match and match["stars"].count("*") == 1 else None
        said = kind if kind and kind.startswith(("struct ", "union ")) else None
        text = " ".join(part.split())
        if last_is_result and number == len(parts) - 1:
            found.append(WantedArgument(text, ordinal=number, returned=True, type=said))
        else:
            found.append(WantedArgument(text, ordinal=number, type=said))
    return tuple(found)
