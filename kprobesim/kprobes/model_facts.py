"""What a kernel's own code has said of its model, as plain data: without the image it is gone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kprobesim.kprobes.model import Model

__all__ = ["own_facts", "with_facts"]

_NEWER = "kretprobe_unresolved_errno"  # what older files lack


def own_facts(model: Model) -> dict[str, Any]:
    """What :func:`own_model` may have read, as plain data: without the image it is gone."""
    return {
        "events_ambiguous_errno": model.events_ambiguous_errno,
        "events_unknown_errno": model.events_unknown_errno,
        "kretprobe_unresolved_errno": model.kretprobe_unresolved_errno,
        "int3_ends_walk": model.x86.int3_ends_walk,
        "refuse_exception_insns": model.x86.refuse_exception_insns,
        "narrow_exclusives": model.arm64.narrow_exclusives,
    }


def with_facts(model: Model, facts: Any) -> Model:
    """``model`` with what :func:`own_facts` gave.

    Raises:
        ValueError: It gave no such thing.
    """
    if type(facts) is not dict or set(facts) | {_NEWER} != set(own_facts(model)):
        raise ValueError("no facts of a model")
    ambiguous, unknown = facts["events_ambiguous_errno"], facts["events_unknown_errno"]
    switches = [facts[n] for n in ("int3_ends_walk", "refuse_exception_insns", "narrow_exclusives")]
    known = (None, "EADDRNOTAVAIL", "EINVAL")
    unresolved = facts.get(_NEWER, model.kretprobe_unresolved_errno)
    if ambiguous not in known or not {unknown, unresolved} <= {"ENOENT", "EINVAL"}:
        raise ValueError("no errno of a model")
    if not all(type(switch) is bool for switch in switches):
        raise ValueError("no switch of a model")
    return replace(
        model,
        events_ambiguous_errno=ambiguous,
        events_unknown_errno=unknown,
        kretprobe_unresolved_errno=unresolved,
        x86=replace(model.x86, int3_ends_walk=switches[0], refuse_exception_insns=switches[1]),
        arm64=replace(model.arm64, narrow_exclusives=switches[2]),
    )
