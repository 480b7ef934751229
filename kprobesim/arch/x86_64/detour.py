"""What the jump of an optimised probe leads to: the detour buffer.

arch/x86/kernel/kprobes/opt.c (6.1), and the buffers of a running 6.1: a template that puts a
``struct pt_regs`` on the stack and calls optimized_callback() with it, the instructions that the
jump overwrote, and a jump to the one behind them.
"""

from __future__ import annotations

import errno

from kprobesim.arch.refused import Refused
from kprobesim.arch.x86_64.boundary import Read, read_insn
from kprobesim.arch.x86_64.constants import JMP32, JMP32_SIZE, MAX_INSN_SIZE
from kprobesim.arch.x86_64.prepare import branch, relocate
from kprobesim.errors import Reason
from kprobesim.hexrepr import HexRepr
from kprobesim.late_dataclasses import dataclass

__all__ = ["CALLBACK", "DETOUR_SIZE", "FRAME_SIZE", "LONGEST_COPY", "Detour", "detour"]

_CALL = 0xE8
_SAVE = bytes.fromhex(
    "6a18"  # push __KERNEL_DS: ss
    "54"  # push rsp: sp, eight too low
    "9c"  # pushfq
    "0f01ca"  # clac
    "4883ec18"  # sub rsp, 24: cs, ip and orig_ax are left as they are
    "57 56 52 51 50"  # push rdi, rsi, rdx, rcx, rax
    "4150 4151 4152 4153"  # push r8 ... r11
    "53 55"  # push rbx, rbp
    "4154 4155 4156 4157"  # push r12 ... r15
    "4889e6"  # mov rsi, rsp: the second argument
    "48bf"  # mov rdi, imm64: the first one
)
_RESTORE = bytes.fromhex(
    "488b942490000000"  # mov rdx, [rsp + 144]: flags
    "48899424a0000000"  # mov [rsp + 160], rdx: into ss, for the popfq below
    "415f 415e 415d 415c"  # pop r15 ... r12
    "5d 5b"  # pop rbp, rbx
    "415b 415a 4159 4158"  # pop r11 ... r8
    "58 59 5a 5e 5f"  # pop rax, rcx, rdx, rsi, rdi
    "4883c418"  # add rsp, 24
    "4883c410"  # add rsp, 16: flags and sp
    "9d"  # popfq
)
CALLBACK = bytes.fromhex(
    "ffb690000000 9d"  # push qword [rsi + 144]; popfq
    "488b7e70"  # mov rdi, [rsi + 112]
    "488b7668"  # mov rsi, [rsi + 104]
    "cc"  # int3
)
"""What is called, in the place of the kernel's optimized_callback(): it undoes what the template
has done to the registers, and traps. All are then as they were at the probe, but for RSP: there is
the return address, and above it the ``struct pt_regs``, of :data:`FRAME_SIZE` bytes."""
FRAME_SIZE = 168
_RETURN = len(_SAVE) + 8 + JMP32_SIZE
LONGEST_COPY = MAX_INSN_SIZE - 1 + 4  # an instruction and a displacement: MAX_OPTIMIZED_LENGTH
DETOUR_SIZE = _RETURN + len(_RESTORE) + LONGEST_COPY + JMP32_SIZE
"""Bytes of a detour buffer (MAX_OPTINSN_SIZE)."""


@dataclass(frozen=True, repr=False)
class Detour(HexRepr):
    """The detour of the probe at ``address``, whose jump replaces ``size`` bytes.

    ``code`` belongs at ``buffer``. ``jump`` leads there. ``copies`` has where each copied
    instruction is, and where it comes from.
    """

    address: int
    size: int
    buffer: int
    code: bytes
    jump: bytes
    copies: tuple[tuple[int, int], ...]

    @property
    def returns_to(self) -> int:
        """Where :data:`CALLBACK` would return to."""
        return self.buffer + _RETURN

    @property
    def resume(self) -> int:
        """Where a hit goes on: at the first copy."""
        return self.copies[0][0]


def detour(read: Read, address: int, size: int, buffer: int, callback: int) -> Detour:
    """The detour at ``buffer`` for the ``size`` bytes at ``address``.

    ``callback`` is called with ``address`` in RDI and the registers in RSI. ``read`` gives code
    without probes. Raises :class:`~kprobesim.arch.refused.Refused` (-ERANGE, -EINVAL) if something
    is out of reach of 32 bits.
    """
    code = bytearray(_SAVE + address.to_bytes(8, "little"))
    code += _near(_CALL, buffer + len(code), callback) + _RESTORE
    copies = []
    done = 0
    while done < size:
        insn = read_insn(read, address + done)
        copies.append((buffer + len(code), address + done))
        code += relocate(insn, address + done, buffer + len(code))
        done += insn.length
    code += _near(JMP32, buffer + len(code), address + size)
    jump = _near(JMP32, address, buffer)
    return Detour(address, size, buffer, bytes(code), jump, tuple(copies))


def _near(opcode: int, origin: int, target: int) -> bytes:
    near = branch(opcode, origin, target)
    if near is None:
        raise Refused(
            errno.ERANGE, Reason.DISPLACEMENT, f"{target:#x} is out of reach from {origin:#x}"
        )
    return near
