"""Where translated code looks whether it shall stop: everywhere, or only where a block starts.

Unicorn calls a function after every load and store of the guest to see whether somebody has asked
for a stop; a boot spends a sixth of its time on that. And such a stop is not precise: the access is
done again when the guest goes on. The start of every block looks, too, which is enough for a stop,
though not for a code hook that moves the pc: the rest of its block must not run.

``uc_struct.no_exit_request`` (2.1), which is there for the IT blocks of 32-bit ARM, leaves the
calls out of what is translated while it is set. Here it is set, except while a block is translated
that somebody may leave in its middle (:mod:`~kprobesim.machine.unicorn.translate_code`).
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from functools import cache

from kprobesim.machine.unicorn.learned import learned
from kprobesim.machine.unicorn.struct_layout import Words

__all__ = ["exit_request", "find_switch"]

_SEEN = 0x2000  # bytes of uc_struct that are compared
_NOP, _IF_EQUAL, _SVC = 0xBF00, 0xBF08, 0xDF00  # Thumb
_BEFORE = 512  # how far before the registers a wish to stop is looked for


@cache
def find_switch() -> int:
    """The offset of ``no_exit_request`` in ``uc_struct``, 0 if it cannot be told.

    It stays set after a block that ends within an IT block was translated, and only then.
    """
    return int(learned("no_exit_request", _find_switch))


def _find_switch() -> int:
    from kprobesim.machine.unicorn.specimen import structs_after_thumb

    plain, within = struct.pack("<2H", _NOP, _SVC), struct.pack("<2H", _IF_EQUAL, _SVC)
    seen = structs_after_thumb((plain, within, plain), _SEEN)
    places = [at for at, values in enumerate(zip(*seen, strict=True)) if values == (0, 1, 0)]
    return places[0] if len(places) == 1 else 0


def exit_request(words: Words, stop: Callable[[], object]) -> int:
    """The address of the 32-bit word that is negative once ``stop()`` was called; 0 if not known.

    It is ``icount_decr`` of QEMU's ``CPUNegativeOffsetState``, which lies before the registers, and
    what the start of each block looks at (``cpu_loop_exit_requested()``).
    """
    start = ctypes.addressof(words) - _BEFORE
    before = struct.unpack(f"<{_BEFORE // 4}i", ctypes.string_at(start, _BEFORE))
    stop()
    after = struct.unpack(f"<{_BEFORE // 4}i", ctypes.string_at(start, _BEFORE))
    places = [
        start + 4 * n
        for n, (old, new) in enumerate(zip(before, after, strict=True))
        if new < 0 <= old
    ]
    return places[0] if len(places) == 1 else 0
