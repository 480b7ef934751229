"""What a hook calls: one function, or each of a list (``list:NAME``) that the policy declares."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from kprobesim.errors import UsageError
from kprobesim.sources.regexes import check_regex
from kprobesim.sources.wanted import Interface
from kprobesim.sources.yaml_nodes import Value

__all__ = ["Call", "calls"]

_SYSTEM_CALL = re.compile(r"(?:sys_)?(?P<name>[a-z_0-9]+)")
_PREFIXED = re.compile(r"__(x64|arm64|ia32)_(compat_)?sys_\w+")
_OTHER_ABI = re.compile(r"(?:i386|arm32)/(?:sys_)?(\w+)")
_SYMBOL = re.compile(r"[A-Za-z_.][\w.]*")


@dataclass(frozen=True)
class Call:
    """One function: a system call by ``Interface.SYSCALL``, others by a kprobe."""

    line: int
    interface: Interface
    target: str
    is_system_call: bool = False
    pattern: bool = False
    regex: bool = False


def calls(call: Value, is_system_call: bool, lists: Value) -> Iterator[Call]:
    """The functions that a hook's ``call`` means.

    Raises:
        UsageError: It is no name, or names a list that there is not.
    """
    name = call.text
    if not name.startswith("list:"):
        yield _call(call.line, name, is_system_call)
        return
    wanted = name.partition(":")[2]
    found = [one for one in lists if one["name"].text == wanted]
    if not found:
        raise UsageError(f"there is no list {wanted[:60]!r} in this policy's lists")
    kind = found[0]["type"].text.lower()
    if kind == "generated_syscalls":
        yield Call(found[0].line, Interface.SYSCALL, "*", is_system_call=True, pattern=True)
    elif kind == "generated_ftrace":
        pattern = found[0]["pattern"].text
        if not pattern:
            raise UsageError(f"the generated list {wanted[:60]!r} has no pattern")
        check_regex(pattern)
        yield Call(found[0].line, Interface.KPROBE_PERF, pattern, pattern=True, regex=True)
    elif kind in ("", "syscalls"):
        for value in found[0]["values"]:
            yield _call(value.line, value.text, is_system_call or kind == "syscalls")
    else:
        raise UsageError(
            f"the list {wanted[:60]!r} is of type {kind[:40]!r}: there are syscalls, "
            "generated_syscalls and generated_ftrace"
        )


def _call(line: int, name: str, is_system_call: bool) -> Call:
    if _SYMBOL.fullmatch(name) is None and _OTHER_ABI.fullmatch(name) is None:
        raise UsageError(f"{name[:60]!r} is no name of a function")
    if not is_system_call:
        return Call(line, Interface.KPROBE_PERF, name)
    if other := _OTHER_ABI.fullmatch(name):
        return Call(line, Interface.KPROBE_PERF, f"__ia32_sys_{other[1]}", is_system_call=True)
    if _PREFIXED.fullmatch(name):
        return Call(line, Interface.KPROBE_PERF, name, is_system_call=True)
    found = _SYSTEM_CALL.fullmatch(name)
    target = found["name"] if found else name
    return Call(line, Interface.SYSCALL, target, is_system_call=True)
