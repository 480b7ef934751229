"""Numbers and lists of CPUs as the kernel reads them (lib/kstrtox.c, lib/bitmap-str.c)."""

from __future__ import annotations

import errno
import os
import re

from kprobesim.sizes import MASK64

__all__ = ["cpu_list", "kstrtoll", "kstrtoul", "kstrtoull"]

_DIGITS = re.compile(r"0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9][0-9]*)")
_REGION = re.compile(r"(\d+|N)(?:-(\d+|N)(?::(\d+)/(\d+))?)?")


def kstrtoull(text: str) -> int | None:
    """An unsigned number of 64 bits in base 16, 8 or 10; ``None``: it is none."""
    found = _DIGITS.fullmatch(text.removeprefix("+").removesuffix("\n"))
    if found is None:
        return None
    base = 16 if found[1] else 8 if found[2] else 10
    number = int(found[1] or found[2] or found[3], base)
    return number if number <= MASK64 else None


def kstrtoul(text: str) -> int:
    """An unsigned number; raises ``OSError`` with ERANGE or EINVAL."""
    number = kstrtoull(text)
    if number is None:
        found = _DIGITS.fullmatch(text.removeprefix("+").removesuffix("\n"))
        why = errno.ERANGE if found else errno.EINVAL
        raise OSError(why, os.strerror(why))
    return number


def kstrtoll(text: str) -> int | None:
    """A signed one."""
    if text.startswith("-"):
        number = kstrtoull("" if text[1:2] == "+" else text[1:])
        return None if number is None or number > 1 << 63 else -number
    number = kstrtoull(text)
    return None if number is None or number >> 63 else number


def cpu_list(text: str, bits: int) -> frozenset[int] | None:
    """The CPUs of a list such as ``0-3,7``, each less than ``bits``; ``None``: it is none."""
    cpus: set[int] = set()
    for region in re.split(r"[\s,]+", text.strip(", \t\n")):
        if region == "all":
            cpus.update(range(bits))
            continue
        found = _REGION.fullmatch(region)
        if found is None:
            return None
        start, end = (bits - 1 if part == "N" else int(part or -1) for part in found.groups()[:2])
        end = start if found[2] is None else end
        used, group = int(found[3] or 1), int(found[4] or 1)
        if not start <= end < bits or not 0 < used <= group:
            return None
        cpus.update(cpu for cpu in range(start, end + 1) if (cpu - start) % group < used)
    return frozenset(cpus)
