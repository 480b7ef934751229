"""``SnapshotReading``: a snapshot's file is read, checked and unpacked by threads of its own.

What takes time there (the file, its checksum, zstandard) lets Python's other threads run, so
whoever resumes a kernel imports meanwhile what a kernel consists of. A snapshot whose memory is
kept (:mod:`kprobesim.snapshot.kept_memory`) needs neither a thread nor time.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from threading import Thread
from types import TracebackType
from typing import Generic, TypeVar

from kprobesim.errors import EngineError
from kprobesim.machine.guest_ram import GuestRam, make_ram
from kprobesim.sizes import PAGE
from kprobesim.snapshot.container import Container, read_container, read_known
from kprobesim.snapshot.kept_memory import KeptMemory

__all__ = ["SnapshotReading", "memory_of"]

_log = logging.getLogger(__name__)

_LEAST_MEMORY = 1 << 20  # no board has less

_T = TypeVar("_T")


class SnapshotReading:
    """The snapshot ``path`` is being read; at the end of the ``with`` no thread is left."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._kept = KeptMemory()
        found = read_known(path, self._kept.knows)
        ram = None if found is None else self._mapped(found)
        self._container: _There[Container] | _Later[Container]
        self._ram: _There[GuestRam] | _Later[GuestRam]
        self._filled: _There[None] | _Later[None]
        if found is not None and ram is not None:
            self._container, self._ram, self._filled = _There(found), _There(ram), _There(None)
        else:
            self._container = _Later(lambda: read_container(path))
            self._ram = _Later(self._make_ram)
            self._filled = _Later(self._fill)

    def __enter__(self) -> SnapshotReading:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._filled.join()

    def container(self) -> Container:
        """The file, whose checksum is right; raises :class:`SnapshotError`."""
        return self._container.result()

    def ram(self) -> GuestRam:
        """The guest's memory, in which nobody looks yet; raises SnapshotError, UsageError."""
        return self._ram.result()

    def wait(self) -> None:
        """Until the memory is what it was; raises what :meth:`ram` does, and PagesError."""
        self._filled.result()

    def _mapped(self, container: Container) -> GuestRam | None:
        """The memory, if it is kept."""
        size = memory_of(container)
        kept = self._kept.open(container, size)
        if kept is None:
            return None
        descriptor, ranges = kept
        try:
            ram = make_ram(size)
            ram.map_file(descriptor, ranges)
        except EngineError as error:
            _log.info("the memory is unpacked anew: %s", error)
            return None
        finally:
            os.close(descriptor)
        return ram

    def _make_ram(self) -> GuestRam:
        container = self.container()
        return self._mapped(container) or make_ram(memory_of(container))

    def _fill(self) -> None:
        from kprobesim.image.state import page_reader

        ram, container = self.ram(), self.container()
        if ram.mapped:
            return
        pages, runs = page_reader(container), container.section("ram")
        pages.fill(ram, runs)
        self._kept.keep(container, ram, pages.ranges(runs, len(ram)))


def memory_of(container: Container) -> int:
    """How many bytes of RAM the guest has; raises :class:`SnapshotError`."""
    memory = container.facts.get("memory")
    if type(memory) is not int or memory < _LEAST_MEMORY or memory % PAGE:
        raise container.damaged("it does not say how much memory the guest has")
    return memory


class _There(Generic[_T]):
    """What is there already, to be asked as a :class:`_Later`."""

    def __init__(self, value: _T) -> None:
        self._value = value

    def join(self) -> None:
        """Nothing to wait for."""

    def result(self) -> _T:
        return self._value


class _Later(Generic[_T]):
    """What ``make()`` returns or raises in a thread of its own."""

    def __init__(self, make: Callable[[], _T]) -> None:
        self._make = make
        self._made: list[_T] = []
        self._raised: BaseException | None = None
        self._thread = Thread(target=self._run, name="kprobesim-snapshot")
        self._thread.start()

    def _run(self) -> None:
        try:
            self._made.append(self._make())
        except BaseException as error:  # raised again where it is asked for
            self._raised = error

    def join(self) -> None:
        """Wait until it is there."""
        self._thread.join()

    def result(self) -> _T:
        """Wait for it, and return or raise it."""
        self.join()
        if self._raised is not None:
            raise self._raised
        return self._made[0]
