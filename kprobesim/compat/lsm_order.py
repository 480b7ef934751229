"""Which security modules a kernel switches on, unless its command line says otherwise."""

from __future__ import annotations

import re

from kprobesim.survey.known import KnownKernel

__all__ = ["lsm_order"]

_ORDER = re.compile(rb"(?<=\0)[a-z]{3,16}(?:,[a-z]{3,16}){2,20}(?=\0)")
_SURE = {b"yama", b"landlock", b"apparmor", b"selinux", b"lockdown"}  # two of them make a list


def lsm_order(known: KnownKernel) -> list[str] | None:
    """CONFIG_LSM, from the settings or the kernel's own text; ``None`` if neither tells."""
    said = (known.config or {}).get("CONFIG_LSM")
    if said is not None:
        return said.strip('"').split(",")
    for segment in known.image.segments:
        for found in _ORDER.finditer(segment.data):
            names = found[0].split(b",")
            if len(_SURE.intersection(names)) > 1:
                return [name.decode() for name in names]
    return None
