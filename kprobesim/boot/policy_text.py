"""Policies as text: ``random:seed=5,blocks=1000,at=vfs_read|mutex_*``."""

from __future__ import annotations

import dataclasses
from typing import Any

from kprobesim.boot.policy import Policy, Turns
from kprobesim.boot.priorities import Priorities
from kprobesim.boot.random_turns import RandomTurns
from kprobesim.boot.round_robin import RoundRobin
from kprobesim.errors import UsageError

__all__ = ["parse_policy", "policy_text"]

_KINDS: dict[str, type[Any]] = {kind.NAME: kind for kind in (RoundRobin, RandomTurns, Priorities)}


def parse_policy(text: str) -> Policy:
    """The policy that ``text`` stands for; raises :class:`UsageError`."""
    name, _, parameters = text.partition(":")
    kind = _KINDS.get(name)
    if kind is None:
        raise UsageError(f"{name!r} is no policy: there are {', '.join(_KINDS)}")
    known = [field.name for field in dataclasses.fields(kind)]
    given: dict[str, Any] = {}
    for each in filter(None, parameters.split(",")):
        key, _, value = each.partition("=")
        if key not in known or key in given or not value:
            raise UsageError(
                f"{each!r} is no parameter of the policy {name}: write {name}:"
                f"{','.join(f'{one}=...' for one in known)}"
            )
        if key in ("at", "accesses"):
            given[key] = tuple(value.split("|"))
        elif value.isdecimal() and len(value) < 20:
            given[key] = int(value)
        else:
            raise UsageError(f"{each!r}: {key} of the policy {name} is a number")
    policy: Policy = kind(**given)
    return policy


def policy_text(policy: Policy) -> str:
    """What :func:`parse_policy` makes it again from; empty for one that it does not know."""
    return str(policy) if isinstance(policy, Turns) and type(policy) in _KINDS.values() else ""
