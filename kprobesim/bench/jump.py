"""What a hit of an optimised probe costs: a jump to a detour buffer, and no breakpoint."""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.bench.contest import check
from kprobesim.bench.cost import handled_cost
from kprobesim.bench.guestcode import CALL_LOOP
from kprobesim.errors import EngineError
from kprobesim.kernel.called import CalledKernel
from kprobesim.kprobes.kprobe import Kprobe, KprobeFlag, PreHandler

__all__ = ["JUMPED", "jump_cost"]

JUMPED = "int_sqrt"
_X, _ROOT = 100, 10  # what the loop calls it with, and the result


def jump_cost(
    kernel: CalledKernel, hits: int, handler: PreHandler | None = None
) -> Callable[[], float]:
    """Measures ns a hit over no probe: the loop of calls with the probe, less without.

    Args:
        kernel: One that has optimised probes.
        hits: How many are timed.
        handler: The pre_handler; by default an empty one.
    """
    code = CALL_LOOP[kernel.arch]
    loop = kernel.alloc(len(code), executable=True)
    kernel.write(loop, code)
    place, target = _place(kernel), kernel.symbols[JUMPED]

    def call(turns: int) -> None:
        check(f"{JUMPED}({_X})", kernel.call(loop, turns, target, _X, timeout=None), _ROOT)

    def plant(pre_handler: PreHandler) -> Callable[[], object]:
        kernel.kprobes.optimization = True
        planted = kernel.register_kprobe(Kprobe(addr=place, pre_handler=pre_handler), arming="jump")
        head = kernel.kprobes.get_kprobe(place)
        check("whether it is optimised", bool(head and head.flags & KprobeFlag.OPTIMIZED), True)
        return planted.remove

    return lambda: handled_cost(call, plant, [handler or _empty], hits)


def _place(kernel: CalledKernel) -> int:
    """The first instruction that can be optimised: it is executed once a call."""
    function = kernel.symbols[JUMPED]
    for address in range(function.address, function.address + function.size):
        if kernel.check(addr=address, suggest=False).optimizable:
            return address
    raise EngineError(f"no place in {JUMPED}() of {kernel} can be optimised")


def _empty(p: Kprobe, regs: object) -> None:
    pass
