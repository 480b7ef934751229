"""``Command``: the words of one definition, and how it is refused."""

from __future__ import annotations

import errno

from kprobesim.dynevent.dialect import Dialect
from kprobesim.dynevent.error import ProbeEventError
from kprobesim.dynevent.grammar.c_text import as_text

__all__ = ["Command"]


class Command:
    """The ``words`` that were written to a kernel of that ``dialect``."""

    def __init__(self, words: tuple[str, ...], dialect: Dialect) -> None:
        self.words = words
        self.dialect = dialect

    def refusal(
        self, name: str, word: int, offset: int = 0, number: int = errno.EINVAL
    ) -> ProbeEventError:
        """What the kernel says to a fault.

        Args:
            name: The kernel's name of it; one that this kernel does not know is not told.
            word: The index of the word that is at fault. Behind the last one the caret is, too.
            offset: The column in that word.
            number: The errno.
        """
        text = self.dialect.texts.get(name)
        if word < len(self.words):
            column = sum(len(each) + 1 for each in self.words[:word]) + offset
        else:
            column = sum(len(each) + 1 for each in self.words)
        command = as_text(" ".join(self.words))
        if text is None:
            return ProbeEventError(number, command)
        return ProbeEventError(number, command, name, text, column, short=self.dialect.short_log)

    def silent(self, number: int = errno.EINVAL) -> ProbeEventError:
        """A refusal of which ``error_log`` says nothing."""
        return ProbeEventError(number, as_text(" ".join(self.words)))
