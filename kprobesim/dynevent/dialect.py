"""``Dialect``: what the grammar of one kernel's definitions has, and how it fails.

Distributions backport, so what can be seen in a kernel is: texts that its ``error_log`` would show,
and its functions. Only the rest goes by its version. kernel/trace/trace_probe.c, trace_kprobe.c and
trace_dynevent.c, 5.10 to 7.3; held against the kernels themselves by
``scripts/compare_definitions.py``.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from kprobesim.dynevent.messages import MESSAGES

__all__ = ["Dialect", "dialect_of", "newest_dialect", "texts_of"]


_NEWEST = (7, 3)
_BTF_SEARCH = "btf_find_func_proto"
_Version = tuple[int, ...]
#: Since which release of its line a kernel has a fix, and since which line all have it.
_UNCLOSED_MENDED: tuple[_Version, ...] = (
    *((5, 10, 254), (5, 15, 204), (6, 1, 170), (6, 6, 136), (6, 12, 83), (6, 18, 24), (6, 19, 13)),
    (7, 0),
)
_ARGUMENT_0_MENDED: tuple[_Version, ...] = ((6, 6, 140), (6, 12, 100), (6, 18, 40), (7, 1))


@dataclass(frozen=True)
class Dialect:
    r"""One kernel's grammar.

    Attributes:
        texts: What it says to each error that it knows.
        btf: It knows arguments by their names (CONFIG_PROBE_EVENTS_BTF_ARGS, 6.4).
        running_column: The column of an error behind ``+0(`` or ``->`` goes on from there, also for
            errors of the argument's type.
        return_arguments: ``$argN`` is for return probes, too (6.9).
        char_type: There is the type ``char``.
        group_alone: ``GROUP/`` gives the event its default name.
        group_hyphens: A group's name may have hyphens.
        delete_group: ``-:GROUP/`` deletes all events of a group.
        delete_anywhere: ``-`` deletes also behind blanks: words are split first (before 5.11).
        longest_event: Characters in an event's name.
        unclosed_string: ``\"`` alone is an empty string, as its one quote is taken for the last.
        refuses_argument_0: ``$arg0`` is a bad number, not a name that is looked for.
        dentry_types: There are ``%pd`` and ``%pD`` (6.9).
        star_in_name: ``*`` in a default name becomes ``_``.
        symbols_first: Symbols are counted before anything else, and that fails with EINVAL (6.11).
        dot_separates: ``GROUP.EVENT`` is ``GROUP/EVENT``.
        cuts_arguments: Of more than 128 arguments the others are dropped (before 6.12).
        longest_body: Characters in an argument behind its name.
        too_long_errno: What too long an argument fails with.
        full_errno: What an argument fails with that leaves no room to store it.
        number_errno: What a number that is none fails with in ``$stackN`` and ``$argN``; 0: with
            what ``kstrtoul()`` says.
        saturates: ``simple_strtoul()`` makes of too large a number the largest (7.2).
        short_log: ``error_log`` keeps 255 characters of a command, and columns modulo 256.
        newest: Nested casts, ``$current`` and per-CPU variables (7.3).
        most_nested: Of ``+0(``, casts and per-CPU reads; 0: as many as there is room for.
    """

    texts: Mapping[str, str]
    btf: bool
    running_column: bool
    return_arguments: bool
    char_type: bool
    group_alone: bool
    group_hyphens: bool
    delete_group: bool
    delete_anywhere: bool
    longest_event: int
    unclosed_string: bool
    refuses_argument_0: bool
    dentry_types: bool
    star_in_name: bool
    symbols_first: bool
    dot_separates: bool
    cuts_arguments: bool
    longest_body: int
    too_long_errno: int
    full_errno: int
    number_errno: int
    saturates: bool
    short_log: bool
    newest: bool
    most_nested: int

    def knows(self, error: str) -> bool:
        """Whether this kernel has an error of that name."""
        return error in self.texts


def _has(version: _Version, mended: tuple[_Version, ...]) -> bool:
    """Whether a kernel has what these releases were the first of their lines to have."""
    last = mended[-1]
    return version >= last or any(version[:2] == each[:2] and version >= each for each in mended)


def texts_of(has_text: Callable[[str], bool]) -> dict[str, str]:
    """What a kernel says to each error that it knows.

    Args:
        has_text: Whether a text is in its image, as a string of its own.
    """
    texts = {}
    for name, candidates in MESSAGES.items():
        found = next((text for text in candidates if has_text(text)), None)
        if found is not None:
            texts[name] = found
    return texts


def dialect_of(
    version: tuple[int, ...],
    texts: Mapping[str, str],
    has_function: Callable[[str], bool],
    constants: Callable[[str], Collection[int]],
) -> Dialect:
    """The dialect of a kernel.

    Args:
        version: Its version, (6, 1, 192).
        texts: What it says to its errors: :func:`texts_of`.
        has_function: Whether it has a function of that name.
        constants: The numbers in a function's code.
    """
    newest = "TOO_MANY_NESTED" in texts
    btf = has_function(_BTF_SEARCH)
    return Dialect(
        texts=texts,
        btf=btf,
        running_column="NOSUP_BTFARG" in texts,
        return_arguments=version >= (6, 9),
        char_type=has_function("print_type_char"),
        group_alone=version >= (6, 0),
        group_hyphens=version >= (5, 18),
        delete_group=version >= (5, 18),
        delete_anywhere=version < (5, 12),
        longest_event=63
        if version >= (6, 1) or 63 in constants("traceprobe_parse_event_name")
        else 64,
        unclosed_string=not _has(version, _UNCLOSED_MENDED),
        refuses_argument_0=_has(version, _ARGUMENT_0_MENDED),
        dentry_types=version >= (6, 9),
        star_in_name=version >= (6, 5),
        symbols_first=has_function("validate_probe_symbol"),
        dot_separates=version >= (5, 18),
        cuts_arguments=version < (6, 12),
        longest_body=255 if newest else 63,
        too_long_errno=errno.E2BIG if "NEED_STRING_TYPE" in texts else errno.EINVAL,
        full_errno=errno.E2BIG if "NEED_STRING_TYPE" in texts else errno.EINVAL,
        number_errno=0 if newest else errno.EINVAL,
        saturates=version >= (7, 2),
        short_log=version < (5, 18),
        newest=newest,
        most_nested=8 if newest else 0,
    )


def newest_dialect(*, btf: bool) -> Dialect:
    """The newest grammar that is known.

    Args:
        btf: Whether there are types to look arguments up in.
    """
    texts = texts_of(lambda text: True)
    return dialect_of(_NEWEST, texts, lambda name: btf or name != _BTF_SEARCH, lambda name: (63,))
