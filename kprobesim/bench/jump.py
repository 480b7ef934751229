"""What a hit of an optimised probe costs: a jump to a detour buffer, and no breakpoint."""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.bench.contest import check, seconds
from kprobesim.bench.guestcode import CALL_LOOP
from kprobesim.errors import EngineError
from kprobesim.kernel.called import CalledKernel
from kprobesim.kprobes.kprobe import Kprobe, KprobeFlag

__all__ = ["JUMPED", "jump_cost"]

JUMPED = "int_sqrt"
_X, _ROOT = 100, 10  # what the loop calls it with, and the result


def jump_cost(kernel: CalledKernel, hits: int) -> Callable[[], float]:
    """Measures ns a hit over no probe: the loop of calls with the probe, less without."""
    code = CALL_LOOP[kernel.arch]
    loop = kernel.alloc(len(code), executable=True)
    kernel.write(loop, code)
    place = _place(kernel)

    def call() -> None:
        result = kernel.call(loop, hits, kernel.symbols[JUMPED], timeout=None)
        check(f"{JUMPED}({_X})", result, _ROOT)

    def run() -> float:
        counted = 0

        def counting(_p: Kprobe, _regs: object) -> None:
            nonlocal counted
            counted += 1

        kernel.kprobes.optimization = True
        call()
        without = seconds(call)
        with kernel.probing(addr=place, pre_handler=counting) as p:
            kernel.kprobes.wait_for_optimizer()
            head = kernel.kprobes.get_kprobe(place)
            check("whether it is optimised", bool(head and head.flags & KprobeFlag.OPTIMIZED), True)
            call()
            check("the number of hits", counted, hits)
            p.pre_handler = _empty
            probed = seconds(call)
        return (probed - without) / hits * 1e9

    return run


def _place(kernel: CalledKernel) -> int:
    """The first instruction that can be optimised: it is executed once a call."""
    function = kernel.symbols[JUMPED]
    for address in range(function.address, function.address + function.size):
        if kernel.check(addr=address, suggest=False).optimizable:
            return address
    raise EngineError(f"no place in {JUMPED}() of {kernel} can be optimised")


def _empty(p: Kprobe, regs: object) -> None:
    pass
