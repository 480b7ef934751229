"""One x86-64 instruction after the other, with random operands: on this host's CPU, and in a guest.

The same machine code runs in both: a loop that takes each state from memory, executes the
instruction, and puts the state back. :data:`TABLE` lists instructions that kernels use.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kprobesim.kernel.called import CalledKernel

__all__ = [
    "NATIVE",
    "STATE",
    "Form",
    "GuestRunner",
    "differences",
    "make_states",
    "run_natively",
    "table",
]

NATIVE = platform.machine() == "x86_64"
"""Whether this host's CPU can be asked."""

STATE = 320
"""Bytes of a state: 14 registers without RSP and R15, flags, at 128 XMM0-3, at 192 memory."""

TABLE = Path(__file__).parents[1] / "data/x86_instructions.txt"
"""Machine code | text | flags that are undefined (SDM volume 2) | what the operands must be."""

KNOWN = {"cmpxchg ebx, ecx"}
"""Where it fails, Unicorn clears the upper half of the register; nobody compiles this form."""

_REGISTERS = (
    *("rax", "rcx", "rdx", "rbx", "rbp", "rsi", "rdi"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14"),
)
_FLAG_BITS = {"C": 1, "P": 4, "A": 0x10, "Z": 0x40, "S": 0x80, "O": 0x800}
_SEEN_FLAGS, _DIRECTION, _ALWAYS = 0x8D5, 0x400, 0x202
_RSI, _RDI, _MEMORY = 256, 192, 192
_BEFORE = bytes.fromhex(
    "53554154415541564157564989ff"  # push the callee's registers and the count; mov r15, rdi
    "f3410f6f8780000000f3410f6f8f90000000f3410f6f97a0000000f3410f6f9fb0000000"  # xmm0 to xmm3
    "498b07498b4f08498b5710498b5f18498b6f20498db700010000498dbfc0000000"  # rax ... rdi
    "4d8b47384d8b4f404d8b57484d8b5f504d8b67584d8b6f604d8b7768"  # r8 to r14
    "41ff77709d"  # push [r15 + 112]; popfq
)
_AFTER = bytes.fromhex(
    "49890749894f084989571049895f1849896f20"  # rax, rcx, rdx, rbx, rbp
    "9c418f4770fc4c29fe4c29ff4989772849897f30"  # flags; cld; rsi and rdi from r15 on
    "4d8947384d894f404d8957484d895f504d8967584d896f604d897768"  # r8 to r14
    "f3410f7f8780000000f3410f7f8f90000000f3410f7f97a0000000f3410f7f9fb0000000"
    "4981c74001000048ff0c24"  # add r15, 320; dec qword [rsp]
)
_HEAD = 64  # bytes before the states: how many jobs are done
_LOOP, _END = 14, bytes.fromhex("5e415f415e415d415c5d5bc3")
_VALUES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)


@dataclass(frozen=True)
class Form:
    """One line of the table."""

    code: bytes
    text: str
    undefined: int
    need: str

    def routine(self) -> bytes:
        """A C function of an array of states and their number."""
        loop = _BEFORE + self.code + _AFTER
        back = _LOOP - len(loop) - 6
        return loop + b"\x0f\x85" + struct.pack("<i", back) + _END


@cache
def table() -> list[Form]:
    """All instructions."""
    forms = []
    for line in TABLE.read_text().splitlines():
        code, text, undefined, need = (part.strip() for part in f"{line} ".split("|"))
        mask = sum(_FLAG_BITS[flag] for flag in undefined)
        forms.append(Form(bytes.fromhex(code), text, mask, need))
    return forms


def make_states(form: Form, count: int, seed: int = 0) -> bytes:
    """``count`` random states that the instruction can be executed in."""
    draw = random.Random(f"{form.text} {seed}")
    return b"".join(_state(form, draw) for _ in range(count))


def _value(draw: random.Random) -> int:
    kind = draw.randrange(4)
    if kind == 0:
        return draw.choice(_VALUES) * draw.choice((1, 1, 0xFFFF_FFFF, (1 << 64) - 1)) % (1 << 64)
    if kind == 1:
        return draw.getrandbits(64) & draw.getrandbits(64) & draw.getrandbits(64)
    return draw.getrandbits(64)


def _state(form: Form, draw: random.Random) -> bytes:
    words = [_value(draw) for _ in range(14)]
    memory = bytearray(b"".join(_value(draw).to_bytes(8, "little") for _ in range(16)))
    vectors = bytearray(draw.randbytes(64))
    flags = _ALWAYS | draw.getrandbits(12) & _SEEN_FLAGS
    rax, rcx, rdx, rbx = range(4)
    need = form.need
    if need == "divide":
        words[rdx], words[rax] = draw.choice((0, 1)), words[rax] & 0x3FFF_FFFF
        words[rbx] = words[rbx] | 0x0101_0101_0101_0110
        if form.text.endswith(" bl"):
            words[rax] &= 0x7FF
        if form.text.startswith("idiv"):
            words[rdx] = 0
            words[rbx] = 0x4000_0000_4000_4040 if form.text[-2:] in ("bx", "bl") else words[rbx]
    elif need == "shift":
        size = 15 if form.code[0] == 0x66 else 7 if form.text.split(",")[0][-2:] == "bl" else 31
        if "byte" in form.text:
            size = 7
        words[rcx] &= ~0xFF | size
    elif need == "bits":
        words[rcx] = draw.randrange(-100, 100) % (1 << 64)
    elif need == "sparse":
        words[rbx] = draw.choice((0, 1, 1 << draw.randrange(64), words[rbx]))
        words[rcx] = draw.choice((0, 1 << 32, words[rcx]))
    elif need == "not zero":
        words[rbx] |= 1 << draw.randrange(32)
        memory[8] |= 1
    elif need == "field":
        words[rcx] = draw.randrange(70) | draw.randrange(70) << 8 | draw.getrandbits(48) << 16
    elif need == "string":
        words[rcx], words[rax] = draw.randrange(4), draw.choice((0, words[rax]))
        flags |= draw.choice((0, _DIRECTION))
        if draw.randrange(2):
            memory[64:96] = memory[0:32]
    elif need == "equal" and draw.randrange(2):
        low = draw.choice((words[rax], words[rax] & 0xFFFF_FFFF))
        memory[8:16] = memory[16:24] = low.to_bytes(8, "little")
        words[rbx] = low
        if "cmpxchg8b" in form.text:
            memory[20:24] = (words[rdx] & 0xFFFF_FFFF).to_bytes(4, "little")
        elif "cmpxchg16b" in form.text:
            memory[16:24] = words[rax].to_bytes(8, "little")
            memory[24:32] = words[rdx].to_bytes(8, "little")
    elif need == "vshift":
        vectors[16:32] = draw.randrange(80).to_bytes(16, "little")
    elif need == "lengths":
        words[rax], words[rdx] = draw.randrange(20), draw.randrange(20)
    return struct.pack("<14QQ8x", *words, flags) + bytes(vectors) + bytes(memory)


def run_natively(jobs: Sequence[tuple[Form, bytes]]) -> list[bytes | int]:
    """The states after each form's instruction; the number of a signal if that killed it.

    In a child: an instruction that this CPU has not ends it, and is left out in the next one.
    """
    results: list[bytes | int] = []
    while len(results) < len(jobs):
        rest = jobs[len(results) :]
        shared = mmap.mmap(-1, sum(len(states) for _, states in rest) + _HEAD)
        child = os.fork()
        if not child:
            _run_all(rest, shared)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        done, at = struct.unpack_from("<Q", shared)[0], _HEAD
        for _, states in rest[:done]:
            results.append(bytes(shared[at : at + len(states)]))
            at += len(states)
        if os.WIFSIGNALED(status):
            results.append(os.WTERMSIG(status))
    return results


def _run_all(jobs: Sequence[tuple[Form, bytes]], shared: mmap.mmap) -> None:
    area = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    address = ctypes.addressof(ctypes.c_char.from_buffer(area))
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_size_t)(address)
    base = ctypes.addressof(ctypes.c_char.from_buffer(shared))
    at = _HEAD
    for number, (form, states) in enumerate(jobs):
        routine = form.routine()
        area[: len(routine)] = routine
        shared[at : at + len(states)] = states
        function(base + at, len(states) // STATE)
        at += len(states)
        struct.pack_into("<Q", shared, 0, number + 1)


class GuestRunner:
    """Runs forms in a called guest, ``most`` states of each at a time."""

    def __init__(self, kernel: CalledKernel, most: int) -> None:
        self._kernel = kernel
        self._code = kernel.alloc(4096, executable=True)
        area = kernel.alloc(most * STATE + 64)
        self._states = area + -area % 64

    def run(self, form: Form, states: bytes) -> bytes:
        """The states after the form's instruction."""
        kernel = self._kernel
        kernel.write(self._code, form.routine())
        kernel.write(self._states, states)
        kernel.call(self._code, self._states, len(states) // STATE)
        return kernel.read(self._states, len(states))


def differences(form: Form, one: bytes, other: bytes) -> list[str]:
    """What differs between two states after the instruction, in words."""
    found = []
    for number, name in enumerate(_REGISTERS):
        left, right = (struct.unpack_from("<Q", state, 8 * number)[0] for state in (one, other))
        if left != right:
            found.append(f"{name} {left:#x}, not {right:#x}")
    left, right = (struct.unpack_from("<Q", state, 112)[0] for state in (one, other))
    wrong = (left ^ right) & (_SEEN_FLAGS | _DIRECTION) & ~form.undefined
    if wrong:
        names = "".join(name for name, bit in _FLAG_BITS.items() if wrong & bit)
        found.append(f"flags {names or wrong}: {left:#x}, not {right:#x}")
    for name, start, end in (("xmm", 128, 192), ("memory", _MEMORY, STATE)):
        if one[start:end] != other[start:end]:
            found.append(f"{name} {one[start:end].hex()}, not {other[start:end].hex()}")
    return found
