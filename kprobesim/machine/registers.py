"""``PtRegs``: the guest's registers under the names of the kernel's own ``struct pt_regs``.

While a handler runs, its ``PtRegs`` is a window on the live registers: nothing is fetched before
it is asked for, and a write takes effect at once. When the handler is done, an object that
somebody kept is frozen: it goes on showing the registers as they were.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from kprobesim.arch.abi import AAPCS64, SYSTEM_V, Abi
from kprobesim.errors import UsageError
from kprobesim.sizes import MASK64

if TYPE_CHECKING:  # who only asks the rules loads no emulator
    from kprobesim.machine.unicorn.struct_layout import Words

__all__ = ["Arm64PtRegs", "FlagsAccess", "PtRegs", "X86PtRegs"]


class FlagsAccess(Protocol):
    """The way to registers that the CPU does not keep as one word."""

    def read_flags(self) -> int:
        """EFLAGS or PSTATE."""

    def write_flags(self, value: int) -> None:
        """Write EFLAGS or PSTATE."""

    def read_vector(self, number: int) -> int:
        """The low 128 bits of a vector register."""

    def write_vector(self, number: int, value: int) -> None:
        """Write the low 128 bits of a vector register."""

    def read_u64(self, address: int) -> int:
        """The word of guest memory at ``address``."""


class _FrozenFlags:
    """The flags of a ``PtRegs`` that is no longer live."""

    def __init__(self, flags: int) -> None:
        self._flags = flags

    def read_flags(self) -> int:
        return self._flags

    def write_flags(self, value: int) -> None:
        self._flags = value

    def read_vector(self, number: int) -> int:
        raise AttributeError("vector registers can be read in the handler only")

    def write_vector(self, number: int, value: int) -> None:
        raise AttributeError("vector registers can be written in the handler only")

    def read_u64(self, address: int) -> int:
        raise UsageError("arguments on the stack can be read in the handler only")


class PtRegs:
    """What both architectures share. Values are unsigned; writes are taken modulo 2**64."""

    __slots__ = ("_cpu", "_words")

    ARGUMENTS: tuple[int, ...] = ()
    """Word numbers of the registers that carry a function's arguments."""
    STACK_ARGUMENTS: int = 0
    """Bytes from the stack pointer to further arguments, at the function's entry."""
    RETURN: int = 0
    """Word number of the register that carries a function's result."""
    NAMES: tuple[str, ...] = ()
    """The fields in the order of the kernel's struct."""
    STACK_POINTER: int = 0
    PROGRAM_COUNTER: int = 0

    def __init_subclass__(cls, abi: Abi) -> None:
        """Take the numbers from ``abi``."""
        super().__init_subclass__()
        cls.ARGUMENTS, cls.RETURN = abi.numbers(abi.arguments), abi.number(abi.result)
        cls.STACK_ARGUMENTS, cls.STACK_POINTER = abi.return_bytes, abi.number(abi.stack_pointer)
        cls.PROGRAM_COUNTER = len(abi.registers)
        cls.NAMES = abi.pt_regs

    def __init__(self, words: Words, cpu: FlagsAccess) -> None:
        self._words = words
        self._cpu: FlagsAccess = cpu

    def gpr(self, number: int) -> int:
        """General register ``number`` in the instruction set's own numbering."""
        return self._words[number]

    def set_gpr(self, number: int, value: int) -> None:
        """Write general register ``number``."""
        self._words[number] = value

    def arg(self, n: int) -> int:
        """The function's argument ``n``, from 0 on; at the function's entry.

        The first six (x86-64) or eight (ARM64) are in registers, the others on the stack, where
        they may be read in a handler. (The kernel's regs_get_kernel_argument() for x86-64, which
        gives 0 for what is on an ARM64 stack; AAPCS64 says where that is.)

        Raises:
            IndexError: ``n`` is negative.
            GuestMemoryError: The stack cannot be read there.
            UsageError: It is on the stack, and the handler is over.
        """
        if n < 0:
            raise IndexError(f"argument {n}: they are counted from 0")
        in_registers = len(self.ARGUMENTS)
        if n < in_registers:
            return self._words[self.ARGUMENTS[n]]
        return self._cpu.read_u64(self.sp + self.STACK_ARGUMENTS + 8 * (n - in_registers))

    @property
    def return_value(self) -> int:
        """The register that carries a function's result."""
        return self._words[self.RETURN]

    @return_value.setter
    def return_value(self, value: int) -> None:
        self._words[self.RETURN] = value

    @property
    def ip(self) -> int:
        """The program counter."""
        return self._words[self.PROGRAM_COUNTER]

    @ip.setter
    def ip(self, value: int) -> None:
        self._words[self.PROGRAM_COUNTER] = value

    @property
    def pc(self) -> int:
        """The program counter."""
        return self._words[self.PROGRAM_COUNTER]

    @pc.setter
    def pc(self, value: int) -> None:
        self._words[self.PROGRAM_COUNTER] = value

    @property
    def sp(self) -> int:
        """The stack pointer."""
        return self._words[self.STACK_POINTER]

    @sp.setter
    def sp(self, value: int) -> None:
        self._words[self.STACK_POINTER] = value

    @property
    def flags(self) -> int:
        """EFLAGS (x86-64) or PSTATE (ARM64)."""
        return self._cpu.read_flags()

    @flags.setter
    def flags(self, value: int) -> None:
        self._cpu.write_flags(value)

    def vector(self, number: int) -> int:
        """The low 128 bits of vector register ``number``, in a handler."""
        return self._cpu.read_vector(number)

    def set_v(self, number: int, value: int, size: int = 16) -> None:
        """Load ``size`` bytes into vector register ``number``, in a handler; the rest is zeroed."""
        self._cpu.write_vector(number, value & ((1 << 8 * size) - 1))

    def as_dict(self) -> dict[str, int]:
        """All fields by name, in the order of the kernel's struct."""
        return {name: getattr(self, name) for name in self.NAMES}

    def __iter__(self) -> Iterator[str]:
        return iter(self.NAMES)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled and copied are the registers as they are now, detached from the CPU."""
        return _detached, (type(self), bytes(self._words), self._cpu.read_flags())

    def __repr__(self) -> str:
        fields = " ".join(f"{name}={value:#x}" for name, value in self.as_dict().items())
        return f"<{type(self).__name__} {fields}>"

    # -- the machine's side -----------------------------------------------------------------------

    def copy(self) -> PtRegs:
        """The registers as they are now, detached from the CPU."""
        kept = type(self)(self._words, self._cpu)
        kept.freeze()
        return kept

    def freeze(self) -> None:
        """Detach from the CPU: keep showing the registers as they are now."""
        self._cpu = _FrozenFlags(self._cpu.read_flags())
        self._words = type(self._words).from_buffer_copy(self._words)

    def thaw(self, words: Words, cpu: FlagsAccess) -> None:
        """Attach to the CPU again, and write back what was written while frozen."""
        ctypes.memmove(words, self._words, ctypes.sizeof(words))
        cpu.write_flags(self._cpu.read_flags())
        self._words, self._cpu = words, cpu


def _detached(kind: type[PtRegs], words: bytes, flags: int) -> PtRegs:
    array: Words = (ctypes.c_uint64 * (len(words) // 8)).from_buffer_copy(words)
    return kind(array, _FrozenFlags(flags))


def _word(number: int, doc: str) -> Any:
    def read(self: PtRegs) -> int:
        return self._words[number]

    def write(self: PtRegs, value: int) -> None:
        self._words[number] = value

    return property(read, write, doc=doc)


class X86PtRegs(PtRegs, abi=SYSTEM_V):
    """``struct pt_regs`` of arch/x86/include/asm/ptrace.h, 64-bit."""

    __slots__ = ("orig_ax",)

    def __init__(self, words: Words, cpu: FlagsAccess) -> None:
        super().__init__(words, cpu)
        self.orig_ax = MASK64  # no system call

    @property
    def cs(self) -> int:
        """The kernel's code segment, ``__KERNEL_CS``."""
        return 0x10

    @property
    def ss(self) -> int:
        """The kernel's data segment, ``__KERNEL_DS``."""
        return 0x18

    ax = _word(0, "Register rax.")
    cx = _word(1, "Register rcx.")
    dx = _word(2, "Register rdx.")
    bx = _word(3, "Register rbx.")
    bp = _word(5, "Register rbp.")
    si = _word(6, "Register rsi.")
    di = _word(7, "Register rdi.")
    r8 = _word(8, "Register r8.")
    r9 = _word(9, "Register r9.")
    r10 = _word(10, "Register r10.")
    r11 = _word(11, "Register r11.")
    r12 = _word(12, "Register r12.")
    r13 = _word(13, "Register r13.")
    r14 = _word(14, "Register r14.")
    r15 = _word(15, "Register r15.")


class _IndexedRegisters:
    """``regs.regs[n]``, as in the kernel's struct."""

    __slots__ = ("_of",)

    def __init__(self, of: PtRegs) -> None:
        self._of = of

    def __getitem__(self, number: int) -> int:
        return self._of.gpr(self._check(number))

    def __setitem__(self, number: int, value: int) -> None:
        self._of.set_gpr(self._check(number), value)

    def __len__(self) -> int:
        return 31

    @staticmethod
    def _check(number: int) -> int:
        if not 0 <= number <= 30:
            raise IndexError(f"there is no register x{number}, x0..x30 are")
        return number


class Arm64PtRegs(PtRegs, abi=AAPCS64):
    """``struct pt_regs`` of arch/arm64/include/asm/ptrace.h."""

    __slots__ = ()

    pstate = PtRegs.flags

    @property
    def regs(self) -> _IndexedRegisters:
        """The general registers by number."""
        return _IndexedRegisters(self)

    x0 = _word(0, "Register x0.")
    x1 = _word(1, "Register x1.")
    x2 = _word(2, "Register x2.")
    x3 = _word(3, "Register x3.")
    x4 = _word(4, "Register x4.")
    x5 = _word(5, "Register x5.")
    x6 = _word(6, "Register x6.")
    x7 = _word(7, "Register x7.")
    x8 = _word(8, "Register x8.")
    x9 = _word(9, "Register x9.")
    x10 = _word(10, "Register x10.")
    x11 = _word(11, "Register x11.")
    x12 = _word(12, "Register x12.")
    x13 = _word(13, "Register x13.")
    x14 = _word(14, "Register x14.")
    x15 = _word(15, "Register x15.")
    x16 = _word(16, "Register x16.")
    x17 = _word(17, "Register x17.")
    x18 = _word(18, "Register x18.")
    x19 = _word(19, "Register x19.")
    x20 = _word(20, "Register x20.")
    x21 = _word(21, "Register x21.")
    x22 = _word(22, "Register x22.")
    x23 = _word(23, "Register x23.")
    x24 = _word(24, "Register x24.")
    x25 = _word(25, "Register x25.")
    x26 = _word(26, "Register x26.")
    x27 = _word(27, "Register x27.")
    x28 = _word(28, "Register x28.")
    x29 = _word(29, "Register x29.")
    x30 = _word(30, "Register x30.")
