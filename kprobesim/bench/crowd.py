"""Whether many counted functions make a hit, or code that is not probed, dearer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kprobesim.bench.contest import Contender, Contest, Target, seconds
from kprobesim.bench.cost import Planting, hit_cost, verify_count
from kprobesim.bench.loop import Loop
from kprobesim.bench.sizes import Sizes

__all__ = ["Crowd", "crowd_contests"]

HIT_AT_MOST = 1.3
TIGHT_AT_MOST = 2.2
FEW, FEW_AT_MOST = 8, 1.02


def crowd_contests(loop: Loop, sizes: Sizes, where: str) -> tuple[list[Contest], list[str]]:
    """A counted hit, and calls that are not, while 1, 100 ... others are counted elsewhere.

    The second value says where there were fewer places than asked for.
    """
    crowd = Crowd(loop, max(sizes.counted))
    places, most = len(crowd.places), max(sizes.counted)
    notes = []
    if places < most:
        notes.append(
            f"{loop.kernel.arch}: {places:,} places can be counted here, not {most:,} as asked for"
        )
    armed = sorted({min(count, places) for count in sizes.counted})
    arch = loop.kernel.arch
    hit = Contest(
        *(arch, f"crowd-{where}", f"a counted hit while more are armed, {where} guest"),
        "ns a hit",
        f"{sizes.program_hits:,} calls of {loop.function}() a round; the others count elsewhere",
        [
            Contender(
                str(count),
                f"{count:,} counted",
                lambda count=count: _hit(crowd, count, sizes),  # type: ignore[misc]
                None if count == armed[0] else Target(str(armed[0]), HIT_AT_MOST),
            )
            for count in armed
        ],
        crowd.clear,
    )
    tight = Contest(
        *(arch, f"tight-{where}", f"tight code while others are counted, {where} guest"),
        "ns a call",
        f"{sizes.calls:,} calls of {loop.function}() a round, none of which is counted",
        [
            Contender(
                str(count),
                f"{count:,} counted elsewhere" if count else "nothing armed",
                lambda count=count: _tight(crowd, count, sizes),  # type: ignore[misc]
                _tight_target(count),
            )
            for count in (0, *sorted({FEW, *armed[1:]}))
            if count <= places
        ],
        crowd.clear,
    )
    return [hit, tight], notes


def _tight_target(count: int) -> Target | None:
    if not count:
        return None
    return Target("0", FEW_AT_MOST if count <= FEW else TIGHT_AT_MOST)


class Crowd:
    """Places all over a kernel that the loop does not run through, as many as are wanted."""

    def __init__(self, loop: Loop, wanted: int) -> None:
        self.loop, self._kernel = loop, loop.kernel
        self.places = [place for place, _ in zip(self._found(), range(wanted), strict=False)]
        self._armed: Any = None
        self._count = 0

    def _found(self) -> Iterator[str]:
        """Entries first, then what lies behind them."""
        entries = [
            name for name in self._kernel.functions("*") if name.split("@")[0] != self.loop.function
        ]
        yield from entries
        for name in entries:
            if "@" in name or ":" in name:
                continue
            size = self._kernel.symbols[name].size
            for offset in range(1, min(size, 64)):
                if self._kernel.check(name, offset=offset, suggest=False):
                    yield f"{name}+{offset:#x}"

    def arm(self, count: int) -> None:
        """Count at so many of the places, and at no others."""
        if count == self._count:
            return
        self.clear()
        if count:
            self._armed = self._kernel.count(self.places[:count])
        self._count = count

    def clear(self) -> None:
        """Count nowhere."""
        if self._armed is not None:
            self._armed.remove()
        self._armed, self._count = None, 0


def _hit(crowd: Crowd, count: int, sizes: Sizes) -> float:
    crowd.arm(count - 1)
    loop = crowd.loop

    def plant() -> Planting:
        counter = loop.kernel.count(loop.function)
        return Planting(counter.remove, verify_count("hits", lambda: int(counter)))

    return hit_cost(loop.call, plant, sizes.program_hits)


def _tight(crowd: Crowd, count: int, sizes: Sizes) -> float:
    crowd.arm(count)
    crowd.loop.call(sizes.calls // 10)
    return seconds(lambda: crowd.loop.call(sizes.calls)) / sizes.calls * 1e9
