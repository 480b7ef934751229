"""``Abi``: an architecture's registers by the kernel's names, and what functions use each for."""

from __future__ import annotations

from collections.abc import Iterable

from kprobesim.late_dataclasses import dataclass

__all__ = ["AAPCS64", "SYSTEM_V", "Abi"]


@dataclass(frozen=True)
class Abi:
    """The calling convention of kernel functions.

    Attributes:
        registers: The general registers, each at its number in the instruction set.
        arguments: Those that carry a function's arguments, in order.
        syscall_arguments: Those that carry a system call's, in its caller's registers.
        result: The one that carries its result.
        stack_pointer: The stack pointer.
        program_counter: The program counter.
        frame_pointer: What a frame is found by where code keeps frame pointers.
        link_register: Holds the return address at a function's entry; ``None``: the call has
            pushed it.
        callee_saved: Those that are after a call as they were before it.
        shadow_stack_register: Points to the shadow call stack, where compilers know one.
        pt_regs: The fields of the kernel's ``struct pt_regs`` in order, the general ones by the
            names of ``registers``; which :func:`regs_query_register_offset` knows, too.
        gdb: Registers in the order of gdb's numbers, as far as ``pt_regs`` has them.
    """

    registers: tuple[str, ...]
    arguments: tuple[str, ...]
    syscall_arguments: tuple[str, ...]
    result: str
    stack_pointer: str
    program_counter: str
    frame_pointer: str
    link_register: str | None
    callee_saved: tuple[str, ...]
    shadow_stack_register: str | None
    pt_regs: tuple[str, ...]
    gdb: tuple[str, ...]

    def number(self, register: str) -> int:
        """The number of a general register in the instruction set."""
        return self.registers.index(register)

    def numbers(self, registers: Iterable[str]) -> tuple[int, ...]:
        """The numbers of several."""
        return tuple(map(self.number, registers))

    @property
    def pushes_return(self) -> bool:
        """Whether a call leaves its return address on the stack."""
        return self.link_register is None

    @property
    def return_bytes(self) -> int:
        """What a call has pushed when the function begins: further arguments lie behind it."""
        return 8 if self.pushes_return else 0


_R8_R15 = tuple(f"r{number}" for number in range(8, 16))
_X0_X30 = tuple(f"x{number}" for number in range(31))

# x86-64 psABI; arch/x86/include/asm/ptrace.h; gdb's features/i386/64bit-core.xml
SYSTEM_V = Abi(
    registers=("ax", "cx", "dx", "bx", "sp", "bp", "si", "di", *_R8_R15),
    arguments=("di", "si", "dx", "cx", "r8", "r9"),
    syscall_arguments=("di", "si", "dx", "r10", "r8", "r9"),
    result="ax",
    stack_pointer="sp",
    program_counter="ip",
    frame_pointer="bp",
    link_register=None,
    callee_saved=("bx", "bp", "r12", "r13", "r14", "r15"),
    shadow_stack_register=None,
    pt_regs=(
        *("r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx"),
        *("si", "di", "orig_ax", "ip", "cs", "flags", "sp", "ss"),
    ),
    gdb=("ax", "bx", "cx", "dx", "si", "di", "bp", "sp", *_R8_R15, "ip", "flags", "cs", "ss"),
)
# AAPCS64; arch/arm64/include/asm/ptrace.h; gdb's features/aarch64-core.xml
AAPCS64 = Abi(
    registers=(*_X0_X30, "sp"),
    arguments=_X0_X30[:8],
    syscall_arguments=_X0_X30[:6],
    result="x0",
    stack_pointer="sp",
    program_counter="pc",
    frame_pointer="x29",
    link_register="x30",
    callee_saved=_X0_X30[19:30],
    shadow_stack_register="x18",  # CONFIG_SHADOW_CALL_STACK
    pt_regs=(*_X0_X30, "sp", "pc", "pstate"),
    gdb=(*_X0_X30, "sp", "pc", "pstate"),
)
