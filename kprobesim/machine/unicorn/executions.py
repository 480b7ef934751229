"""``Executions``: how often instructions were executed, counted by machine code.

Unlike a probe it may stand anywhere: no rule of the kernel's refuses a place that is only looked
at. By Python where there is no such code for this computer: the same count.
"""

from __future__ import annotations

import ctypes
from functools import cache

from kprobesim.machine.unicorn.host_code import put_functions
from kprobesim.machine.unicorn.native import SIGNATURE, Native

__all__ = ["CODE", "Executions"]

CODE = {
    "x86_64": """
count:
    48ff01                  inc qword ptr [rcx]
    c3                      ret
""",
    "aarch64": """
count:
    640040f9                ldr x4, [x3]
    84040091                add x4, x4, #1
    640000f9                str x4, [x3]
    c0035fd6                ret
""",
}
"""By the host's architecture; the fourth argument is the word that counts."""


class Executions:
    """A count that goes on as long as :attr:`native` is watched somewhere; ``int()`` tells it.

    Attributes:
        native: What :meth:`~kprobesim.machine.code_watch.CodeWatch.watch_native` is given, for one
            address or for several that are counted together.
    """

    def __init__(self, *, native: bool = True) -> None:
        """Nothing was executed yet.

        Args:
            native: Whether by machine code, where there is some.
        """
        self._word = word = ctypes.c_uint64()
        code = _code() if native else 0
        if code:
            self.native = Native(code, ctypes.addressof(word), self)
            return

        def count(_uc: int, _address: int, _size: int, _data: int) -> None:
            word.value += 1

        thunk = SIGNATURE(count)
        self.native = Native(ctypes.cast(thunk, ctypes.c_void_p).value or 0, 0, (thunk, self))

    def __int__(self) -> int:
        return self._word.value

    def __repr__(self) -> str:
        return f"<Executions {int(self)}>"


@cache
def _code() -> int:
    """Where the function is; 0 where there is none for this computer."""
    functions = put_functions(CODE)
    return functions["count"] if functions else 0
