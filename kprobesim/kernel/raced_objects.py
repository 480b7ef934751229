"""The objects of a race whose types are known from the start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from kprobesim.image import KernelImage
from kprobesim.races.failures.typed_places import VARIABLES, arguments_of
from kprobesim.races.lanes.run import Lane
from kprobesim.races.planned import PlannedCall
from kprobesim.types.composites import Composite

__all__ = ["raced_objects"]

_TASK = "task_struct"


def raced_objects(
    image: KernelImage,
    plan: Mapping[str, Sequence[PlannedCall]],
    lanes: Sequence[Lane],
    tasks: Sequence[int],
) -> Iterator[tuple[int, Composite]]:
    """Addresses and types: of what the calls are given, of the tasks, of the kernel's variables.

    Args:
        image: The kernel; of one without types nothing is known.
        plan: What is called.
        lanes: The same calls with their arguments in the guest.
        tasks: The CPUs' tasks.
    """
    btf = image.btf
    if btf is None:
        return
    for calls, lane in zip(plan.values(), lanes, strict=False):
        for call, (_, values) in zip(calls, lane.calls, strict=True):
            if isinstance(call.function, str):
                yield from arguments_of(btf, call.function, values)
    named = [(task, _TASK) for task in tasks]
    for name, kind in VARIABLES.items():
        address = image.exported(name)
        if address is not None:
            named.append((address, kind))
    for address, kind in named:
        for found in btf.named(kind, Composite)[:1]:
            yield address, found
