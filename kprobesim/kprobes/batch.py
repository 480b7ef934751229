"""Registering several probes at a time: register_kprobes() and its siblings (kernel/kprobes.c)."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import TypeVar

from kprobesim.errors import KprobeError, Reason
from kprobesim.garbage import no_garbage

__all__ = ["register_all"]

_P = TypeVar("_P")


def register_all(
    probes: Sequence[_P],
    register: Callable[[_P], None],
    unregister: Callable[[Sequence[_P]], None],
) -> None:
    """All or none: what the first one is refused with is raised once the earlier ones are out.

    Raises :class:`KprobeError` (EINVAL) if there are none.
    """
    if not probes:
        raise KprobeError(
            errno.EINVAL, Reason.EMPTY_BATCH, "no probes are given: a batch has at least one"
        )
    done: list[_P] = []
    try:
        with no_garbage():
            for p in probes:
                register(p)
                done.append(p)
    except BaseException:
        unregister(done)
        raise
