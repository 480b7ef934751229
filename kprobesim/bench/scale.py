"""Whether many probes make one hit dearer, and what planting many costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kprobesim.bench.contest import Contender, Contest, Target, check, seconds
from kprobesim.bench.cost import handled_cost
from kprobesim.bench.guestcode import CALL_LOOP
from kprobesim.bench.sizes import Sizes
from kprobesim.errors import KprobeError
from kprobesim.kernel.called import CalledKernel
from kprobesim.kprobes.kprobe import Kprobe, PreHandler

__all__ = ["scale_contests"]

SAME = 1.15
"""What counts as the same cost a hit, given that a machine is never quiet."""

_PROBED = "int_sqrt"
_X, _ROOT = 100, 10  # what the loop calls it with, and the result


def scale_contests(kernel: CalledKernel, sizes: Sizes) -> tuple[list[Contest], list[str]]:
    """Hits with 1, 100 ... probes armed, and registering and unregistering the most of them.

    The second value says where there were fewer places than asked for.
    """
    scale = _Scale(kernel, sizes)
    most = max(sizes.probes)
    places = len(scale.addresses) + 1
    notes = []
    if places < most:
        notes.append(
            f"{kernel.arch}: {kernel.image.path.name} has {places:,} places to probe, "
            f"not the {most:,} asked for; a real kernel has them"
        )
    counts = sorted({min(count, places) for count in sizes.probes})
    hit = Contest(
        *(kernel.arch, "scale", "a hit while more probes are armed", "ns a hit"),
        f"{sizes.hits:,} hits a round on the entry of {_PROBED}() of {kernel.image.path.name}; "
        "the other probes on other functions' entries",
        [scale.contender(count, counts[0]) for count in counts],
        scale.close,
    )
    rest = counts[-1] - 1
    plant = Contest(
        *(kernel.arch, "register", "planting many probes", "s"),
        f"{rest:,} probes at once on {kernel.image.path.name}",
        [
            Contender(
                "register", "register_kprobes", lambda: scale.register(rest), Target(None, 1.0)
            ),
            Contender("unregister", "unregister_kprobes", lambda: scale.unregister(rest)),
        ],
        scale.close,
    )
    return ([hit, plant] if rest else [hit]), notes


class _Scale:
    """A kernel with some probes armed that are never hit, and one that is."""

    def __init__(self, kernel: CalledKernel, sizes: Sizes) -> None:
        self._kernel = kernel
        self._hits = sizes.hits
        code = CALL_LOOP[kernel.arch]
        self._loop = kernel.alloc(len(code), executable=True)
        kernel.write(self._loop, code)
        self._target = kernel.symbols[_PROBED].address
        self.addresses = self._find(max(sizes.probes) - 1)
        self._armed: list[Kprobe] = []

    def _find(self, count: int) -> list[int]:
        """Function entries that take a probe; in a small guest every place that does."""
        found: dict[int, None] = {}
        for address in self._candidates():
            if len(found) == count:
                break
            if address == self._target or address in found:
                continue
            p = Kprobe(addr=address)
            try:
                self._kernel.register_kprobe(p)
            except KprobeError:
                continue
            self._kernel.unregister_kprobe(p)
            found[address] = None
        return list(found)

    def _candidates(self) -> Iterator[int]:
        """Entries first, then what is inside; never a place that the loop itself runs through."""
        is_text = self._kernel.image.is_kernel_text
        functions = [s for s in self._kernel.symbols if s.is_function and is_text(s.address)]
        yield from (symbol.address for symbol in functions)
        for symbol in functions:
            if symbol.address != self._target:
                yield from range(symbol.address + 1, symbol.address + symbol.size)

    def contender(self, count: int, least: int) -> Contender:
        """Hits with ``count`` probes armed, the one that is hit included."""
        key = str(count)
        target = None if count == least else Target(str(least), SAME)
        label = f"{count:,} probe{'s' if count > 1 else ''} armed"
        return Contender(key, label, lambda: self._hit(count), target)

    def _call(self, turns: int) -> None:
        result = self._kernel.call(self._loop, turns, self._target, _X, timeout=None)
        check(f"{_PROBED}({_X})", result, _ROOT)

    def _hit(self, count: int) -> float:
        self.unregister(len(self._armed))
        self.register(count - 1)

        def plant(pre_handler: PreHandler) -> Callable[[], object]:
            return self._kernel.register_kprobe(Kprobe(_PROBED, pre_handler=pre_handler)).remove

        return handled_cost(self._call, plant, [_empty], self._hits)

    def register(self, count: int) -> float:
        """Seconds to plant ``count`` more."""
        probes = [Kprobe(addr=address, pre_handler=_empty) for address in self.addresses[:count]]
        taken = seconds(lambda: self._kernel.register_kprobes(probes)) if probes else 0.0
        self._armed = probes
        return taken

    def unregister(self, count: int) -> float:
        """Seconds to take them out again."""
        probes, self._armed = self._armed, []
        return seconds(lambda: self._kernel.unregister_kprobes(probes))

    def close(self) -> None:
        """Leave no probe behind."""
        self.unregister(len(self._armed))


def _empty(p: Kprobe, regs: object) -> None:
    pass
