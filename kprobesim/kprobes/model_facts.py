"""What a snapshot says of the kernel whose kprobes it imitates, as plain data.

That is a model's name, and what the kernel's own code has said of it: without the image it is gone.
Nothing here makes a model, which takes 8 ms: a resumed kernel has none before it has probes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kprobesim.kprobes.model import Model

__all__ = ["MODEL_NAMES", "check_facts", "own_facts", "with_facts"]

MODEL_NAMES = (
    "2.6",
    "4.9",
    "4.19",
    "5.4",
    "5.10",
    "5.15",
    "6.1",
    "6.6",
    "6.12",
    "6.13",
    "6.15",
    "6.17",
)
"""Of all models, in order."""

_NEWER = "kretprobe_unresolved_errno"  # what older files lack
_SWITCHES = ("int3_ends_walk", "refuse_exception_insns", "narrow_exclusives")
_FACTS = {"events_ambiguous_errno", "events_unknown_errno", _NEWER, *_SWITCHES}


def own_facts(model: Model) -> dict[str, Any]:
    """What :func:`own_model` may have read."""
    return {
        "events_ambiguous_errno": model.events_ambiguous_errno,
        "events_unknown_errno": model.events_unknown_errno,
        "kretprobe_unresolved_errno": model.kretprobe_unresolved_errno,
        "int3_ends_walk": model.x86.int3_ends_walk,
        "refuse_exception_insns": model.x86.refuse_exception_insns,
        "narrow_exclusives": model.arm64.narrow_exclusives,
    }


def check_facts(facts: Any) -> None:
    """Raise ``ValueError`` unless :func:`own_facts` may have given ``facts``."""
    if type(facts) is not dict or set(facts) | {_NEWER} != _FACTS:
        raise ValueError("no facts of a model")
    ambiguous, unknown = facts["events_ambiguous_errno"], facts["events_unknown_errno"]
    unresolved = facts.get(_NEWER, "ENOENT")
    known = (None, "EADDRNOTAVAIL", "EINVAL")
    if ambiguous not in known or not {unknown, unresolved} <= {"ENOENT", "EINVAL"}:
        raise ValueError("no errno of a model")
    if not all(type(facts[name]) is bool for name in _SWITCHES):
        raise ValueError("no switch of a model")


def with_facts(model: Model, facts: Any) -> Model:
    """``model`` with what :func:`own_facts` gave.

    Raises:
        ValueError: It gave no such thing.
    """
    from dataclasses import replace

    check_facts(facts)
    x86 = {name: facts[name] for name in ("int3_ends_walk", "refuse_exception_insns")}
    return replace(
        model,
        events_ambiguous_errno=facts["events_ambiguous_errno"],
        events_unknown_errno=facts["events_unknown_errno"],
        kretprobe_unresolved_errno=facts.get(_NEWER, model.kretprobe_unresolved_errno),
        x86=replace(model.x86, **x86),
        arm64=replace(model.arm64, narrow_exclusives=facts["narrow_exclusives"]),
    )
