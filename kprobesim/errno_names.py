"""What the kernel calls its errors, also those of its own (include/linux/errno.h)."""

from __future__ import annotations

import errno

__all__ = ["errno_name", "errno_number"]

_INTERNAL = {
    512: "ERESTARTSYS",
    513: "ERESTARTNOINTR",
    514: "ERESTARTNOHAND",
    515: "ENOIOCTLCMD",
    516: "ERESTART_RESTARTBLOCK",
    517: "EPROBE_DEFER",
    518: "EOPENSTALE",
    519: "ENOPARAM",
    521: "EBADHANDLE",
    522: "ENOTSYNC",
    523: "EBADCOOKIE",
    524: "ENOTSUPP",
    525: "ETOOSMALL",
    526: "ESERVERFAULT",
    527: "EBADTYPE",
    528: "EJUKEBOX",
    529: "EIOCBQUEUED",
    530: "ERECALLCONFLICT",
    531: "ENOGRACE",
}
_NAMES = {**errno.errorcode, **_INTERNAL, errno.EOPNOTSUPP: "EOPNOTSUPP"}
"""ENOTSUP is a name that the C library has for EOPNOTSUPP, and the kernel has not."""
_NUMBERS = {name: number for number, name in errno.errorcode.items()}
_NUMBERS |= {name: number for number, name in _NAMES.items()}
_NUMBERS |= {"EWOULDBLOCK": errno.EAGAIN, "EDEADLOCK": errno.EDEADLK}


def errno_name(number: int | None) -> str:
    """``EINVAL`` for 22; the number where it has no name."""
    return _NAMES.get(number or 0, str(number))


def errno_number(name: str) -> int | None:
    """22 for ``EINVAL``; ``None`` where no error is called that."""
    return _NUMBERS.get(name)
