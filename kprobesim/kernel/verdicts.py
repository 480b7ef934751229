"""``Verdicts``: asking a kernel's rules for probes, whether it runs or is only read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kprobesim.errors import KprobeError, UsageError
from kprobesim.image import SymbolTable

if TYPE_CHECKING:  # a kernel that nobody asks needs no rules
    from kprobesim.kprobes.rules.names import Functions, Names
    from kprobesim.kprobes.rules.rules import Interface, Rules
    from kprobesim.kprobes.rules.verdict import Verdict

__all__ = ["Verdicts"]


class Verdicts:
    """Who has rules, and answers by them."""

    def check(
        self,
        symbol_name: str | None = None,
        *,
        addr: int | None = None,
        offset: int = 0,
        kretprobe: bool = False,
        events: bool = False,
        slot_at: int | None = None,
        suggest: bool = True,
    ) -> Verdict:
        """What this kernel would answer to a probe there once it has booted; nothing is planted.

        Args:
            symbol_name: The symbol, with an offset or not, or ``"module:symbol"``; or
            addr: the address.
            offset: Bytes from there.
            kretprobe: Ask for a return probe.
            events: Ask as a write into ``kprobe_events``, which refuses what ftrace cannot trace.
            slot_at: The address of a slot, whose bytes the verdict then tells.
            suggest: Tell names like an unknown one, and modules that have it: that takes a while.

        Raises:
            UsageError: Something is of the wrong type, or ``symbol_name`` is a pattern.
            ImageError: The module that is named is none for this kernel.
        """
        from kprobesim.kprobes.kprobe import Kprobe
        from kprobesim.kprobes.rules.names import is_many

        if isinstance(symbol_name, str) and is_many(symbol_name):
            raise UsageError(f"{symbol_name!r} is no single place: use check_all()")
        self._look_for(symbol_name)
        verdict = self._rules().check(
            Kprobe(symbol_name, addr=addr, offset=offset),
            kretprobe=kretprobe,
            events=events,
            slot_at=slot_at,
            suggest=suggest,
        )
        return verdict if verdict else self._explained(verdict, suggest=suggest)

    def check_all(
        self, names: Names, *, kretprobe: bool = False, events: bool = False
    ) -> list[Verdict]:
        """What :meth:`check` says of each of several functions.

        Args:
            names: As for :meth:`functions`; none of those that match is left out.
            kretprobe: As for :meth:`check`.
            events: As for :meth:`check`.

        Raises:
            KprobeError: A pattern matches nothing.
        """
        named = self.functions(names, refused=True)
        return [self.check(name, kretprobe=kretprobe, events=events) for name in named]

    def functions(
        self, names: Names, *, offset: int = 0, kretprobe: bool = False, refused: bool = False
    ) -> Functions:
        """The functions that names and patterns mean, as whatever takes such names expands them.

        >>> k.functions("vfs_*")
        <Functions: 74 functions>

        Args:
            names: A name, which means itself; a pattern, as of files (``*``, ``?``, ``[a-z]``),
                which means the functions that match and that a probe can be on, also of modules
                (``"ext4:*"``); several with commas between; or a list of these. A pattern without
                a module means the functions of kernel and modules, but no parts (``foo.cold``).
            offset: The probes are to be so many bytes from there.
            kretprobe: Return probes are to be there.
            refused: Leave out none of those that match.

        Returns:
            Names that a probe takes, in order: of several functions of one name
            ``name@0xaddress``. Its ``skipped`` has the refusals of what matches a pattern.

        Raises:
            KprobeError: A pattern matches nothing (with names that resemble it), or only functions
                that cannot be probed.
            UsageError: They are no names.
        """
        from kprobesim.kprobes.kprobe import Kprobe
        from kprobesim.kprobes.rules.names import named_functions

        rules, init_freed = self._rules(), self._is_init_freed()
        interface: Interface = "kretprobe" if kretprobe else "kprobe"
        probe = Kprobe(offset=offset)  # one for all: to make one takes a while

        def refusal(name: str) -> KprobeError | None:
            probe.symbol_name = name
            return rules.refusal(probe, interface, init_freed=init_freed)

        return named_functions(names, self._symbols_of(names), None if refused else refusal)

    def _symbols_of(self, names: Names) -> SymbolTable:
        """All symbols, with those of modules that are named."""
        from kprobesim.kprobes.rules.names import split_names

        for name in split_names(names):
            self._look_for(name)
        return self._rules().image.symbols

    def _is_init_freed(self) -> bool:
        """Whether ``__init`` functions are gone."""
        return True

    def _rules(self) -> Rules:
        """The pipeline that judges."""
        raise NotImplementedError

    def _look_for(self, symbol_name: str | None) -> None:
        """Get what the name is in, if it must be got."""

    def _explained(self, verdict: Verdict, *, suggest: bool) -> Verdict:
        """A refusal with what else is known of it."""
        return verdict
