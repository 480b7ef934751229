"""What a hit costs over no probe: the same guest loop, probed in each of the ways there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kprobesim.arch.architecture import halves
from kprobesim.bench.contest import Contender, Contest, Target, check
from kprobesim.bench.cost import HitCounter, handled_cost
from kprobesim.bench.jump import JUMPED, jump_cost
from kprobesim.bench.plain import Mode, Plain
from kprobesim.bench.qiling_rival import QilingLoop
from kprobesim.bench.rivals import NaiveKprobe, hook_cost
from kprobesim.bench.sizes import Sizes
from kprobesim.errors import EngineError, KprobeError
from kprobesim.kernel.called import CalledKernel
from kprobesim.kprobes.arch_kprobes import Stepping
from kprobesim.kprobes.kprobe import Kprobe, PostHandler, PreHandler

__all__ = ["FUNCTION", "hit_contest"]

FUNCTION = "count_to"
"""A function of the sample guests: n turns of a loop, the sum of 0 .. n-1."""

FAST_AT_MOST = 0.8
STEPPED_AT_MOST = 1.6
_TRIAL = 5


@dataclass(frozen=True)
class _Point:
    """A place in the loop that is hit once a turn, and how its instruction is executed."""

    offset: int
    size: int
    kind: str  # "boosted", "emulated" or "stepped"


def hit_contest(
    load: Callable[[Stepping], CalledKernel], sizes: Sizes
) -> tuple[Contest, list[str]]:
    """The contest for one sample guest, and who could not take part and why.

    ``load`` gives a fresh kernel: the rivals patch the memory that they run on.
    """
    kernel, trapping, rivals = load("breakpoint"), load("trap"), load("breakpoint")
    points = list(_points(kernel))
    if not points:
        raise EngineError(f"no place in {FUNCTION}() of {kernel} is hit once a turn")
    stepped = next(point for point in points if point.kind in ("boosted", "stepped"))
    fast = next((point for point in points if point.kind == "boosted"), None)
    fast = fast or next(point for point in points if point.kind == "emulated")
    hits = sizes.hits
    contenders = [
        *_hook_contenders(rivals, stepped, hits),
        Contender(
            "naive",
            "naive kprobe (binding), pre and post, 2+2 registers",
            _naive(rivals, stepped, hits),
            Target("R"),
        ),
        Contender(
            "ours-fast",
            f"kprobesim, empty pre_handler, {fast.kind}",
            _ours(kernel, fast, hits, with_registers=False),
            Target("R", FAST_AT_MOST),
        ),
        Contender(
            "ours-stepped",
            "kprobesim, pre and post handler, 2+2 registers, stepped",
            _ours(kernel, stepped, hits, with_registers=True),
            Target("R", STEPPED_AT_MOST),
        ),
        Contender(
            "ours-trap",
            "kprobesim, the same, stepped by the CPU's trap",
            _ours(trapping, stepped, hits, with_registers=True),
            Target("R"),
        ),
    ]
    if kernel.kprobes.optimizer is not None:
        label = (
            f"kprobesim, empty pre_handler, optimised (in {JUMPED}(), which is called in a loop)"
        )
        contenders.append(Contender("ours-jump", label, jump_cost(kernel, hits), Target("R")))
    absent = []
    try:
        run = _qiling(kernel, stepped, hits)
    except Exception as error:  # the only guest here that we did not choose; the rest goes on
        absent.append(f"{kernel.arch}: Qiling takes no part: {error}")
    else:
        label = "Qiling hook_address, empty handler"
        contenders.append(Contender("qiling", label, run, Target("R")))
    setting = (
        f"{hits:,} hits a round in the loop of {FUNCTION}() of the sample guest; "
        "time with the probe less time without, by hits"
    )
    contest = Contest(kernel.arch, "hit", "a hit, over no probe", "ns a hit", setting, contenders)
    return contest, absent


def _points(kernel: CalledKernel) -> Iterator[_Point]:
    """Every place that can be probed and is hit exactly once a turn, found by trying."""
    symbol = kernel.symbols[FUNCTION]
    for offset in range(symbol.size):
        count = HitCounter()
        try:
            with kernel.probing(FUNCTION, offset=offset, pre_handler=count) as p:
                kernel.call(FUNCTION, _TRIAL)
        except KprobeError:
            continue
        if count.hits == _TRIAL:
            ainsn = p.ainsn
            kind = "emulated" if ainsn.emulate else "boosted" if ainsn.boostable else "stepped"
            yield _Point(offset, ainsn.size, kind)


def _check_sum(result: int, turns: int) -> None:
    check(f"{FUNCTION}({turns})", result, turns * (turns - 1) // 2)


# -- ours ------------------------------------------------------------------------------------------


def _empty(p: Kprobe, regs: Any) -> None:
    pass


def _x86_pre(p: Kprobe, regs: Any) -> None:
    regs.di, regs.ax  # noqa: B018


def _x86_post(p: Kprobe, regs: Any, flags: int) -> None:
    regs.di, regs.ax  # noqa: B018


def _arm64_pre(p: Kprobe, regs: Any) -> None:
    regs.x0, regs.x8  # noqa: B018


def _arm64_post(p: Kprobe, regs: Any, flags: int) -> None:
    regs.x0, regs.x8  # noqa: B018


_HANDLERS: Mapping[str, tuple[PreHandler, PostHandler]] = halves(
    x86_64=(_x86_pre, _x86_post), arm64=(_arm64_pre, _arm64_post)
)


def _ours(
    kernel: CalledKernel, point: _Point, hits: int, *, with_registers: bool
) -> Callable[[], float]:
    def call(turns: int) -> None:
        _check_sum(kernel.call(FUNCTION, turns, timeout=None), turns)

    def plant(pre: PreHandler, post: PostHandler | None = None) -> Callable[[], None]:
        p = Kprobe(FUNCTION, offset=point.offset, pre_handler=pre, post_handler=post)
        kernel.kprobes.optimization = False
        kernel.register_kprobe(p)
        return lambda: kernel.unregister_kprobe(p)

    handlers = _HANDLERS[kernel.arch] if with_registers else (_empty,)
    return lambda: handled_cost(call, plant, handlers, hits)


# -- the others ------------------------------------------------------------------------------------


def _hook_contenders(kernel: CalledKernel, point: _Point, hits: int) -> list[Contender]:
    """UC_HOOK_CODE on our page tables, its best set-up, and on ``UC_TLB_VIRTUAL``."""

    def contender(key: str, mode: Mode, reads: bool, target: Target | None) -> Contender:
        what = "reading one register" if reads else "empty handler"
        where = "page tables" if mode == "paged" else "UC_TLB_VIRTUAL"
        name = f"{key[0]}  " if mode == "paged" else ""
        run = _hook(Plain(kernel, mode), point, hits, reads=reads)
        return Contender(key, f"{name}UC_HOOK_CODE (binding), {what}, {where}", run, target)

    return [
        contender("E", "paged", False, None),
        contender("R", "paged", True, None),
        contender("E-virtual", "virtual", False, Target("E")),
        contender("R-virtual", "virtual", True, Target("R")),
    ]


def _hook(plain: Plain, point: _Point, hits: int, *, reads: bool) -> Callable[[], float]:
    function = plain.kernel.symbols[FUNCTION].address

    def call(turns: int) -> None:
        _check_sum(plain.call(function, turns), turns)

    return hook_cost(plain, function + point.offset, call, hits, reads=reads)


def _naive(kernel: CalledKernel, point: _Point, hits: int) -> Callable[[], float]:
    plain = Plain(kernel, "paged")
    function = kernel.symbols[FUNCTION].address
    first, second = plain.arguments[:2]

    def read_two(reg_read: Callable[[int], int]) -> None:
        reg_read(first)
        reg_read(second)

    def call(turns: int) -> None:
        _check_sum(plain.call(function, turns), turns)

    def plant(pre: Any, post: Any) -> Callable[[], None]:
        return NaiveKprobe(plain, function + point.offset, point.size, pre, post).remove

    return lambda: handled_cost(call, plant, [read_two, read_two], hits)


def _qiling(kernel: CalledKernel, point: _Point, hits: int) -> Callable[[], float]:
    loop = QilingLoop(kernel, FUNCTION, point.offset)

    def empty(ql: Any) -> None:
        pass

    def run() -> float:
        count = HitCounter()
        loop.timed(hits, count)
        count.check(hits)
        return (loop.timed(hits, empty) - loop.timed(hits, None)) / hits * 1e9

    return run
