"""Whether many counted functions make a hit, or code that is not probed, dearer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice

from kprobesim.arch.architecture import halves
from kprobesim.arch.x86_64 import Undecodable, read_insn
from kprobesim.bench.contest import Contender, Contest, Target, seconds
from kprobesim.bench.cost import Planting, hit_cost, verify_count
from kprobesim.bench.loop import Loop
from kprobesim.bench.sizes import Sizes
from kprobesim.errors import GuestMemoryError
from kprobesim.image import Symbol

__all__ = ["crowd_contests"]

HIT_AT_MOST = 1.3
TIGHT_AT_MOST = 2.2
FEW, FEW_AT_MOST = 8, 1.02


def crowd_contests(make: Callable[[], Loop], sizes: Sizes) -> tuple[list[Contest], list[str]]:
    """A counted hit, and calls that are not, while 8, 100 ... functions are counted elsewhere.

    Args:
        make: Gives one more guest like the others: each has its crowd, which is armed once.
        sizes: How many of everything.

    Returns:
        The contests, and where there were fewer places than asked for.
    """
    loop = make()
    arch, where, most = loop.kernel.arch, loop.where, max(sizes.crowd)
    places = list(islice(_places(loop), most))
    notes = []
    if len(places) < most:
        notes.append(f"{arch}: {len(places):,} places can be counted here, not {most:,}")
    armed = sorted({min(count, len(places)) for count in sizes.crowd})
    loops = dict(zip((0, *armed), (loop, *(make() for _ in armed)), strict=True))
    for count in armed:
        loops[count].kernel.count(places[:count])

    def contender(count: int, measure: Callable[[Loop], float], at_most: float) -> Contender:
        label = f"{count:,} counted elsewhere" if count else "nothing else armed"
        target = Target("0", at_most) if count else None
        return Contender(str(count), label, lambda: measure(loops[count]), target)

    def hit(loop: Loop) -> float:
        def plant() -> Planting:
            counter = loop.kernel.count(loop.function)
            return Planting(counter.remove, verify_count("hits", lambda: int(counter)))

        return hit_cost(loop.call, plant, sizes.program_hits)

    def tight(loop: Loop) -> float:
        loop.call(sizes.calls // 10)
        return seconds(lambda: loop.call(sizes.calls)) / sizes.calls * 1e9

    contests = [
        Contest(
            *(arch, f"crowd-{where}", f"a counted hit while others are armed, {where} guest"),
            "ns a hit",
            f"{sizes.program_hits:,} calls of {loop.function}() a round; the others are not hit",
            [contender(count, hit, HIT_AT_MOST) for count in loops],
        ),
        Contest(
            *(arch, f"tight-{where}", f"tight code while others are counted, {where} guest"),
            "ns a call",
            f"{sizes.calls:,} calls of {loop.function}() a round, none of which is counted",
            [
                contender(count, tight, FEW_AT_MOST if count <= FEW else TIGHT_AT_MOST)
                for count in loops
            ],
            loops.clear,
        ),
    ]
    return contests, notes


def _places(loop: Loop) -> Iterator[str]:
    """Places that the loop does not run through: all entries, then what lies behind them."""
    kernel = loop.kernel
    entries = [name for name in kernel.functions("*") if name.split("@")[0] != loop.function]
    yield from entries
    for name in entries:
        if "@" in name or ":" in name:
            continue  # of twins and of modules the entries will do
        for offset in islice(_offsets(loop, kernel.symbols[name]), _MOST_INSIDE):
            if kernel.check(name, offset=offset, suggest=False):
                yield f"{name}+{offset:#x}"


def _offsets(loop: Loop, function: Symbol) -> Iterator[int]:
    """Where the instructions of ``function`` are, but for the first."""
    size, offset = _SIZE[loop.kernel.arch], 0
    try:
        while (offset := offset + size(loop, function.address + offset)) < function.size:
            yield offset
    except (Undecodable, GuestMemoryError):  # data between functions
        return


_MOST_INSIDE = 32
"""Places in one function: the rules decode it from its start for each."""

_SIZE: Mapping[str, Callable[[Loop, int], int]] = halves(
    x86_64=lambda loop, address: read_insn(loop.kernel.read, address).length,
    arm64=lambda loop, address: 4,
)
"""The size of an instruction."""
