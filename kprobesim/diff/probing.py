"""What kprobes, ftrace and error injection say to functions that both kernels have."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from kprobesim.diff.change import Change, Difference
from kprobesim.diff.names import FunctionNames
from kprobesim.kprobes.rules.verdict import Verdict

__all__ = ["changed_probing"]

_COMPARED = 4  # bytes at an entry: they tell whether the first instruction is another


def changed_probing(
    old: FunctionNames, new: FunctionNames, names: Collection[str]
) -> Iterator[Difference]:
    """The functions of ``names``, which both have, that may be probed or traced in only one."""
    for name in names:
        was_traced, is_traced = name in old.traced, name in new.traced
        if was_traced and is_traced:
            pass  # ftrace has a site at both entries, and kprobes may use it
        elif was_traced or is_traced or _may_differ(old, new, name):
            yield from _probed(old, new, name, was_traced, is_traced)
        if name in old.injected and name not in new.injected:
            yield Difference(Change.NOT_OVERRIDABLE, name)


def _may_differ(old: FunctionNames, new: FunctionNames, name: str) -> bool:
    """Whether the verdict may be another: the instruction is, or the blacklist."""
    return _entry(old, name) != _entry(new, name)


def _entry(names: FunctionNames, name: str) -> tuple[bytes, str | None]:
    address = names.addresses[name][0]
    rules = names.kernel.rules
    return rules.read(address, _COMPARED), rules.rules.blacklist.rule(address, name)


def _probed(
    old: FunctionNames, new: FunctionNames, name: str, was_traced: bool, is_traced: bool
) -> Iterator[Difference]:
    before, after = _verdict(old, name), _verdict(new, name)
    if before and not after:
        yield Difference(Change.REFUSED, name, before.summary(), after.summary())
    elif was_traced != is_traced or (after and not before):
        change = Change.NOT_TRACED if was_traced and not is_traced else Change.PROBEABLE
        yield Difference(change, name, _both(was_traced, before), _both(is_traced, after))


def _both(traced: bool, verdict: Verdict) -> str:
    return f"{'traced' if traced else 'not traced'}; a kprobe: {verdict.summary()}"


def _verdict(names: FunctionNames, name: str) -> Verdict:
    return names.kernel.rules.check(addr=names.addresses[name][0], suggest=False)
