"""The names of an event: ``[GROUP/][EVENT]``, and what it is called without one."""

from __future__ import annotations

from kprobesim.dynevent.error import ProbeEventError
from kprobesim.dynevent.grammar.c_text import is_good_group, is_good_name
from kprobesim.dynevent.grammar.command import Command

__all__ = ["default_name", "parse_event_name"]

_MOST = 64  # MAX_EVENT_NAME_LEN, with the NUL


def parse_event_name(text: str, column: int, command: Command) -> tuple[str | None, str | None]:
    """The group and the event; ``None``: it was not named.

    Args:
        text: What stands behind the colon.
        column: Where in the first word.
        command: The definition.

    Raises:
        ProbeEventError: This kernel refuses it.
    """
    dialect = command.dialect

    def error(name: str) -> ProbeEventError:
        return command.refusal(name, 0, column)

    group = None
    slash = text.find("/") if "/" in text or not dialect.dot_separates else text.find(".")
    if slash >= 0:
        group = text[:slash]
        if not group:
            raise error("NO_GROUP_NAME")
        if slash + 1 > _MOST:
            raise error("GROUP_TOO_LONG")
        if not (is_good_group if dialect.group_hyphens else is_good_name)(group):
            raise error("BAD_GROUP_NAME")
        column += slash + 1
        text = text[slash + 1 :]
    if not text:
        if group is not None and dialect.group_alone:
            return group, None
        raise error("NO_EVENT_NAME")
    if len(text) > dialect.longest_event:
        raise error("EVENT_TOO_LONG")
    if not is_good_name(text):
        raise error("BAD_EVENT_NAME")
    return group, text


def default_name(start: str, place: str, command: Command) -> str:
    """``p_SYMBOL_OFFSET``: what the kernel calls an event at ``place``."""
    name = f"{start}_{place}"[: _MOST - 1]
    for character in ":.*" if command.dialect.star_in_name else ":.":
        name = name[0] + name[1:].replace(character, "_")
    return name
