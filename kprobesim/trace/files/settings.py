"""``trace_options``, ``options/``, ``trace_clock`` (kernel/trace/trace.c)."""

from __future__ import annotations

import errno

from kprobesim.arch.architecture import halves
from kprobesim.trace.files.node import File, Setting, Table
from kprobesim.trace.files.numbers import number_of
from kprobesim.trace.files.option_names import IMITATED, is_of, options_of
from kprobesim.trace.files.refusal import refusal
from kprobesim.trace.trace_array import TraceArray

__all__ = ["Options", "clock_file"]

_LONGEST = 63  # bytes of what is written: the kernel copies so many
_REFUSED = "test_nop_refuse"  # by the tracer nop, to try what happens

_CLOCKS = ("local", "global", "counter", "uptime", "perf", "mono", "mono_raw", "boot")
_TAI = 5, 19
_ARCH_CLOCKS = halves(x86_64=("x86-tsc",), arm64=())
_THE_SAME = ("local", "global", "perf", "mono", "mono_raw", "boot")
"""Those that tell the guest's one time, in nanoseconds."""


class Options:
    """Which options are on; those of a kernel's version, in the kernel's order."""

    def __init__(self, tracing: TraceArray, version: tuple[int, ...]) -> None:
        self._tracing = tracing
        self._options = options_of(version)
        for option in self._options:
            if option.on:
                tracing.options.add(option.name)

    def text_file(self) -> File:
        """``trace_options``: one name a line, ``no`` before those that are off."""

        def text() -> str:
            return "".join(
                f"{'' if option.name in self._tracing.options else 'no'}{option.name}\n"
                for option in self._options
                if is_of(option, self._tracing.shown.tracer)
            )

        return Setting(text, self._choose)

    def folder(self) -> Table:
        """``options/``: a file for each, which says 1 or 0."""
        return Table({option.name: self._switch(option.name) for option in self._options})

    def _switch(self, name: str) -> File:
        def change(text: str) -> None:
            value = number_of(text)
            if value > 1:
                raise refusal(errno.EINVAL, f"{value} is neither 0 nor 1")
            self._set(name, bool(value))

        return Setting(lambda: f"{int(name in self._tracing.options)}\n", change)

    def _choose(self, text: str) -> None:
        word = text[:_LONGEST].strip()
        self._set(word.removeprefix("no"), not word.startswith("no"))

    def _set(self, name: str, on: bool) -> None:
        options = self._tracing.options
        if name not in (option.name for option in self._options):
            raise refusal(errno.EINVAL, f"there is no option {name!r}")
        if on == (name in options):
            return
        if name not in IMITATED:
            why = "the tracer refuses it" if name == _REFUSED else "it is not imitated"
            raise refusal(errno.EINVAL, f"the option {name} cannot be changed: {why}")
        (options.add if on else options.discard)(name)
        if name == "overwrite":
            self._tracing.buffer.overwrite = on
        if name == "record-tgid":
            self._tracing.buffer.pull()
            self._tracing.saved.keeps_tgids = on


def clock_file(tracing: TraceArray, arch: str, version: tuple[int, ...]) -> File:
    """``trace_clock``: the clocks that there are, the chosen one in brackets.

    All that count nanoseconds tell one time here; the others cannot be chosen.
    """
    names = (*_CLOCKS, *(("tai",) if version >= _TAI else ()), *_ARCH_CLOCKS[arch])
    chosen = ["local"]

    def text() -> str:
        words = (f"[{name}]" if name == chosen[0] else name for name in names)
        return " ".join(words) + "\n"

    def change(text: str) -> None:
        name = text[:_LONGEST].strip()
        if name not in _THE_SAME:
            why = "cannot be had here" if name in names else "does not exist"
            raise refusal(errno.EINVAL, f"the clock {name!r} {why}")
        chosen[0] = name
        tracing.buffer.clear()

    return Setting(text, change)
