"""One probe for many functions: where its name is a pattern, copies of it are planted."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from typing import TypeVar

from kprobesim.errors import KprobeError, Reason
from kprobesim.kprobes.jprobe import Jprobe
from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.kprobes.kretprobe import Kretprobe
from kprobesim.kprobes.rules.names import is_many

__all__ = ["entry_of", "planted", "with_members"]

_P = TypeVar("_P", Kprobe, Kretprobe, Jprobe)


def entry_of(probe: Kprobe | Kretprobe | Jprobe) -> Kprobe:
    """The ``struct kprobe`` in a probe of any kind."""
    return probe if isinstance(probe, Kprobe) else probe.kp


def planted(probes: Iterable[_P]) -> Iterator[_P]:
    """Those of ``probes`` that are planted themselves, and the members of the others."""
    for probe in probes:
        yield from probe.members or (probe,)


def with_members(
    probes: Sequence[_P], functions: Callable[[str, int], Iterable[str]]
) -> Iterator[tuple[_P, Sequence[_P]]]:
    """Each of ``probes`` with the probes to plant for it: itself, or one for each function.

    Args:
        probes: Probes of one kind.
        functions: The names of the functions that a pattern, or several names, mean, where a probe
            can be so many bytes from their start.

    Raises:
        KprobeError: A probe stands for others already, or a pattern means no function.
    """
    for probe in probes:
        entry = entry_of(probe)
        name = entry.symbol_name
        if not isinstance(name, str) or not is_many(name):
            yield probe, (probe,)
            continue
        if probe.members:
            raise KprobeError(
                errno.EINVAL,
                Reason.ALREADY_REGISTERED,
                f"the {len(probe.members)} probes of {name} are registered already; unregister "
                "them first",
                symbol=name,
            )
        yield probe, [_for_function(probe, function) for function in functions(name, entry.offset)]


def _for_function(probe: _P, name: str) -> _P:
    one = copy(probe)
    if not isinstance(one, Kprobe):
        one.kp = copy(one.kp)
    entry_of(one).symbol_name = name
    return one
