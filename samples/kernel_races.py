"""Races of the kernel's history, in small: what ``samples/races`` has, and how each shows.

Each is a file of our own, of the shape of what a commit of Linux mended; :attr:`KnownRace.title`
and :attr:`KnownRace.commit` name that one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kprobesim import CalledKernel, Exploration, Kernel, PlannedCall, call
from kprobesim.image.modules.finder import ModuleFinder

__all__ = [
    "KNOWN",
    "KNOWN_LATE",
    "WITH_MUTEXES",
    "KnownRace",
    "load_all_races",
    "load_into",
    "load_mutex_races",
    "load_races",
    "load_rcu_races",
]

SAMPLES = Path(__file__).resolve().parent
MODULE = "kprobesim_races"
"""The module's name: a real kernel may have functions of the same names."""
VERMAGIC = 96
"""Bytes that the races' modules have for it."""


@dataclass(frozen=True)
class KnownRace:
    """One of them.

    Attributes:
        name: Of its file in ``samples/races``.
        title: The subject of the commit that mended it.
        commit: The beginning of its hash.
        kind: How it shows: the kind of the failure.
        where: What the failure's message, or the first place of its trace, must have in it.
        calls: What each CPU calls, by name; ``{}`` stands for "racy" or "fixed".
        prepare: What is called before.
        holds: A function that says afterwards whether all is well: it returns ``answer``.
        answer: What that returns.
        cve: The number under which it was published, if it has one.
        memory: The model of memory that it needs to show; ``None``: none.
        fits: Whether the results, by the names of ``calls``, are right.
    """

    name: str
    title: str
    commit: str
    kind: str
    where: str
    calls: Mapping[str, PlannedCall]
    prepare: tuple[str, ...] = ()
    holds: str | None = None
    answer: int = 1
    cve: str | None = None
    memory: str | None = None
    fits: Callable[[Mapping[str, int]], bool] | None = None

    def shows_on(self, arch: str) -> bool:
        """Whether ``arch`` is so weak: x86-64 lets others see stores in the order they have."""
        return self.memory != "weak" or arch == "arm64"

    def race(self, kernel: CalledKernel, variant: str, **how: Any) -> Exploration:
        """Race ``kernel``'s calls, from a fresh state, in which it is again afterwards.

        Args:
            kernel: One that :func:`load_races` has made.
            variant: "racy" or "fixed".
            **how: As for :meth:`Kernel.race`.

        Raises:
            ScheduleError: A schedule in ``how`` is not of this race.
        """
        state = kernel.fork_state()
        try:
            for name in self.prepare:
                kernel.call(f"{MODULE}:{name.format(variant)}")
            programs: dict[str, Any] = {
                name: call(f"{MODULE}:{each.function}".format(variant), *each.arguments)
                for name, each in self.calls.items()
            }
            if self.memory is not None:
                how = {"memory": self.memory, "data_races": False, **how}
            return kernel.race(invariant=self._invariant(kernel), **how, **programs)
        finally:
            kernel.restore_state(state)

    def _invariant(self, kernel: CalledKernel) -> Callable[[dict[str, int]], str | None] | None:
        function, fits = self.holds, self.fits
        if fits is not None:
            return lambda results: None if fits(results) else f"they return {results}"
        if function is None:
            return None

        def holds(_results: dict[str, int]) -> str | None:
            answer = kernel.call(f"{MODULE}:{function}")
            return None if answer == self.answer else f"{function}() returns {answer}"

        return holds


_RACES = (
    KnownRace(
        "lost_wakeup",
        "bcache: fix a lost wake-up problem caused by mca_cannibalize_lock",
        "34cf78bf34d4",
        "deadlock",
        "for ever",
        {"first": call("cannibalize_{}", 0), "second": call("cannibalize_{}", 1)},
    ),
    KnownRace(
        "lock_order",
        "spi: spidev: fix lock inversion between spi_lock and buf_lock",
        "40534d19ed2a",
        "deadlock",
        "write on CPU 0 and ioctl on CPU 1 wait for ever",
        {"write": call("spidev_write_{}"), "ioctl": call("spidev_ioctl_{}")},
        prepare=("spidev_probe",),
        cve="CVE-2026-43319",
    ),
    KnownRace(
        "flag_bits",
        "cpuset: PF_SPREAD_PAGE and PF_SPREAD_SLAB should be atomic flags",
        "2ad654bc5e2b",
        "invariant",
        "flags_are_right",
        {"task": call("clear_used_math_{}"), "cpuset": call("spread_page_{}")},
        holds="flags_are_right",
    ),
    KnownRace(
        "last_reference",
        "ucount: Remove the atomicity from ucount->count",
        "040757f738e1",
        "oops",
        "list_del",
        {"last": call("put_ucounts_{}"), "other": call("inc_ucount_{}")},
        prepare=("create_ucounts",),
        cve="CVE-2017-6874",
    ),
    KnownRace(
        "transmit_buffer",
        "tty: n_hdlc: get rid of racy n_hdlc.tbuf",
        "82f2341c94d2",
        "bug",
        "list_add",
        {"send": call("hdlc_send_frames_{}"), "flush": call("hdlc_flush_queue_{}")},
        prepare=("hdlc_failed_{}",),
        cve="CVE-2017-2636",
    ),
    KnownRace(
        "bind_twice",
        "l2tp: fix racy SOCK_ZAPPED flag check in l2tp_ip{,6}_bind()",
        "32c231164b76",
        "bug",
        "list_add",
        {"first": call("l2tp_bind_{}"), "second": call("l2tp_bind_{}")},
        prepare=("l2tp_socket",),
        cve="CVE-2016-10200",
    ),
    KnownRace(
        "early_port",
        "ALSA: seq: Fix use-after-free at creating a port",
        "71105998845f",
        "oops",
        "create_port",
        {"create": call("create_port_{}"), "delete": call("delete_port")},
        cve="CVE-2017-15265",
    ),
    KnownRace(
        "double_fetch",
        "vfs: ioctl: prevent double-fetch in dedupe ioctl",
        "10eec60ce791",
        "bug",
        "kfree",
        {"ioctl": call("dedupe_ioctl_{}"), "thread": call("user_changes_count")},
        cve="CVE-2016-6516",
    ),
    KnownRace(
        "dirty_cow",
        "mm: remove gup_flags FOLL_WRITE games from __get_user_pages()",
        "19be0eaffa3a",
        "invariant",
        "file_content",
        {"write": call("write_private_{}", 666), "madvise": call("discard_private")},
        holds="file_content",
        answer=100,
        cve="CVE-2016-5195",
    ),
    KnownRace(
        "cleared_pointer",
        "block: fix use-after-free in sys_ioprio_get()",
        "8ba8682107ee",
        "oops",
        "get_ioprio",
        {"ask": call("get_ioprio_{}"), "exit": call("exit_io_context")},
        prepare=("create_io_context",),
        cve="CVE-2016-7911",
    ),
    KnownRace(
        "no_grace_period",
        "eventpoll: defer struct eventpoll free to RCU grace period",
        "07712db80857",
        "oops",
        "ep_get_depth",
        {"reader": call("ep_get_depth"), "close": call("ep_free_{}")},
        prepare=("ep_create",),
    ),
)
KNOWN = {race.name: race for race in _RACES}
"""All, by name."""

KNOWN_LATE = (
    KnownRace(
        "publication",
        "tty: fix data race on tty_buffer.commit",
        "facd885c7506",
        "invariant",
        "they return",
        {"commit": call("tty_commit_{}", 7), "flush": call("tty_flush")},
        memory="weak",
        fits=lambda results: results["flush"] != 0,
    ),
    KnownRace(
        "sleep_flag",
        "io_uring: fix race condition when sq threads goes sleeping",
        "0d7bae69c574",
        "invariant",
        "they return",
        {"thread": call("sq_thread_{}"), "submit": call("sq_submit_{}")},
        memory="tso",
        fits=lambda results: not (results["thread"] == 1 and results["submit"] == 0),
    ),
    KnownRace(
        "ghost_pending",
        "workqueue: fix ghost PENDING flag while doing MQ IO",
        "346c09f80459",
        "invariant",
        "they return",
        {"worker": call("process_one_work_{}"), "submit": call("queue_work")},
        memory="tso",
        fits=lambda results: results["worker"] == 1 or results["submit"] == 1,
    ),
    KnownRace(
        "poll_wait",
        "net: adding memory barrier to the poll and receive callbacks",
        "a57de0b4336e",
        "deadlock",
        "poll on CPU 0 waits for ever",
        {"poll": call("tcp_poll_{}"), "receive": call("sock_def_readable_{}")},
        memory="tso",
    ),
    KnownRace(
        "failed_bit",
        "locking/atomic: Make test_and_*_bit() ordered on failure",
        "415d83249709",
        "invariant",
        "they return",
        {"receive": call("tty_receive_{}"), "work": call("tty_work")},
        memory="weak",
        fits=lambda results: results["receive"] == 1 or results["work"] == 1,
    ),
    KnownRace(
        "cache_check",
        "svcrpc: ensure cache_check caller sees updated entry",
        "fdef7aa5d402",
        "invariant",
        "they return",
        {"update": call("cache_update", 7), "check": call("cache_check_{}")},
        memory="weak",
        fits=lambda results: results["check"] != 0,
    ),
    KnownRace(
        "read_slowpath",
        "lcoking/rwsem: Add missing ACQUIRE to read_slowpath sleep loop",
        "99143f82a255",
        "invariant",
        "they return",
        {"write": call("rwsem_up_write", 7), "read": call("rwsem_down_read_{}")},
        memory="weak",
        fits=lambda results: results["read"] != 0,
    ),
)
"""Those that only show where CPUs see each other's stores late, or load early."""


WITH_MUTEXES = ("bind_twice", "lock_order")
"""The names of those that need only mutexes: they run in a real kernel, with its own."""


def load_races(arch: str) -> CalledKernel:
    """A sample guest with the module of the races; ``arch`` is "x86_64" or "arm64"."""
    kernel = Kernel.load(SAMPLES / f"guest-{arch}.elf")
    kernel.load_module(SAMPLES / f"races-{arch}.ko")
    return kernel


def load_all_races(kernel: CalledKernel, folder: Path) -> None:
    """Load the module of all races into a real kernel, with the small locks that it brings.

    Args:
        kernel: A real one.
        folder: Where the module for it is put.
    """
    _load(kernel, "races", folder)


def load_mutex_races(kernel: CalledKernel, folder: Path) -> None:
    """Load the module of :data:`WITH_MUTEXES` into a real kernel.

    Args:
        kernel: A real one.
        folder: Where the module for it is put.

    Raises:
        ImageError: The kernel has no mutexes that a module could use.
    """
    _load(kernel, "mutex-races", folder)


def load_rcu_races(kernel: CalledKernel, folder: Path) -> None:
    """Load the module of ``samples/races/grace_period.c`` into a real kernel.

    Args:
        kernel: A real one.
        folder: Where the module for it is put.

    Raises:
        ImageError: The kernel has no RCU that a module could use.
    """
    _load(kernel, "rcu-races", folder)


def _load(kernel: CalledKernel, name: str, folder: Path) -> None:
    load_into(kernel, SAMPLES / f"{name}-{kernel.arch}.ko", folder)


def load_into(kernel: CalledKernel, module: Path, folder: Path) -> None:
    """Load a module that needs nothing of a kernel that its version decides.

    A kernel takes modules that were built for it, as each says itself; a copy of this one does.

    Args:
        kernel: A real one.
        module: One of the samples', or one that ``build_own`` of ``samples/build.py`` has made.
        folder: Where the copy is put.

    Raises:
        ImageError: The kernel has not what the module needs.
    """
    wanted = ModuleFinder(kernel.image).vermagic or kernel.image.release
    data = module.read_bytes()
    at = data.index(b"vermagic=")
    text = b"vermagic=" + wanted.encode()
    copy = folder / f"{kernel.image.release}-{module.name}"
    copy.write_bytes(data[:at] + text.ljust(VERMAGIC, b"\0") + data[at + VERMAGIC :])
    kernel.load_module(copy)
