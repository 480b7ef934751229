"""What a hit costs whose handlers are in Python, by each way to arm a probe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from kprobesim.arch.architecture import halves
from kprobesim.bench.contest import Contender, Contest, Target
from kprobesim.bench.cost import handled_cost
from kprobesim.bench.jump import JUMPED, jump_cost
from kprobesim.bench.loop import Loop, PlainLoop
from kprobesim.bench.sizes import Sizes
from kprobesim.kernel.called import CalledKernel
from kprobesim.kprobes.arming.armings import ProbeArming
from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.kprobes.kretprobe import Kretprobe

__all__ = ["handler_contest"]

EMPTY_AT_MOST = 1.5  # E
READS_AT_MOST = 0.35  # R
STEPPED_AT_MOST = 0.9
RETURNS_AT_MOST = 0.9

_ARMINGS: tuple[Literal["hook", "breakpoint"], ...] = ("hook", "breakpoint")
"""The ways to arm that are measured; the first, which is the default, is held to the targets."""


def handler_contest(loop: Loop, plain: PlainLoop, sizes: Sizes) -> Contest:
    """Handlers at the entry of the loop's function, against those of the binding.

    Args:
        loop: The loop in the guest that is measured.
        plain: The same loop on plain Unicorn.
        sizes: How many hits.
    """
    ways = _Ways(loop, sizes.hits)
    contenders = [
        Contender(
            "E", "E  UC_HOOK_CODE (binding), empty handler", plain.hook(sizes.hits, reads=False)
        ),
        Contender(
            "R",
            "R  UC_HOOK_CODE (binding), reading one register",
            plain.hook(sizes.hits, reads=True),
        ),
    ]
    handlers = (
        ("empty", "empty pre_handler", _empty, Target("E", EMPTY_AT_MOST)),
        ("reads", "pre_handler reads two arguments", _reads, Target("R", READS_AT_MOST)),
        ("writes", "pre_handler writes a register", _WRITES[loop.kernel.arch], Target("R")),
    )
    for arming in _ARMINGS:
        named = f"kprobesim, {arming}"
        held = arming == _ARMINGS[0]
        contenders += [
            Contender(
                f"{arming}-{key}",
                f"{named}, {what}",
                ways.pre(handler, arming),
                _of(target, held=held),
            )
            for key, what, handler, target in handlers
        ]
        contenders += [
            Contender(
                f"{arming}-stepped",
                f"{named}, pre and post handler, single-stepped",
                ways.stepped(arming),
                _of(Target("R", STEPPED_AT_MOST), held=held),
            ),
            Contender(
                f"{arming}-returns",
                f"{named}, kretprobe with a handler",
                ways.returns(arming),
                _of(Target("R", RETURNS_AT_MOST), held=held),
            ),
        ]
    if loop.kernel.kprobes.optimizer is not None and isinstance(loop.kernel, CalledKernel):
        contenders += [
            Contender(
                f"jump-{key}",
                f"kprobesim, optimised, {what} (in {JUMPED}())",
                jump_cost(loop.kernel, sizes.hits, handler),
                _of(target, held=False),
            )
            for key, what, handler, target in handlers
        ]
    return Contest(
        loop.kernel.arch,
        f"handlers-{loop.where}",
        f"a hit with a handler in Python, {loop.where} guest",
        "ns a hit",
        f"{sizes.hits:,} calls of {loop.function}() a round, probed at its entry; "
        "time with the probe less time without, by hits",
        contenders,
    )


def _of(target: Target, *, held: bool) -> Target:
    """``target``, or only what it is compared with."""
    return target if held else Target(target.against)


def _empty(p: Kprobe, regs: Any) -> None:
    pass


def _reads(p: Kprobe, regs: Any) -> None:
    regs.arg(0)
    regs.arg(1)


def _writes_si(p: Kprobe, regs: Any) -> None:
    regs.si = 0


def _writes_x1(p: Kprobe, regs: Any) -> None:
    regs.x1 = 0


_WRITES = halves(x86_64=_writes_si, arm64=_writes_x1)


def _post(p: Kprobe, regs: Any, flags: int) -> None:
    pass


def _returned(ri: Any, regs: Any) -> None:
    pass


class _Ways:
    """Measures hits of a probe: first with handlers that count, then with those that are meant."""

    def __init__(self, loop: Loop, hits: int) -> None:
        self._loop, self._kernel, self._hits = loop, loop.kernel, hits
        self._function = loop.function

    def pre(self, handler: Callable[..., None], arming: ProbeArming) -> Callable[[], float]:
        """A pre_handler alone."""
        return self._measured(lambda pre: self._plant(arming, pre), handler)

    def stepped(self, arming: ProbeArming) -> Callable[[], float]:
        """A pre_handler and a post_handler."""
        return self._measured(lambda pre, post: self._plant(arming, pre, post), _empty, _post)

    def returns(self, arming: ProbeArming) -> Callable[[], float]:
        """A return probe's handler."""

        def plant(handler: Callable[..., None]) -> Callable[[], object]:
            rp = Kretprobe(self._function, handler=handler)
            return self._kernel.register_kretprobe(rp, arming=arming).remove

        return self._measured(plant, _returned)

    def _plant(
        self,
        arming: ProbeArming,
        pre: Callable[..., None],
        post: Callable[..., None] | None = None,
    ) -> Callable[[], object]:
        p = Kprobe(self._function, pre_handler=pre, post_handler=post)
        return self._kernel.register_kprobe(p, arming=arming).remove

    def _measured(
        self, plant: Callable[..., Callable[[], object]], *handlers: Callable[..., None]
    ) -> Callable[[], float]:
        return lambda: handled_cost(self._loop.call, plant, handlers, self._hits)
