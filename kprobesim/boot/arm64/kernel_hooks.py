"""The hooks on instructions of the kernel that Unicorn does not execute as this board needs it.

They read the counter, or use CNTKCTL_EL1.
They are found by looking through the image once (see
:mod:`kprobesim.image.findings`). Whoever has no image at hand loads the list.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from kprobesim.boot.arm64.timer import find_instructions
from kprobesim.boot.arm64.timers import Timers
from kprobesim.boot.state import Put, Saved, Tuples, fields, wrong_state
from kprobesim.image import KernelImage
from kprobesim.image.segment import findable
from kprobesim.machine.unicorn.engine import Engine

__all__ = ["KernelHooks"]

_COUNTER_TAIL, _COUNTER = b"\xe0\x3b\xd5", (0x40, 0xC0)  # mrs xN, cntvct[ss]_el0
_READ_CONTROL_TAIL, _WRITE_CONTROL_TAIL = b"\xe1\x38\xd5", b"\xe1\x18\xd5"  # cntkctl_el1
_READ_COUNTER, _READ_CONTROL, _WRITE_CONTROL = range(3)
_MOST = 1 << 16
_NO_REGISTER = 31

_KINDS = (
    (_READ_COUNTER, _COUNTER_TAIL, _COUNTER),
    (_READ_CONTROL, _READ_CONTROL_TAIL, (0,)),
    (_WRITE_CONTROL, _WRITE_CONTROL_TAIL, (0,)),
)


class KernelHooks(Saved):
    """``places`` are (virtual address, kind, number of the register) of each hook."""

    SAVED = fields(places=Tuples(_MOST, (64, 2, 5)))

    def __init__(self, engine: Engine, timers: Timers) -> None:
        self._engine = engine
        self._timers = timers
        self.places: list[tuple[int, ...]] = []
        self._saved: dict[str, Any] = {}  # of these places, which never change

    def save(self) -> dict[str, Any]:
        """The state as plain data, made once: each state that is kept in memory holds it."""
        if not self._saved:
            self._saved = super().save()
        return self._saved

    def find(self, image: KernelImage) -> None:
        """Hook the instructions in ``image``."""
        found = image.findings.once("counter", partial(_search, image), code=__file__)
        self._hook([tuple(place) for place in found])

    def parse(self, state: object, where: str) -> Put:
        """Check ``state``, which must not be of another kernel than what is hooked already."""
        if self.places and state == self.save():
            return lambda: None
        parsed = KernelHooks(self._engine, self._timers)
        super(KernelHooks, parsed).parse(state, where)()
        if self.places:
            if parsed.places != self.places:
                raise wrong_state("it belongs to another kernel than the one on this board")
            return lambda: None
        return lambda: self._hook(parsed.places)

    def _hook(self, places: list[tuple[int, ...]]) -> None:
        hooks, timers, words = self._engine.hooks, self._timers, self._engine.words
        self.places, self._saved = places, {}
        first = timers.each[0]  # all show the same time
        native = first.native_reads()

        for address, kind, number in places:
            if kind == _READ_COUNTER:
                hooks.on_read_counter(address, first.count, native)
            elif kind == _READ_CONTROL:
                hooks.on_system(address, _getter(words, timers, number), write=False)
            elif kind == _WRITE_CONTROL:
                hooks.on_system(address, _putter(words, timers, number), write=True)


def _search(image: KernelImage) -> list[tuple[int, int, int]]:
    """The places of all instructions of interest: 0.1 s in an image of 27 MB."""
    return [
        (segment.vaddr + at, kind, number)
        for segment in image.segments
        for kind, tail, low in _KINDS
        for at, number in find_instructions(findable(segment.data), tail, low)
    ]


def _getter(words: Any, timers: Timers, number: int) -> Callable[[], None]:
    def get() -> None:
        if number != _NO_REGISTER:
            words[number] = timers.current.user_control

    return get


def _putter(words: Any, timers: Timers, number: int) -> Callable[[], None]:
    def put() -> None:
        timers.current.user_control = words[number] if number != _NO_REGISTER else 0

    return put
