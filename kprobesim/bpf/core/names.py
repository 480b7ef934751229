"""Flavours: what stands behind the last ``___`` of a name is not looked at."""

from __future__ import annotations

import re

__all__ = ["essential_name"]

#: Three underscores between characters that are none: ``bpf_core_is_flavor_sep()`` of libbpf.c.
_FLAVOUR = re.compile(r".*[^_](?=___[^_])", re.DOTALL)


def essential_name(name: str) -> str:
    """``task_struct`` of ``task_struct___old``.

    >>> essential_name("a___b___c"), essential_name("a____b")
    ('a___b', 'a____b')
    """
    match = _FLAVOUR.match(name)
    return match[0] if match else name
