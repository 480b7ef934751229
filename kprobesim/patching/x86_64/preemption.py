"""The preemption that a kernel with PREEMPT_DYNAMIC chooses while it boots (kernel/sched/core.c).

Its image is set up for full preemption; ``sched_init()`` asks for what the configuration says.
"""

from __future__ import annotations

from kprobesim.arch.x86_64.insn import Undecodable, decode
from kprobesim.patching.text import Code

__all__ = ["preemption_calls"]

_NONE, _VOLUNTARY, _FULL, _LAZY = range(4)  # preempt_dynamic_none ...

_NOTHING = ""
_ZERO = "__static_call_return0"
#: What stands behind each static call: a symbol, or nothing.
CALLS = {
    _NONE: {
        "cond_resched": "__cond_resched",
        "might_resched": _ZERO,
        "preempt_schedule": _NOTHING,
        "preempt_schedule_notrace": _NOTHING,
        "irqentry_exit_cond_resched": _NOTHING,
    },
    _VOLUNTARY: {
        "cond_resched": "__cond_resched",
        "might_resched": "__cond_resched",
        "preempt_schedule": _NOTHING,
        "preempt_schedule_notrace": _NOTHING,
        "irqentry_exit_cond_resched": _NOTHING,
    },
}

_LONGEST = 1 << 14  # bytes of sched_init()
_MOV_EDI, _XOR_EDI, _CALL = b"\xbf", b"\x31\xff", b"\xe8"


def preemption_calls(code: Code) -> dict[str, int]:
    """For each static call that is changed: the address of its function, or 0."""
    chosen = CALLS.get(_mode(code), {})
    return {name: code.symbol(function) or 0 for name, function in chosen.items()}


def _mode(code: Code) -> int:
    """The argument of sched_init()'s call of the function that changes the mode."""
    change = code.symbol("__sched_dynamic_update") or code.symbol("sched_dynamic_update")
    found = code.image.symbols.candidates("sched_init")
    if change is None or len(found) != 1:
        return _FULL
    start, size = found[0].address, min(found[0].size, _LONGEST)
    body = code.read(start, size)
    at, argument = 0, _FULL
    while at < size:
        try:
            insn = decode(body, at)
        except Undecodable:
            break
        at += insn.length
        if insn.opcode == _MOV_EDI:
            argument = insn.imm
        elif insn.raw == _XOR_EDI:
            argument = _NONE
        elif insn.opcode == _CALL and start + at + insn.imm == change:
            return argument
    return _FULL
