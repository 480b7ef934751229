"""``PtRegs``: the guest's registers under the names of the kernel's own ``struct pt_regs``.

While a handler runs, its ``PtRegs`` is a window on the live registers: nothing is fetched before
it is asked for, and a write takes effect at once. When the handler is done, an object that
somebody kept is frozen: it goes on showing the registers as they were.

A live one is a C structure that lies where the registers do, so that each is a field: 30 ns, where
a property of Python's takes 80. It cannot be moved, so one that is frozen gets another class, whose
fields are properties.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, overload

from kprobesim.arch.abi import AAPCS64, SYSTEM_V, Abi
from kprobesim.errors import UsageError
from kprobesim.sizes import MASK64

if TYPE_CHECKING:  # who only asks the rules loads no emulator
    from kprobesim.machine.unicorn.struct_layout import Words
    from kprobesim.typed.value import TypedValue

__all__ = ["Arm64PtRegs", "FlagsAccess", "NamedArgument", "PtRegs", "X86PtRegs", "nobody_knows"]


_R = TypeVar("_R", bound="PtRegs")


NamedArgument = Callable[["PtRegs", str], "TypedValue"]
"""Gives the argument of that name to the function that the registers stand at the entry of."""


def nobody_knows(regs: PtRegs, name: str) -> TypedValue:
    """Where there are no types, or the registers come from another process."""
    raise UsageError(f"nobody knows here which argument {name!r} is: arguments have numbers, too")


class FlagsAccess(Protocol):
    """The way to registers that the CPU does not keep as one word, and to what they mean."""

    named_argument: NamedArgument

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

    def __init__(self, flags: int, named_argument: NamedArgument = nobody_knows) -> None:
        self._flags = flags
        self.named_argument = named_argument

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


class PtRegs(ctypes.Structure):
    """What both architectures share. Values are unsigned; writes are taken modulo 2**64.

    Attributes:
        ip: The program counter.
        pc: The program counter.
        sp: The stack pointer.
        return_value: The register that carries a function's result.
    """

    __slots__ = ("_cpu", "_window", "_words")

    ARGUMENTS: ClassVar[tuple[int, ...]] = ()
    """Word numbers of the registers that carry a function's arguments."""
    STACK_ARGUMENTS: ClassVar[int] = 0
    """Bytes from the stack pointer to further arguments, at the function's entry."""
    RETURN: ClassVar[int] = 0
    """Word number of the register that carries a function's result."""
    NAMES: ClassVar[tuple[str, ...]] = ()
    """The fields in the order of the kernel's struct."""
    STACK_POINTER: ClassVar[int] = 0
    PROGRAM_COUNTER: ClassVar[int] = 0
    _live: ClassVar[type[PtRegs]]
    _frozen: ClassVar[type[PtRegs]]

    ip: int
    pc: int
    sp: int
    return_value: int

    def __new__(cls, words: Words, cpu: FlagsAccess) -> PtRegs:
        """A window on ``words``, where they are."""
        return cls._live.from_address(ctypes.addressof(words))

    def __init__(self, words: Words, cpu: FlagsAccess) -> None:
        self._attach(words, cpu)

    def _attach(self, words: Words, cpu: FlagsAccess) -> None:
        self._words = words
        self._window = memoryview(words).cast("B").cast("Q")
        self._cpu: FlagsAccess = cpu

    def gpr(self, number: int) -> int:
        """General register ``number`` in the instruction set's own numbering."""
        return self._words[number]

    def set_gpr(self, number: int, value: int) -> None:
        """Write general register ``number``."""
        self._words[number] = value

    @overload
    def arg(self, n: int) -> int: ...
    @overload
    def arg(self, n: str) -> TypedValue: ...

    def arg(self, n: int | str) -> int | TypedValue:
        """The function's argument ``n``, from 0 on, or of that name; at the function's entry.

        One by its name has its type: ``regs.arg("file").f_path.dentry.d_name.name.string_()``.
        Names and types are those of the kernel's BTF.

        The first six (x86-64) or eight (ARM64) are in registers, the others on the stack, where
        they may be read in a handler. (The kernel's regs_get_kernel_argument() for x86-64, which
        gives 0 for what is on an ARM64 stack; AAPCS64 says where that is.)

        Raises:
            IndexError: ``n`` is negative.
            GuestMemoryError: The stack cannot be read there.
            UsageError: It is on the stack, and the handler is over; or no function begins here, or
                none that BTF describes, or it has no argument of that name.
        """
        try:
            if n >= 0:  # type: ignore[operator]
                return self._window[self.ARGUMENTS[n]]  # type: ignore[index]
        except IndexError:
            behind = int(n) - len(self.ARGUMENTS)
            return self._cpu.read_u64(self.sp + self.STACK_ARGUMENTS + 8 * behind)
        except TypeError:  # asked first, a number would take half as long again
            if isinstance(n, str):
                return self._cpu.named_argument(self, n)
            raise
        raise IndexError(f"argument {n}: they are counted from 0")

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
        return _detached, (self._live, bytes(self._words), self._cpu.read_flags())

    def __repr__(self) -> str:
        fields = " ".join(f"{name}={value:#x}" for name, value in self.as_dict().items())
        return f"<{self._live.__name__} {fields}>"

    def _repr_html_(self) -> str:
        """For a notebook."""
        from kprobesim import html

        values = (f"{name} {value:016x}" for name, value in self.as_dict().items())
        return html.grid("registers", values)

    # -- the machine's side -----------------------------------------------------------------------

    def copy(self) -> PtRegs:
        """The registers as they are now, detached from the CPU."""
        kept = self._live(self._words, self._cpu)
        kept.freeze()
        return kept

    def freeze(self) -> None:
        """Detach from the CPU: keep showing the registers as they are now."""
        flags = _FrozenFlags(self._cpu.read_flags(), self._cpu.named_argument)
        self._attach(type(self._words).from_buffer_copy(self._words), flags)
        self.__class__ = self._frozen

    def thaw(self, words: Words, cpu: FlagsAccess) -> None:
        """Attach to the CPU again, and write back what was written while frozen."""
        ctypes.memmove(words, self._words, ctypes.sizeof(words))
        cpu.write_flags(self._cpu.read_flags())
        self._attach(words, cpu)
        self.__class__ = self._live


def _detached(kind: type[PtRegs], words: bytes, flags: int) -> PtRegs:
    array: Words = (ctypes.c_uint64 * (len(words) // 8)).from_buffer_copy(words)
    return kind(array, _FrozenFlags(flags))


def _word(number: int) -> property:
    def read(self: PtRegs) -> int:
        return self._words[number]

    def write(self: PtRegs, value: int) -> None:
        self._words[number] = value

    return property(read, write)


def _of(abi: Abi) -> Callable[[type[_R]], type[_R]]:
    """The registers are those of ``abi``, and their numbers the words'."""

    def complete(cls: type[_R]) -> type[_R]:
        cls.ARGUMENTS, cls.RETURN = abi.numbers(abi.arguments), abi.number(abi.result)
        cls.STACK_ARGUMENTS, cls.STACK_POINTER = abi.return_bytes, abi.number(abi.stack_pointer)
        cls.PROGRAM_COUNTER = len(abi.registers)
        cls.NAMES = abi.pt_regs
        words = {name: number for number, name in enumerate((*abi.registers, "pc"))}
        cls._fields_ = [(name, ctypes.c_uint64) for name in words]
        fields = vars(cls)
        for alias, name in (("ip", "pc"), ("return_value", abi.result)):
            setattr(cls, alias, fields[name])
            words[alias] = words[name]
        frozen = {name: _word(number) for name, number in words.items()}
        cls._live = cls
        make: Any = type(cls)
        cls._frozen = make(cls.__name__, (cls,), {"__slots__": (), **frozen})
        return cls

    return complete


@_of(SYSTEM_V)
class X86PtRegs(PtRegs):
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


@_of(AAPCS64)
class Arm64PtRegs(PtRegs):
    """``struct pt_regs`` of arch/arm64/include/asm/ptrace.h."""

    __slots__ = ()

    pstate = PtRegs.flags

    @property
    def regs(self) -> _IndexedRegisters:
        """The general registers by number."""
        return _IndexedRegisters(self)
