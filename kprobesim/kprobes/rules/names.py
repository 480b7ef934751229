"""Which functions are meant by names and patterns: the one place where ``vfs_*`` is expanded.

A name means itself, and whoever plants the probe hears of a refusal. A pattern means the functions
that match and that a probe can be on; the others are skipped, and kept for who asks.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import overload

from kprobesim.errors import KprobeError, Reason, SymbolError, UsageError
from kprobesim.image import SymbolTable
from kprobesim.image.symbols.patterns import is_pattern

__all__ = ["Functions", "Names", "is_many", "named_functions", "split_names"]

Names = str | Iterable[str]
"""A name, a pattern, several of them with commas between, or several such texts."""
Refusal = Callable[[str], "KprobeError | None"]
"""Why a probe on that function is refused; ``None``: it is not."""


class Functions(Sequence[str]):
    """Names of functions, each once; ``str()`` tells how many, and how many were skipped.

    Attributes:
        skipped: Why those are not among them that match a pattern and cannot be probed, the
            refusals in the order of the functions.
    """

    def __init__(self, names: Sequence[str], skipped: Sequence[KprobeError] = ()) -> None:
        self._names = tuple(names)
        self.skipped = tuple(skipped)

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...

    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        return self._names[index]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __str__(self) -> str:
        text = f"{len(self)} function{'' if len(self) == 1 else 's'}"
        return f"{text}, skipped {self.why()}" if self.skipped else text

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self}>"

    def why(self) -> str:
        """How many were skipped, and by which rules: ``"12: 8 blacklisted, 4 jump-label"``."""
        counts = Counter(error.reason.value for error in self.skipped).most_common()
        return f"{len(self.skipped)}: " + ", ".join(f"{count} {why}" for why, count in counts)


def is_many(name: str | None) -> bool:
    """Whether ``name`` is a pattern, or several names."""
    return name is not None and ("," in name or is_pattern(name))


def split_names(names: Names) -> list[str]:
    """The single names and patterns of which ``names`` consists.

    Raises:
        UsageError: They are no such thing.
    """
    texts = [names] if isinstance(names, str) else names
    found: list[str] = []
    try:
        for text in texts:
            found += [name for part in text.split(",") if (name := part.strip())]
    except (TypeError, AttributeError):
        raise UsageError(
            f"{names!r} names no functions: give a name, a pattern such as 'vfs_*', or a list"
        ) from None
    if not found:
        raise UsageError("no function is named: give a name, a pattern such as 'vfs_*', or a list")
    return found


def named_functions(names: Names, symbols: SymbolTable, refusal: Refusal | None) -> Functions:
    """The functions that ``names`` mean.

    Args:
        names: Names and patterns; ``vfs_*+4`` are places in functions. A pattern may name modules,
            too: ``ext4:*``, ``nf*:*_init``; one that does not means the kernel's functions, and
            those of the modules that are loaded.
        symbols: What they name.
        refusal: Judges what matches a pattern; ``None``: nothing is skipped.

    Raises:
        KprobeError: A pattern matches nothing, or only functions that cannot be probed.
        UsageError: They are no names.
    """
    found: dict[str, None] = {}
    skipped: list[KprobeError] = []
    for name in split_names(names):
        if not is_pattern(name):
            found[name] = None
            continue
        taken = False
        errors = []
        for one in _matched(name, symbols):
            error = None if refusal is None else refusal(one)
            if error is None:
                found[one] = None
                taken = True
            else:
                errors.append(error)
        if errors and not taken:
            raise _all_refused(name, errors)
        skipped += errors
    return Functions([*found], skipped)


def _matched(pattern: str, symbols: SymbolTable) -> list[str]:
    """The names of what matches, with what ``pattern`` has behind its ``+``."""
    name, plus, offset = pattern.partition("+")
    matched = symbols.matching(name)
    if not matched:
        try:
            symbols.refuse_unmatched(name)
        except SymbolError as error:
            raise KprobeError(
                errno.ENOENT, Reason.UNKNOWN_SYMBOL, str(error), symbol=pattern
            ) from None
    return [symbols.unique_name(symbol) + plus + offset for symbol in matched]


def _all_refused(pattern: str, errors: list[KprobeError]) -> KprobeError:
    first = errors[0]
    count = len(errors)
    all_of = "the only function" if count == 1 else f"none of the {count} functions"
    can = "cannot" if count == 1 else "can"
    return KprobeError(
        first.errno or errno.EINVAL,
        first.reason,
        f"{all_of} that {pattern} matches {can} be probed: {first.strerror}",
        symbol=pattern,
        address=first.address,
    )
