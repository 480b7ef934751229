"""What a hit costs when no Python is on its way: counting, recording, filtering, pairing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kprobesim.bench.contest import Contender, Contest, Target, check
from kprobesim.bench.cost import Planting, hit_cost, verify_count
from kprobesim.bench.loop import NAME, Loop, PlainLoop
from kprobesim.bench.sizes import Sizes
from kprobesim.programs import arg

__all__ = ["program_contest"]

COUNT_AT_MOST = 0.06
RECORD_AT_MOST = 0.08
FILTER_AT_MOST = 0.06
EVENT_AT_MOST = 1.2  # of a record of as many values
STRING_AT_MOST = 0.30


def program_contest(loop: Loop, plain: PlainLoop, sizes: Sizes) -> Contest:
    """Every kind of program on the loop's function, against an empty handler of the binding.

    Args:
        loop: The loop in the guest that is measured.
        plain: The same loop on plain Unicorn.
        sizes: How many hits.
    """
    hits = sizes.program_hits

    def contender(
        key: str,
        label: str,
        plant: Callable[[], Planting],
        at_most: float | None = None,
        against: str = "E",
    ) -> Contender:
        def run() -> float:
            return hit_cost(loop.call, plant, hits)

        return Contender(key, f"kprobesim, {label}", run, Target(against, at_most))

    ways = _Ways(loop, hits)
    return Contest(
        loop.kernel.arch,
        f"programs-{loop.where}",
        f"a hit of a compiled program, {loop.where} guest",
        "ns a hit",
        f"{hits:,} calls of {loop.function}() a round, probed at its entry; "
        "time with the program less time without, by hits",
        [
            Contender(
                "E",
                "E  UC_HOOK_CODE (binding), empty handler",
                plain.hook(sizes.hits, reads=False),
            ),
            contender("count", "count", ways.count, COUNT_AT_MOST),
            contender("record", "record of four registers", ways.record, RECORD_AT_MOST),
            contender("filter", "filter that refuses", ways.refuse, FILTER_AT_MOST),
            contender(
                "event", "trace event of four registers", ways.event, EVENT_AT_MOST, "record"
            ),
            contender(
                "refusing event", "trace event whose filter refuses", ways.refusing, FILTER_AT_MOST
            ),
            contender("histogram", "histogram of an argument", ways.histogram),
            contender(
                "string", "record of a string behind two pointers", ways.string, STRING_AT_MOST
            ),
            contender("latency", "latency: entry and return paired", ways.latency),
        ],
    )


class _Ways:
    """Plants each kind of program, and looks at what it has kept."""

    def __init__(self, loop: Loop, hits: int) -> None:
        self._kernel, self._function, self._hits = loop.kernel, loop.function, hits
        self._pointer, self._offset = loop.arguments[1], loop.string_offset

    def count(self) -> Planting:
        counter = self._kernel.count(self._function)
        return _counted(counter, lambda: int(counter))

    def refuse(self) -> Planting:
        counter = self._kernel.count(self._function, when=arg(0) == 1)
        _check_compiled(counter)
        return Planting(counter.remove, lambda _hits: check("hits let through", int(counter), 0))

    def histogram(self) -> Planting:
        sizes = self._kernel.histogram(self._function, arg(0), log2=True)
        return _counted(sizes, lambda: int(sizes.value.total))

    def record(self) -> Planting:
        fields = {name: arg(number) for number, name in enumerate(("a", "b", "c", "d"))}
        return self._recorded(
            fields, lambda last: check("an argument", last[:2], (self._pointer, self._pointer))
        )

    def event(self) -> Planting:
        return self._event(None)

    def refusing(self) -> Planting:
        return self._event(lambda _fields: arg(0) == 1)

    def _event(self, predicate: Callable[[Any], Any] | None) -> Planting:
        """An event that records the time and the task, too, as every event does."""
        tracing, events = self._kernel.tracing, self._kernel.kprobe_events
        tracing.on_notrace = True
        events.command(f"p:bench/event {self._function} a=$arg1 b=$arg2 c=$arg3 d=$arg4")
        event = tracing.events["bench/event"]
        event.restrict(predicate, "none")
        event.enabled = True
        planted = event.probes[0].planted
        check("whether the event is compiled", planted is not None and planted.compiled, True)

        def remove() -> None:
            event.enabled = False
            events.command("-:bench/event")
            tracing.buffer.clear()

        counted = verify_count("hits", lambda: event.hits)

        def verify(hits: int) -> None:
            counted(hits)
            tracing.buffer.clear()

        return Planting(remove, verify)

    def string(self) -> Planting:
        fields = {"name": arg(0).deref(self._offset).string}
        return self._recorded(fields, lambda last: check("the string", last.name, NAME.decode()))

    def _recorded(self, fields: dict[str, Any], look: Callable[[Any], None]) -> Planting:
        ring = self._kernel.record(self._function, fields=fields, capacity=self._hits)
        _check_compiled(ring)

        def verify(hits: int) -> None:
            check("the number of records", len(ring), hits)
            look(ring[-1])
            ring.clear()

        return Planting(ring.remove, verify)

    def latency(self) -> Planting:
        times = self._kernel.latency(self._function, log2=True)
        return _counted(times, lambda: int(times.value.total))


def _counted(store: Any, counted: Callable[[], int]) -> Planting:
    _check_compiled(store)
    return Planting(store.remove, verify_count("hits", counted))


def _check_compiled(store: Any) -> None:
    check("whether the program is compiled", store.compiled, True)
