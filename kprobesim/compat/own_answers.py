"""``--ask``: the kernel itself, booted, judges the probes that the rules have judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from kprobesim.compat.finding import Answer, Finding
from kprobesim.compat.interfaces.kprobe import verdict_of
from kprobesim.compat.kernel_facts import KernelFacts
from kprobesim.compat.kinds import Kind
from kprobesim.errno_names import errno_name
from kprobesim.errors import KprobesimError
from kprobesim.sources.wanted import Interface, Wanted

__all__ = ["with_own_answers"]

_ASKED = frozenset((Interface.REGISTER_KPROBE, Interface.KPROBE_EVENTS, Interface.KPROBE_PERF))
"""What a guest's code is asked of; BPF's probes go the way of kprobe_events."""


def with_own_answers(
    facts: KernelFacts,
    answers: Sequence[Answer],
    progress: Callable[[str], None] | None = None,
    at_hand: Sequence[str] = (),
    cpus: int = 1,
) -> list[Answer]:
    """The ``answers`` with what the kernel says to each of them that is a kprobe.

    A probe of which it says something else gets a finding of the kind :attr:`Kind.DIFFERS`.

    Args:
        facts: The kernel as the rules know it.
        answers: What they say.
        progress: Hears that it boots.
        at_hand: Modules that it is to have at hand, as it will be run with them.
        cpus: How many CPUs it boots with.

    Raises:
        KprobesimError: It cannot be asked: it does not boot, or has no kprobes of its own.
    """
    asked = [answer.wanted for answer in answers if _is_asked(answer.wanted)]
    if not asked:
        return list(answers)
    from kprobesim.asking.ask import Asked  # boots: nothing else here brings the emulator

    modules = sorted({wanted.module for wanted in asked if wanted.module})
    finder = facts.known.rules.finder
    guest = Asked(facts.known.path, modules, progress, at_hand=at_hand, finder=finder, cpus=cpus)
    told = []
    for answer in answers:
        wanted = answer.wanted
        if not _is_asked(wanted):
            told.append(answer)
            continue
        said = guest.point(
            f"{wanted.module}:{wanted.target}" if wanted.module else wanted.target or None,
            wanted.offset,
            addr=wanted.address,
            kretprobe=wanted.returns,
            events=wanted.interface is not Interface.REGISTER_KPROBE,
        )
        told.append(_together(answer, said.errno, _expected(facts, wanted)))
    return told


def _is_asked(wanted: Wanted) -> bool:
    return wanted.interface in _ASKED and not wanted.pattern and wanted.source_place is None


def _expected(facts: KernelFacts, wanted: Wanted) -> int | None:
    try:
        return verdict_of(facts, wanted, wanted.module).errno
    except KprobesimError:  # told already, as this probe's finding
        return None


def _together(answer: Answer, said: int | None, expected: int | None) -> Answer:
    if said is None or expected is None or said == expected:
        return replace(answer, asked=said)
    words = [f"-{errno_name(n)}" if n else "yes" for n in (said, expected)]
    differs = Finding(
        Kind.DIFFERS,
        f"the kernel itself, booted, says {words[0]}; by the rules read from it: {words[1]}",
        errno=said,
        found_by="guest",
    )
    return replace(answer.with_finding(differs), asked=said)
