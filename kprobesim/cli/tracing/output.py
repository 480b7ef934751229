"""What ``kprobesim trace`` writes: lines as they come, files, the profile, and how far it is."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing

from rich.live import Live

from kprobesim.cli.console import error_console, escaped, styled
from kprobesim.cli.tracing.work import Recorder
from kprobesim.kernel.base import Kernel
from kprobesim.trace.entry import TraceEntry
from kprobesim.trace.exports.export import OpenExport, open_export
from kprobesim.trace.exports.json_file import JsonFile
from kprobesim.trace.session import Trace

__all__ = ["Output"]

_HEAD = f"# {'EVENT':<44} {'HITS':>15} {'MISSES':>15}"
_MOST_ROWS = 20  # of which those are printed, too, that were not hit
_EVERY = 0.25  # seconds between two words on how far it is


class Output:
    """Where the entries of ``trace`` go, which ``kernel`` records."""

    def __init__(self, args: argparse.Namespace, kernel: Kernel, trace: Trace) -> None:
        self._kernel, self._trace = kernel, trace
        self._files: list[str] = args.files
        self._json, self._prints = args.json, not (args.json or args.files or args.profile)
        self._exports: list[OpenExport] = []
        self._document: JsonFile | None = None
        self._progress: Live | None = None
        self._entries, self._told = 0, 0.0

    def record(self, work: Callable[[Recorder], str]) -> None:
        """Let ``work`` go on while the trace is; whatever ends it, what was recorded is written.

        Raises whatever ``work`` does, but then.
        """
        problem: BaseException | None = None
        ended = ""
        self._trace.prepare()
        with ExitStack() as opened:
            with closing(self._trace):
                self._open(opened)
                try:
                    ended = work(self)
                except BaseException as error:
                    problem = error
            self._write(self._trace.take())
            self._end(ended)
        if problem is not None:
            raise problem

    def begin(self) -> None:
        """Record from now on."""
        self._trace.start()

    def pause(self) -> None:
        """Record nothing until :meth:`begin`."""
        self._trace.pause()

    def _open(self, opened: ExitStack) -> None:
        about = self._trace.about
        self._exports = [opened.enter_context(open_export(file, about)) for file in self._files]
        if self._json:
            self._document = JsonFile(sys.stdout, about)
        if self._prints:
            sys.stdout.write(self._trace.header())
        if sys.stderr.isatty() and not (self._prints and sys.stdout.isatty()):
            # Without a thread of its own, for which the guest would have to make room.
            self._progress = Live(console=error_console(), auto_refresh=False, transient=True)
            opened.callback(self._progress.stop)
            self._progress.start()

    def pump(self) -> bool:
        """Pass on what was recorded since the last time; whether that is enough."""
        self._write(self._trace.take())
        now = time.monotonic()
        if now - self._told > _EVERY:
            self._told = now
            if self._prints:
                sys.stdout.flush()
            if self._progress is not None:
                text = f"{self._kernel.time:.3f} s of the guest's time, {self._entries:,} entries"
                self._progress.update(styled((f"{text}; Ctrl-C ends it", "dim")), refresh=True)
        return self._trace.full

    def _write(self, entries: Iterable[TraceEntry]) -> None:
        for entry in entries:
            self._entries += 1
            if self._prints:
                sys.stdout.write(escaped(self._trace.line(entry)) + "\n")
            if self._document is not None:
                self._document.add(entry)
            for export in self._exports:
                export.add(entry)

    def _end(self, ended: str) -> None:
        if self._progress is not None:
            self._progress.stop()
        rows, lost = self._trace.profile, self._trace.lost
        for export in self._exports:
            export.finish(rows, lost)
        if self._document is not None:
            self._document.finish(rows, lost)
            return
        if self._prints:
            print()
        print(_HEAD)
        hit = [row for row in rows if row.hits or row.misses] if len(rows) > _MOST_ROWS else rows
        for row in hit:
            name = row.event.rpartition("/")[2]
            print(f"  {name:<44} {row.hits:15} {row.misses:15}")
        if len(hit) < len(rows):
            print(f"# and {len(rows) - len(hit)} others that were not hit")
        sys.stdout.flush()
        notes = [ended] if ended else []
        if self._trace.full:
            notes.append(f"the limit of {self._entries:,} entries is reached")
        if self._trace.lost_stacks:
            notes.append(f"{self._trace.lost_stacks:,} entries have no stack: there are too many")
        if not self._entries and (self._prints or self._exports):
            notes.append("there are no entries: what was defined was not reached, or filtered out")
        notes += [f"{export.path}: {self._entries:,} entries" for export in self._exports]
        for note in notes:
            error_console().print(styled((note, "dim")))
