"""Where a definition's probe is, as the arguments of a ``Kprobe``."""

from __future__ import annotations

from typing import Any

from kprobesim.dynevent.definition import ProbeDefinition
from kprobesim.kprobes.rules.rules import Rules

__all__ = ["place_of"]


def place_of(definition: ProbeDefinition, rules: Rules) -> dict[str, Any]:
    """The place of ``definition``; of several symbols of its name the kernel takes the first.

    A name that the kernel wants to be unique has been refused before.
    """
    if definition.qualified is None:
        return {"addr": definition.address}
    found = rules.candidates(definition.qualified)
    if len(found) > 1:
        return {"addr": found[0].address + definition.offset}
    return {"symbol_name": definition.qualified, "offset": definition.offset}
