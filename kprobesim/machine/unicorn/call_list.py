"""A list of C functions that are called one after the other without Python in between.

A few instructions of the host's, for Unicorn's functions and those of the C library: between two
short runs of the guest, what has to be done is a handful of such calls, and from Python each costs
more than it does.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache, partial

from kprobesim.machine.unicorn.host_code import put_functions

__all__ = [
    "CODE",
    "STEP",
    "Buffer",
    "CallList",
    "compare",
    "copy",
    "find_call_list",
    "succeed",
]

STEP = 8
"""Words of a step: the function, five arguments, the bits of its result that end the list."""

_X86_64 = """
call_list:
    53                      push rbx
    4154                    push r12
    4883ec08                sub rsp, 8
    4889fb                  mov rbx, rdi
    4989f4                  mov r12, rsi
call_list_next:
    4d85e4                  test r12, r12
    7426                    je call_list_end
    488b7b08                mov rdi, [rbx + 8]
    488b7310                mov rsi, [rbx + 16]
    488b5318                mov rdx, [rbx + 24]
    488b4b20                mov rcx, [rbx + 32]
    4c8b4328                mov r8, [rbx + 40]
    ff13                    call [rbx]
    48854330                test [rbx + 48], rax
    750a                    jne call_list_end
    4883c340                add rbx, 64
    4983ec01                sub r12, 1
    ebd5                    jmp call_list_next
call_list_end:
    4c89e0                  mov rax, r12
    4883c408                add rsp, 8
    415c                    pop r12
    5b                      pop rbx
    c3                      ret
"""

_AARCH64 = """
call_list:
    fd7bbea9                stp x29, x30, [sp, #-32]!
    f35301a9                stp x19, x20, [sp, #16]
    f30300aa                mov x19, x0
    f40301aa                mov x20, x1
call_list_next:
    740100b4                cbz x20, call_list_end
    700240a9                ldp x16, x0, [x19]
    610a41a9                ldp x1, x2, [x19, #16]
    631242a9                ldp x3, x4, [x19, #32]
    00023fd6                blr x16
    691a40f9                ldr x9, [x19, #48]
    1f0009ea                tst x0, x9
    81000054                b.ne call_list_end
    73020191                add x19, x19, #64
    940600d1                sub x20, x20, #1
    f6ffff17                b call_list_next
call_list_end:
    e00314aa                mov x0, x20
    f35341a9                ldp x19, x20, [sp, #16]
    fd7bc2a8                ldp x29, x30, [sp], #32
    c0035fd6                ret
"""

CODE = {"x86_64": _X86_64, "aarch64": _AARCH64}
"""By the host's architecture: labels, and each instruction as bytes and as a text."""

_INT = 0xFFFF_FFFF  # what of a result is an int's


def _function(name: str) -> int:
    return ctypes.cast(getattr(ctypes.CDLL(None), name), ctypes.c_void_p).value or 0


@cache
def _copier() -> int:
    return _function("memcpy")


@cache
def _comparer() -> int:
    return _function("memcmp")


def copy(to: int, source: int, size: int) -> tuple[int, ...]:
    """The step that copies ``size`` bytes between two addresses of the host's."""
    return _copier(), to, source, size, 0, 0, 0, 0


def compare(one: int, other: int, size: int) -> tuple[int, ...]:
    """The step that ends the list if ``size`` bytes at two places differ."""
    return _comparer(), one, other, size, 0, 0, _INT, 0


def succeed(function: int, arguments: Sequence[int]) -> tuple[int, ...]:
    """The step that calls a function of up to five arguments, which returns 0, or ends the list."""
    return function, *arguments, *[0] * (5 - len(arguments)), _INT, 0


class Buffer:
    """Memory of the host's with an address; ``bytes`` and ``words`` are what is in it."""

    def __init__(self, size: int) -> None:
        self._array = (ctypes.c_uint64 * -(-size // 8))()
        self.bytes = memoryview(self._array).cast("B")
        self.words = self.bytes.cast("Q")
        self.address = ctypes.addressof(self._array)


class CallList:
    """Room for a list of steps.

    Attributes:
        words: The steps, :data:`STEP` words each.
        address: Where they are.
        releasing: Does so many steps from an address on, and lets go of the interpreter's lock; it
            returns how many it left.
        holding: The same, which keeps the lock.
    """

    def __init__(self, call: Callable[..., int], holding: Callable[..., int], steps: int) -> None:
        """Have room for ``steps``; use :func:`find_call_list` to get one.

        Args:
            call: The machine code as a function that lets go of the interpreter's lock.
            holding: The same, which keeps it.
            steps: How many.
        """
        self._steps = Buffer(8 * STEP * steps)
        self.words, self.address = self._steps.words, self._steps.address
        self.releasing, self.holding = call, holding

    def run(self, first: int, end: int, *, holding: bool) -> int:
        """Call steps ``first`` to ``end``, without that; the number of the one that it ended at.

        ``end``: all were called. ``holding`` keeps the interpreter's lock meanwhile.
        """
        call = self.holding if holding else self.releasing
        return end - call(self.address + 8 * STEP * first, end - first)


@cache
def find_call_list() -> Callable[[int], CallList] | None:
    """What makes a :class:`CallList` with room for so many steps; ``None``: not on this host."""
    functions = put_functions(CODE)
    if functions is None:
        return None
    address = functions["call_list"]
    kinds = ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64
    return partial(CallList, ctypes.CFUNCTYPE(*kinds)(address), ctypes.PYFUNCTYPE(*kinds)(address))
