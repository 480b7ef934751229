"""``--run``: whether the probes hit, while a booted guest does lines of shell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from kprobesim.asking.counts import CountedPlace
from kprobesim.compat.finding import Answer, Hits, Unread
from kprobesim.compat.judge import ON_FUNCTIONS
from kprobesim.compat.kernel_facts import KernelFacts
from kprobesim.compat.syscall_names import SYSCALL_PREFIX
from kprobesim.sources.wanted import Interface, Wanted

__all__ = ["Run", "modules_of", "with_hits"]

_LSM_PREFIX = "bpf_lsm_"  # the functions that BPF's programs of hooks are attached to
_TRACEPOINTS = (
    Interface.TRACEPOINT,
    Interface.RAW_TRACEPOINT,
    Interface.TP_BTF,
    Interface.TPROBE_EVENTS,
)
_ITERATOR = "__traceiter_"  # the function of each tracepoint
#: Their events are made of raw_syscalls:sys_enter and sys_exit, to which the kernel only comes
#: while somebody wants them (kernel/trace/trace_syscalls.c).
_CALLS, _ENTERED, _RETURNED = "syscalls", "sys_enter_", "sys_exit_"
_OF_CALLS = (_ENTERED, _RETURNED)
_SAID = 200  # characters of a failed line's output that are told


@dataclass(frozen=True)
class Run:
    """What a guest is to do.

    Attributes:
        lines: Shell, for BusyBox.
        timeout: Seconds of this computer's time that each kernel gets for them.
    """

    lines: tuple[str, ...]
    timeout: float = 300.0


def with_hits(
    facts: KernelFacts,
    answers: Sequence[Answer],
    run: Run,
    progress: Callable[[str], None] | None = None,
    cpus: int = 1,
) -> tuple[list[Answer], list[Unread]]:
    """The ``answers`` with how often each probe that attaches to a function or tracepoint has hit.

    Args:
        facts: The kernel.
        answers: What is known of the probes on it.
        run: What the guest does.
        progress: Hears what takes long.
        cpus: How many CPUs it boots with.

    Returns:
        The answers, and what went wrong: lines that failed, a guest that died.

    Raises:
        KprobesimError: It does not boot, or has not the modules that are wanted.
    """
    from kprobesim.asking.run import run_counted  # boots: nothing else here brings the emulator

    places = _places(facts, answers)
    outcome = run_counted(
        facts.known.path,
        list(places.values()),
        run.lines,
        timeout=run.timeout,
        cpus=cpus,
        progress=progress,
        finder=facts.known.rules.finder,
    )
    told = list(answers)
    for number, counts in zip(places, outcome.counts, strict=True):
        hits = Hits(counts.boot, counts.lines, counts.problem)
        told[number] = replace(told[number], hits=hits)
    wrong = [
        Unread(
            facts.kernel.label,
            None,
            f"{one.line!r} ended with {one.status}: {' '.join(one.output.split())[-_SAID:]}",
        )
        for one in outcome.lines
        if one.status
    ]
    if outcome.problem:
        line = outcome.lines[-1].line
        wrong.append(Unread(facts.kernel.label, None, f"in {line!r}: {outcome.problem}"))
    return told, wrong


def modules_of(facts: KernelFacts, answers: Sequence[Answer], run: Run) -> list[str]:
    """The modules that a guest has at hand for :func:`with_hits`."""
    from kprobesim.asking.run import modules_for

    return modules_for(_places(facts, answers).values(), run.lines)


def _places(facts: KernelFacts, answers: Sequence[Answer]) -> dict[int, CountedPlace]:
    """What is counted, by the number of its answer."""
    found = ((number, _place(facts, answer.wanted)) for number, answer in enumerate(answers))
    return {number: place for number, place in found if place is not None}


def _place(facts: KernelFacts, wanted: Wanted) -> CountedPlace | None:
    """What is counted for a probe; ``None`` for those that are on no function of a known name."""
    if wanted.pattern or wanted.source_place is not None:
        return None
    if wanted.address is not None:
        return CountedPlace(wanted.text, address=wanted.address, returns=wanted.returns)
    if wanted.interface in _TRACEPOINTS:
        return _passed(facts, wanted)
    name = _function(facts, wanted)
    if name is None:
        return None
    copies: tuple[int, ...] = ()
    if not wanted.offset:
        inlined = facts.facts(name).inlined_into
        copies = tuple(one.address for one in inlined if one.address is not None)
    return CountedPlace(
        wanted.text,
        f"{wanted.module}:{name}" if wanted.module else name,
        offset=wanted.offset,
        returns=wanted.returns,
        copies=copies,
    )


def _passed(facts: KernelFacts, wanted: Wanted) -> CountedPlace:
    """Where a tracepoint is passed; the event of a system call is the call itself."""
    group, _, name = wanted.target.rpartition(":")
    for prefix in _OF_CALLS:
        if group == _CALLS and name.startswith(prefix):
            call = SYSCALL_PREFIX[facts.kernel.arch] + name.removeprefix(prefix)
            return CountedPlace(wanted.text, call, returns=prefix == _RETURNED)
    if name not in facts.known.raw_tracepoints:
        modules = facts.modules_with(_ITERATOR + name)
        name = f"{modules[0]}:{name}" if modules else name
    return CountedPlace(wanted.text, name, tracepoint=True)


def _function(facts: KernelFacts, wanted: Wanted) -> str | None:
    if wanted.interface in ON_FUNCTIONS:
        return wanted.target
    if wanted.interface is Interface.SYSCALL:
        return SYSCALL_PREFIX[facts.kernel.arch] + wanted.target
    if wanted.interface in (Interface.LSM, Interface.LSM_CGROUP):
        return _LSM_PREFIX + wanted.target
    return None
