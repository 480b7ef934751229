"""Arguments of a definition: ``name=+8(%si):string``, ``$arg1``, ``file->f_pos``.

The grammar is that of kernel/trace/trace_probe.c, Linux 5.10 to 6.18, with all that any of them
takes: whether this kernel knows BTF arguments is a question to the kernel. So is what only it can
tell: registers' names, the size of a stack.
"""

from __future__ import annotations

import dataclasses
import re

from kprobesim.sources.wanted import WantedArgument

__all__ = ["RESERVED", "DefinitionError", "parse_argument", "split_type"]

#: Names that each event has already, kernel/trace/trace_probe.c.
RESERVED = frozenset(
    "common_type common_flags common_preempt_count common_pid common_tgid"
    " __probe_ip __probe_ret_ip __probe_func".split()
)

_MOST_NAME = 32
_MOST_FETCH = 63
_MOST_NESTED = 12  # FETCH_INSN_MAX is 16: load, dereferences, store, end
_MOST_ARRAY = 64
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|[0-9]+)")
_TYPE = re.compile(
    r"[usx](8|16|32|64)|char|symbol|symstr|string|ustring|%p[dD]"
    r"|b(?P<width>[^@/]*)(?P<at>@(?P<offset>[^/]*))?/(?P<size>.*)"
)
_MEMBERS = re.compile(r"[A-Za-z_]\w*(?:(?:->|\.)[A-Za-z_]\w*)*")
_VALUE_ONLY = ("$stack", "$retval", "$arg", "%")


class DefinitionError(Exception):
    """A definition that every kernel refuses. ``at`` is the column, from 0, in what was given."""

    def __init__(self, at: int, problem: str) -> None:
        self.at = at
        self.problem = problem
        super().__init__(problem)


def parse_argument(word: str, used: set[str]) -> WantedArgument:
    """One argument; its name joins those in ``used``.

    Raises:
        DefinitionError: The kernel's parser refuses it.
    """
    name, equals, body = word.partition("=")
    if equals:
        _check_name(name, used)
        start = len(name) + 1
    else:
        body, start = word, 0
    if not body:
        raise DefinitionError(start, "the argument has nothing behind its ="[:99])
    if len(body) > _MOST_FETCH:
        raise DefinitionError(start, f"an argument has at most {_MOST_FETCH} characters")
    fetch, colon, kind = split_type(body)
    if colon:
        _check_type(fetch, kind, start + len(fetch) + 1)
    return dataclasses.replace(_parse_fetch(fetch, start, 0), text=word)


def _check_name(name: str, used: set[str]) -> None:
    if not name:
        raise DefinitionError(0, "the argument has no name before its =")
    if len(name) > _MOST_NAME:
        raise DefinitionError(0, f"an argument's name has at most {_MOST_NAME} characters")
    if _NAME.fullmatch(name) is None:
        raise DefinitionError(0, "an argument's name must be one of C: letters, digits and _")
    if name in RESERVED or name in used:
        raise DefinitionError(0, f"the argument name {name} is in use already: take another")
    used.add(name)


def split_type(body: str) -> tuple[str, str, str]:
    """What is fetched, a colon, and its type, which stands behind the last ``:`` in no string."""
    if body.startswith('\\"'):
        end = body.find('"', 2)
        return body.partition(":") if end < 0 else (body[: end + 1], *_behind(body[end + 1 :]))
    fetch, colon, kind = body.rpartition(":")
    return (fetch, colon, kind) if colon else (body, "", "")


def _behind(rest: str) -> tuple[str, str]:
    return (":", rest[1:]) if rest.startswith(":") else ("", "")


def _check_type(fetch: str, kind: str, at: int) -> None:
    kind, bracket, array = kind.partition("[")
    if bracket:
        _check_array(array, at + len(kind) + 1)
    found = _TYPE.fullmatch(kind)
    if found is None or (kind.startswith("b") and found["at"] is None and "@" not in kind):
        if kind.startswith("b") and "/" in kind:
            raise DefinitionError(at, "a bit field is written bWIDTH@OFFSET/SIZE")
        raise DefinitionError(at, f"there is no type {kind[:40]!r} for arguments")
    if found["size"] is not None:
        _check_bit_field(found, at)
    is_value = fetch.startswith(_VALUE_ONLY) and fetch.lower() != "$comm"
    if kind in ("string", "ustring") and is_value:
        raise DefinitionError(at, "a string is read from memory: write +0(...) round the pointer")
    if bracket and is_value:
        raise DefinitionError(at, "an array is read from memory: write +0(...) round the pointer")


def _check_array(array: str, at: int) -> None:
    number, bracket, rest = array.partition("]")
    if not bracket:
        raise DefinitionError(at + len(array), "the array's ] is missing")
    if rest:
        raise DefinitionError(at + len(number) + 1, "nothing may follow an array's ]")
    if re.fullmatch(r"[0-9]+", number) is None or int(number[:9]) == 0:
        raise DefinitionError(at, "an array has a number of elements, from 1 on")
    if int(number[:9]) > _MOST_ARRAY:
        raise DefinitionError(at, f"an array has at most {_MOST_ARRAY} elements")


def _check_bit_field(found: re.Match[str], at: int) -> None:
    numbers = [found["width"], found["offset"], found["size"]]
    if not all(text and re.fullmatch(r"[0-9]{1,4}", text) for text in numbers):
        raise DefinitionError(at, "a bit field is written bWIDTH@OFFSET/SIZE")
    width, offset, size = (int(text) for text in numbers)
    if size not in (8, 16, 32, 64):
        raise DefinitionError(at, "a bit field lies in 8, 16, 32 or 64 bits")
    if not width or width + offset > size:
        raise DefinitionError(
            at, f"a bit field of {width} bits from {offset} on leaves {size} bits"
        )


def _parse_fetch(text: str, at: int, depth: int) -> WantedArgument:
    """Where the value comes from."""
    first = text[:1]
    if first == "$":
        return _variable(text, at)
    if first == "%":
        if len(text) == 1:
            raise DefinitionError(at, "% is followed by the name of a register")
        return WantedArgument(text, register=text[1:])
    if first == "@":
        return _memory(text, at)
    if first in ("+", "-"):
        return _dereference(text, at, depth)
    if first == "\\":
        _check_immediate(text, at)
        return WantedArgument(text)
    if _MEMBERS.fullmatch(text):
        name, *members = re.split(r"->|\.", text)
        return WantedArgument(text, name=name, members=tuple(members))
    if first == "(" or re.match(r"[A-Za-z_]\w*\(", text):
        return WantedArgument(text)  # casts and per-CPU reads of the newest kernels
    raise DefinitionError(at, f"{text[:40]!r} is no way to fetch an argument")


def _variable(text: str, at: int) -> WantedArgument:
    if text == "$retval":
        return WantedArgument(text, returned=True)
    if text in ("$comm", "$COMM", "$arg*", "$current"):
        return WantedArgument(text)
    found = re.fullmatch(r"(\$[a-z]+)([0-9]*)", text)
    kind, number = (found[1], found[2]) if found else ("", "")
    if kind == "$stack":
        if number and int(number[:9]) > 1 << 13:
            raise DefinitionError(at, "no stack has that many words")
        return WantedArgument(text)
    if kind == "$arg" and number:
        if not 1 <= int(number[:9]) <= 128:
            raise DefinitionError(at, "arguments are counted from $arg1 on")
        return WantedArgument(text, ordinal=int(number) - 1)
    raise DefinitionError(at, f"there is no variable {text[:40]}: $argN, $retval, $stackN, $comm")


def _memory(text: str, at: int) -> WantedArgument:
    place = text[1:]
    if place.startswith("+"):
        raise DefinitionError(at, "an offset in a file is for uprobes")
    if place[:1].isdigit():
        if _NUMBER.fullmatch(place) is None:
            raise DefinitionError(at, f"{place[:40]!r} is no address")
        return WantedArgument(text)
    symbol = re.split(r"[-+]", place, maxsplit=1)[0]
    offset = place[len(symbol) :]
    if not symbol or (offset and _NUMBER.fullmatch(offset) is None):
        raise DefinitionError(at, "@ is followed by an address or by SYMBOL+OFFSET")
    return WantedArgument(text, symbol=symbol)


def _dereference(text: str, at: int, depth: int) -> WantedArgument:
    offset, bracket, inner = text.partition("(")
    if not bracket:
        raise DefinitionError(at, "a dereference is written +OFFSET(WHAT)")
    if _NUMBER.fullmatch(offset.replace("u", "", 1) if offset[1:2] == "u" else offset) is None:
        raise DefinitionError(at, f"{offset[:40]!r} is no offset")
    if depth >= _MOST_NESTED - 1:
        raise DefinitionError(at, "dereferences are nested too deeply")
    end = inner.rfind(")")
    if end < 0:
        raise DefinitionError(at + len(text), "the dereference's ) is missing")
    start = at + len(offset) + 1
    if inner[:end].lower() == "$comm":
        raise DefinitionError(start, "$comm cannot be dereferenced")
    return _parse_fetch(inner[:end], start, depth + 1)


def _check_immediate(text: str, at: int) -> None:
    if text.startswith('\\"'):
        if len(text) < 3 or not text.endswith('"'):
            raise DefinitionError(at + len(text), "the string's closing \" is missing")
    elif _NUMBER.fullmatch(text[1:]) is None:
        raise DefinitionError(at + 1, f"{text[1:][:40]!r} is no number")
