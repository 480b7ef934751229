"""Who ran, in which context and when: written once for many entries, and right for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kprobesim import CalledKernel
from kprobesim.machine.stopwatch import RunTime
from kprobesim.programs.appending import Append
from kprobesim.programs.context import ids_of
from kprobesim.programs.leaves import Argument
from kprobesim.programs.program import Program
from kprobesim.programs.stores.entry_layout import STAMP, TIME_BITS, Stamp
from kprobesim.programs.stores.stream import Stream

_HOURS = 1 << TIME_BITS


class Recorder:
    """What hits of ``strlen`` leave in a stream."""

    def __init__(self, k: CalledKernel, *, compiled: bool) -> None:
        self.k = k
        self.stream: Stream = k._programs.new_stream()
        program = Program((Append((Argument(0),), self.stream),))
        self.planted = k._programs.plant(["strlen"], program, many=False, compiled=compiled)

    def hit(self) -> None:
        """One hit."""
        self.k.call("strlen", "a")

    def stamps(self) -> list[tuple[Stamp, int]]:
        """Stamp and time of each entry since the last time."""
        return [(one.stamp, one.time) for one in self.stream.take()]


@pytest.fixture(params=[True, False], ids=["compiled", "interpreted"])
def recorder(real_kernel: CalledKernel, request: pytest.FixtureRequest) -> Iterator[Recorder]:
    """One of a kernel that is called."""
    if request.param:
        pytest.importorskip("llvmlite")
    made = Recorder(real_kernel, compiled=request.param)
    with made.planted:
        yield made


@pytest.mark.real_kernel
def test_each_entry_has_the_task_that_ran(recorder: Recorder) -> None:
    k = recorder.k
    task = k.current
    assert task is not None
    place = task.address + k.tasks.offsets["pid"]
    saved = k.read(place, 8)
    try:
        for pid in (7, 7, 8, 7):  # a task_struct that is freed is soon another task's
            k.write(place, pid.to_bytes(4, "little"))
            recorder.hit()
    finally:
        k.write(place, saved)
    assert [ids_of(stamp.ids).pid for stamp, _ in recorder.stamps()] == [7, 7, 8, 7]


@pytest.mark.real_kernel
def test_each_entry_has_its_time_after_hours_and_when_it_is_set_back(recorder: Recorder) -> None:
    stopwatch = recorder.k.machine.stopwatch
    assert isinstance(stopwatch, RunTime)
    times = []
    for begin in (5, 6, _HOURS - 1, _HOURS, 3 * _HOURS + 5, 3 * _HOURS + 4, 9):
        stopwatch.set(begin)
        recorder.hit()
        times.append(begin)
    found = [time for _, time in recorder.stamps()]
    assert [time - begin for time, begin in zip(found, times, strict=True)] == 7 * [found[0] - 5]


@pytest.mark.real_kernel
def test_a_stamp_is_written_when_one_is_due(recorder: Recorder) -> None:
    stream = recorder.stream
    for _ in range(3):
        recorder.hit()
    assert stream._used == STAMP + 3 * 16
    assert len(recorder.stamps()) == 3
    recorder.hit()  # the memory is another one
    assert stream._used == STAMP + 16
    stream.on = False
    recorder.hit()
    stream.on = True
    recorder.hit()
    assert len(recorder.stamps()) == 2
