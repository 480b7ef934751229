"""Ctrl-C, other signals, threads and handlers that do not end: taken where the guest is at rest."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from kprobesim import GuestTimeout, Kernel, Kprobe, Kretprobe, Stop, UsageError
from kprobesim.image import load_image
from kprobesim.kernel.booted import BootedKernel
from kprobesim.kernel.called import CalledKernel
from kprobesim.machine.signals import signals
from kprobesim.machine.turn import is_alone

_SOON = 2.0  # seconds; 0.2 are promised, on a computer that has nothing else to do


@contextmanager
def _signals(number: int = signal.SIGINT, longest: float = 0.004) -> Iterator[Callable[[], None]]:
    """Gives a function that lets this process be sent one signal a little later."""
    wanted, left, dice = threading.Semaphore(0), threading.Event(), random.Random(number)

    def send() -> None:
        while wanted.acquire() and not left.is_set():
            time.sleep(dice.random() * longest)
            os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield wanted.release
    finally:
        left.set()
        wanted.release()
        thread.join()


@pytest.fixture
def handler_of() -> Iterator[Callable[..., None]]:
    """Installs a handler of a signal for the time of a test."""
    before: dict[int, object] = {}

    def install(number: int, handler: Callable[..., object]) -> None:
        before[number] = signal.signal(number, handler)

    yield install
    for number, handler in before.items():
        signal.signal(number, handler)  # type: ignore[arg-type]


def test_a_kick_that_comes_late_ends_nobody() -> None:
    """The run is over whose handler was late; who has called it is no handler."""
    turn = SimpleNamespace(count=1, level=1)
    assert not signals._in_a_handler(turn, sys._getframe())


def test_every_interrupt_of_short_calls_arrives(stepped: CalledKernel) -> None:
    """In whatever the library is doing just then: each one once, and nothing is left behind."""
    k, hits = stepped, [0]

    def count(*_: object) -> None:
        hits[0] += 1

    returns = Kretprobe("negate", handler=count, maxactive=2)
    k.register_kretprobe(returns)
    k.register_kprobe(Kprobe("negate", pre_handler=count, post_handler=count))
    with _signals() as send:
        for _ in range(60):
            send()
            with pytest.raises(KeyboardInterrupt):
                while True:
                    assert k.call("negate", 5, signed=True) == -5
    hits[0] = 0
    assert k.call("negate", 7, signed=True) == -7
    assert hits[0] == 3 and returns.nmissed == 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_call_that_spins_is_interrupted(guest: CalledKernel) -> None:
    with _signals(longest=0.1) as send:
        for _ in range(3):
            began = time.monotonic()
            send()
            with pytest.raises(KeyboardInterrupt):
                guest.call("spin_forever", timeout=None)
            assert time.monotonic() - began < _SOON
    assert guest.call("strlen", "usable") == 6


@pytest.mark.parametrize("what", ["computes", "sleeps"])
def test_a_handler_that_runs_for_ever(guest: CalledKernel, what: str) -> None:
    """Ctrl-C and the call's time limit end it; in other threads only the limit does."""

    def never_returns(*_: object) -> None:
        while True:
            if what == "sleeps":
                time.sleep(0.01 if threading.current_thread() is not threading.main_thread() else 9)

    with guest.probing("negate", pre_handler=never_returns), _signals(longest=0.1) as send:
        began = time.monotonic()
        send()
        with pytest.raises(KeyboardInterrupt):
            guest.call("negate", 1, timeout=None)
        with pytest.raises(GuestTimeout, match="a handler is still running"):
            guest.call("negate", 1, timeout=0.1)
        with ThreadPoolExecutor(1) as pool:
            task = pool.submit(guest.call, "negate", 1, timeout=0.1)
            with pytest.raises(GuestTimeout, match="a handler is still running"):
                task.result(timeout=20)
        assert time.monotonic() - began < 3 * _SOON
    assert guest.call("negate", 5, signed=True) == -5


def test_a_handler_of_a_signal_that_raises_nothing_disturbs_nothing(
    stepped: CalledKernel, handler_of: Callable[..., None]
) -> None:
    """A long computation goes on exactly where it was stopped for it."""
    ticks, hits = [0], [0]

    def tick(*_: object) -> None:
        ticks[0] += 1
        assert stepped.call("negate", 3, signed=True) == -3  # the guest may even be used

    def hit(*_: object) -> None:
        hits[0] += 1

    data = bytes(range(256)) * 256
    expected = stepped.call("crc32_le", 0, data, len(data))
    handler_of(signal.SIGALRM, tick)
    with stepped.probing("crc32_le", offset=0, post_handler=hit):
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        try:
            for _ in range(20):
                assert stepped.call("crc32_le", 0, data, len(data)) == expected
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    assert ticks[0] and hits[0] == 20


def test_each_signal_is_delivered_if_several_come(
    guest: CalledKernel, handler_of: Callable[..., None]
) -> None:
    class First(Exception):
        pass

    class Second(Exception):
        pass

    def first(*_: object) -> None:
        raise First

    def second(*_: object) -> None:
        raise Second

    handler_of(signal.SIGUSR1, first)
    handler_of(signal.SIGUSR2, second)

    def both(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR2)

    seen: list[type] = []
    with guest.probing("negate", pre_handler=both):
        try:
            guest.call("negate", 1)
        except (First, Second) as error:
            seen += [type(error), type(error.__context__)]
    assert set(seen) == {First, Second}
    assert guest.call("negate", 5, signed=True) == -5


def test_one_thread_at_a_time(guest: CalledKernel) -> None:
    """The second one gets an error, and the first does not notice."""
    watch = guest.on_text_poke(print)
    with ThreadPoolExecutor(1) as pool:
        task = pool.submit(guest.call, "spin_forever", timeout=0.5)
        while not guest.machine.depth:
            time.sleep(0.001)
        for use in (
            lambda: guest.call("negate", 1),
            lambda: guest.register_kprobe(Kprobe("negate")),
            lambda: guest.write(guest.symbols["negate"].address, b"\0"),
            lambda: guest.on_hit(print),
            lambda: guest.on_text_poke(print),
            lambda: guest.register_die_notifier(lambda *_: None),
            watch.remove,
        ):
            with pytest.raises(UsageError, match="another thread"):
                use()
        with pytest.raises(GuestTimeout):
            task.result(timeout=20)
    assert guest.call("negate", 5, signed=True) == -5
    watch.remove()
    assert not guest.machine.text.listeners or "removed" in repr(watch)


def test_two_kernels_in_two_threads(sample: Path) -> None:
    kernels = [Kernel.load(sample) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        tasks = [pool.submit(k.call, "count_to", 100_000) for k in kernels]
        assert {task.result(timeout=30) for task in tasks} == {4999950000}


def test_asyncio_keeps_its_signals(guest: CalledKernel) -> None:
    """A loop's own handler is called once a signal, and a call in a thread ends by stop()."""

    async def main() -> list[str]:
        loop, seen = asyncio.get_running_loop(), list[str]()
        loop.add_signal_handler(signal.SIGUSR1, seen.append, "signal")
        task = loop.run_in_executor(None, lambda: guest.call("spin_forever", timeout=60))
        while not guest.machine.depth:
            await asyncio.sleep(0.001)
        guest.stop()
        try:
            await task
        except Exception as error:
            seen.append(type(error).__name__)
        os.kill(os.getpid(), signal.SIGUSR1)
        guest.call("count_to", 100_000)
        await asyncio.sleep(0.01)
        loop.remove_signal_handler(signal.SIGUSR1)
        return seen

    assert asyncio.run(main()) == ["CallStopped", "signal"]


def test_a_booted_guest_is_the_same_after_interrupts(real_image: Path) -> None:
    """Its console, its time and the hits: interrupted often, or not at all."""
    image = load_image(real_image)

    def boot() -> tuple[BootedKernel, list[object]]:
        k, hits = Kernel.boot(image), list[object]()
        k.register_kprobe(
            Kprobe(
                "vsnprintf",
                pre_handler=lambda p, regs: hits.append(regs.arg(1)),
                post_handler=lambda p, regs, flags: hits.append(k.time),
            )
        )
        k.register_kretprobe(
            Kretprobe("vsnprintf", handler=lambda ri, regs: hits.append(regs.return_value))
        )
        return k, hits

    plain, expected = boot()
    plain.run("Memory: ")
    k, hits = boot()
    interrupts, ends = 0, list[Stop]()
    with _signals(longest=0.02) as send:
        while True:
            send()
            try:
                ends.append(k.run("Memory: ").kind)
                time.sleep(0.5)  # the last one finds the guest at rest
            except KeyboardInterrupt:
                interrupts += 1
                if "Memory: " not in k.console.text:
                    continue
            break
    assert interrupts > 5
    assert ends in ([], [Stop.TEXT]), "one that comes at the end is told, and not how it ended"
    assert (k.console.text, k.time, hits) == (plain.console.text, plain.time, expected)


def test_other_threads_run_beside_a_guest(guest: CalledKernel) -> None:
    """The interpreter's lock is kept only where nobody else can want it."""
    turns, over = [0], threading.Event()

    def count() -> None:
        while not over.wait(0.001):
            turns[0] += 1

    thread = threading.Thread(target=count)
    thread.start()
    try:
        assert not is_alone()
        with pytest.raises(GuestTimeout):
            guest.call("spin_forever", timeout=0.5)
    finally:
        over.set()
        thread.join()
    assert turns[0] > 20
