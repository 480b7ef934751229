"""``FunctionFilter``: some of the functions that ftrace can trace, as in ``set_ftrace_filter``.

ftrace_regex_write(), ftrace_match_records() and ftrace_mod_callback() of kernel/trace/ftrace.c
(6.12).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from kprobesim.hexrepr import HexRepr
from kprobesim.trace.files.refusal import refusal
from kprobesim.trace.filters.comparison import pattern_of

__all__ = ["Chosen", "FunctionFilter", "Traceable"]

_MODULE = "mod"


@dataclass(frozen=True, repr=False)
class Traceable(HexRepr):
    """A function that ftrace can trace.

    Attributes:
        site: Where its code is patched.
        name: Its name.
        module: Its module; "": the kernel.
    """

    site: int
    name: str
    module: str = ""

    def __str__(self) -> str:
        return f"{self.name} [{self.module}]" if self.module else self.name


@dataclass(frozen=True)
class Chosen:
    """What words have chosen.

    Attributes:
        sites: Functions, by where their code is patched.
        waiting: Patterns for modules that are not loaded.
    """

    sites: frozenset[int] = frozenset()
    waiting: tuple[str, ...] = field(default=())

    def __bool__(self) -> bool:
        return bool(self.sites or self.waiting)


class FunctionFilter:
    """Functions that somebody chooses by words; none is chosen at first.

    Args:
        functions: Gives all that there are, in the kernel's order.
        changed: Is called when others are chosen.
    """

    def __init__(
        self, functions: Callable[[], Sequence[Traceable]], changed: Callable[[], object]
    ) -> None:
        self._functions = functions
        self._changed = changed
        self.chosen = Chosen()

    def set(self, chosen: Chosen) -> None:
        """Choose those."""
        if chosen != self.chosen:
            before, self.chosen = self.chosen, chosen
            try:
                self._changed()
            except BaseException:
                self.chosen = before
                raise

    def text(self, none: str) -> str:
        """A line for each; ``none`` where there are none."""
        lines = [str(each) for each in self._functions() if each.site in self.chosen.sites]
        return "".join(f"{line}\n" for line in (*lines, *self.chosen.waiting)) or f"{none}\n"

    def understand(self, chosen: Chosen, word: str) -> Chosen:
        """What is chosen with one word more.

        Raises:
            OSError: There is no such function, or no such command (EINVAL).
        """
        pattern, colon, rest = word.partition(":")
        module = None
        if colon:
            command, _, module = rest.partition(":")
            if command != _MODULE:
                raise refusal(errno.EINVAL, f"there is no command {command!r} here, but mod")
        found = list(self._matching(pattern or "*", module))
        removes = pattern.startswith("!")
        if not found:
            if module is None:
                raise refusal(errno.EINVAL, f"ftrace can trace no function {pattern}")
            waiting = tuple(each for each in chosen.waiting if each != word.removeprefix("!"))
            return replace(chosen, waiting=waiting if removes else (*waiting, word))
        sites = chosen.sites - set(found) if removes else chosen.sites | set(found)
        return replace(chosen, sites=frozenset(sites))

    def module_coming(self, name: str) -> None:
        """A module is loaded: patterns that have waited for it choose its functions."""
        chosen = self.chosen
        for word in chosen.waiting:
            if word.rpartition(":")[2] == name:
                others = tuple(each for each in chosen.waiting if each != word)
                chosen = self.understand(replace(chosen, waiting=others), word)
        self.set(chosen)

    def _matching(self, pattern: str, module: str | None) -> Iterable[int]:
        if pattern[:1].isdigit() and module is None:  # which of the list it is
            functions = self._functions()
            number = int(pattern) if pattern.isdigit() else 0
            return [functions[number - 1].site] if 0 < number <= len(functions) else []
        _, wanted = pattern_of(pattern.encode("utf-8", "surrogateescape"))
        of_module = None
        if module:
            other, of_module = pattern_of(module.encode("utf-8", "surrogateescape"))
        found = []
        for each in self._functions():
            if of_module is not None and (
                of_module.matches(each.module.encode()) is other or not each.module
            ):
                continue
            if wanted.matches(each.name.encode()):
                found.append(each.site)
        return found
