"""``Typing``: what the guest holds, by its kernel's own types: arguments, variables, addresses."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from kprobesim.errors import ImageError, TypesError, UsageError
from kprobesim.image import KernelImage, Symbol, SymbolTable
from kprobesim.kernel.arguments import as_int
from kprobesim.machine.registers import PtRegs
from kprobesim.machine.system import System

if TYPE_CHECKING:  # a kernel of which nobody asks for types needs none of it
    from drgn import Object, Program

    from kprobesim.bridges.drgn.program import DrgnSession
    from kprobesim.functions.passed import Passed
    from kprobesim.inside.variables import VariablePlaces
    from kprobesim.typed.home import Home
    from kprobesim.typed.value import TypedValue
    from kprobesim.types.btf import Btf
    from kprobesim.types.model import Function

__all__ = ["Typing"]


class Typing:
    """The verbs of :class:`~kprobesim.kernel.base.Kernel` that know types."""

    boots: ClassVar[bool]
    image: KernelImage
    machine: System

    @property
    @abstractmethod
    def symbols(self) -> SymbolTable:
        """All symbols."""

    @abstractmethod
    def read(self, address: int, size: int) -> bytes:
        """Guest memory."""

    @abstractmethod
    def read_cstr(self, address: int, limit: int = 1 << 20) -> bytes:
        """A string in guest memory."""

    @abstractmethod
    def _module_types(self) -> Sequence[Btf]:
        """The types of the modules that are loaded, as far as they have any."""

    def _vmcoreinfo(self) -> bytes | None:
        """What the kernel has written down for who reads its dumps; ``None`` before it has."""
        from kprobesim.inside.vmcoreinfo import find_vmcoreinfo

        if self._found_vmcoreinfo is None:
            self._found_vmcoreinfo = find_vmcoreinfo(self.machine.memory.ram)
        return self._found_vmcoreinfo

    _found_vmcoreinfo: bytes | None = None

    @abstractmethod
    def _percpu_offset(self) -> int:
        """What is added to the address of a per-CPU variable to get that of the CPU that runs.

        In a kernel that is called: that of CPU 0.
        """

    def _percpu_offset_of(self, cpu: int | None) -> int:
        machine = self.machine
        running = machine.vcpu.number
        number = running if cpu is None else as_int(cpu, "cpu")
        if not 0 <= number < len(machine.vcpus):
            raise UsageError(f"cpu={number}: this guest has {len(machine.vcpus)}, from 0 on")
        if number == (running if self.boots else 0):
            return self._percpu_offset()
        table = self.image.exported("__per_cpu_offset")
        if table is None:
            raise UsageError(f"{self.image.path} does not say where the data of other CPUs are")
        return machine.memory.read_u64(table + 8 * number)

    # -- values ------------------------------------------------------------------------------------

    def typed(self, value: int | TypedValue, type: str) -> TypedValue:
        """``value`` as C's ``type``; for a struct, union or array the one at that address.

        >>> k.typed(regs.di, "struct file *").f_pos
        >>> k.typed(task, "struct task_struct").comm.string_()

        Args:
            value: A number: a pointer to what ``type`` says, or an address.
            type: As in C: ``"struct file *"``, ``"unsigned long"``, ``"u8[6]"``.

        Raises:
            ImageError: The kernel was built without CONFIG_DEBUG_INFO_BTF.
            TypesError: It has no such type.
            UsageError: ``type`` is no type of C.
        """
        from kprobesim.typed.numbers import is_number
        from kprobesim.typed.value import TypedValue

        number = as_int(value, "value")
        found = self._home.find(type)
        if is_number(found.stripped):
            return TypedValue(self._home, found, number=number)
        return TypedValue(self._home, found, address=number)

    def variable(
        self, name: str | Symbol, type: str | None = None, *, cpu: int | None = None
    ) -> TypedValue:
        """The kernel's variable ``name``; one CPU's, if it is a per-CPU one.

        >>> k.variable("init_task", "struct task_struct").comm.string_()
        b'swapper/0'
        >>> k.variable("runqueues", cpu=1).nr_running
        0

        Args:
            name: Its symbol.
            type: What it is. BTF knows that of per-CPU variables; of others only some kernels do.
            cpu: Which CPU's; by default that of the one that runs, as in a handler, or ran last.

        Raises:
            ImageError: The kernel was built without CONFIG_DEBUG_INFO_BTF.
            SymbolError: There is no such symbol, or there are several.
            TypesError: The kernel does not say of which type it is, or has no such type.
            UsageError: There is no such CPU.
            GuestMemoryError: It is a number, and nothing is mapped there.
        """
        from kprobesim.typed.value import TypedValue
        from kprobesim.typed.variables import find_variable

        text = name.name if isinstance(name, Symbol) else name
        known = find_variable(text, self._types())
        if type is None and known is None:
            self._places.linked_at(text, None)  # or it is not there at all
            raise TypesError(
                self._kernel_types().source,
                f"does not say of which type the variable {text} is: give one, as in "
                f"k.variable({text!r}, 'struct list_head')",
            )
        found = known.type if type is None and known is not None else self._home.find(str(type))
        at = name.address if isinstance(name, Symbol) else self._places.linked_at(text, known)
        if known is not None and known.per_cpu:
            at += self._percpu_offset_of(cpu)
        return TypedValue(self._home, found, address=at)

    @cached_property
    def _places(self) -> VariablePlaces:
        from kprobesim.inside.variables import VariablePlaces

        memory = self.machine.memory
        return VariablePlaces(self.image, memory, lambda: self.symbols, self._vmcoreinfo)

    @cached_property
    def _home(self) -> Home:
        from kprobesim.typed.home import Home

        return Home(self.read, self.read_cstr, self._types, self._name_at, self.as_drgn)

    def _types(self) -> Sequence[Btf]:
        return (self._kernel_types(), *self._module_types())

    def _kernel_types(self) -> Btf:
        btf = self.image.btf
        if btf is None:
            raise ImageError(
                self.image.path,
                "says nothing of its types: it was built without CONFIG_DEBUG_INFO_BTF",
            )
        return btf

    def _name_at(self, address: int) -> str | None:
        found = self.symbols.at(address) if self.image.has_symbols else None
        return found.symbol.name if found is not None and found.offset == 0 else None

    # -- drgn --------------------------------------------------------------------------------------

    def drgn(self, debug: str | os.PathLike[str] | None = None) -> Program:
        """A live ``drgn.Program`` on this guest, for types and all that drgn's helpers know.

        Types and source lines are those of ``debug``, or of the image itself if it has any; else
        types are BTF's and names the kernel's own, and nothing more is needed. It looks at the
        guest as it stands, in a handler, too; the same one is given at each call.

        >>> [task.comm.string_() for task in for_each_task(k.drgn())]
        [b'init', b'kthreadd', ...]

        Args:
            debug: The vmlinux of the ``-dbg`` package, or the package, for DWARF: 2 s once.

        Raises:
            ImageError: ``debug`` is of another kernel; or neither it nor BTF is there.
            UsageError: drgn is not installed.
        """
        from kprobesim.functions.dwarf.debug_file import debug_path

        session = self._drgn_session(debug_path(debug))
        session.look_for_modules()
        return session.prog

    def as_drgn(self, thing: TypedValue | PtRegs) -> Object:
        """A ``drgn.Object`` of :meth:`drgn`'s: of a typed value, or of registers.

        >>> k.drgn().stack_trace(k.as_drgn(regs))

        Raises:
            ImageError: Nothing tells how the kernel's structs look.
            UsageError: drgn is not installed, or ``thing`` is something else.
        """
        return self._drgn_session(None).object(thing)

    def _drgn_session(self, debug: Path | None) -> DrgnSession:
        if debug is None and self._last_session is not None:
            return self._last_session
        if debug not in self._drgn_sessions:
            from kprobesim.bridges.drgn.program import DrgnGuest, DrgnSession

            places, memory = self._places, self.machine.memory
            guest = DrgnGuest(
                self.image,
                memory,
                types=self._types_if_any,
                symbols=lambda: self.symbols,
                linked_at=places.linked_at,
                vmcoreinfo=self._vmcoreinfo(),
            )
            self._drgn_sessions[debug] = DrgnSession(guest, debug)
        self._last_session = self._drgn_sessions[debug]
        return self._last_session

    _last_session: DrgnSession | None = None

    @cached_property
    def _drgn_sessions(self) -> dict[Path | None, DrgnSession]:
        return {}

    def _types_if_any(self) -> Sequence[Btf]:
        return () if self.image.btf is None else self._types()

    def arg(self, function: str, name: str) -> Any:
        """The argument ``name`` of ``function`` with its type, for programs.

        >>> file = k.arg("vfs_read", "file")
        >>> k.count("vfs_read", key=file.f_path.dentry.d_name.name.string)

        Args:
            function: Where the program is to be planted.
            name: What BTF calls the argument.

        Returns:
            A value, for a number; else what has members (:class:`TypedExpression`).

        Raises:
            ImageError: The kernel was built without CONFIG_DEBUG_INFO_BTF.
            UsageError: BTF does not know the function or that argument, or it is no number and no
                pointer.
        """
        from kprobesim.functions.passed import passed
        from kprobesim.programs.leaves import Argument
        from kprobesim.programs.typed import TypedExpression, width_of
        from kprobesim.programs.values import Cast
        from kprobesim.types.model import Composite, Pointer

        declared = self._declared(function.rpartition(":")[2])
        if declared is None:
            raise UsageError(f"BTF does not say which arguments {function}() has: use arg(0)")
        place = _place_of(function, passed(declared, self.image.arch), name)
        type = place.parameter.type
        if not place.words or (isinstance(type.stripped, Composite) and not place.by_address):
            raise UsageError(f"the argument {name!r} of {function}() is passed in parts")
        value = Argument(place.words[0])
        if place.by_address or isinstance(type.stripped, Pointer):
            return TypedExpression(value, type)
        return Cast(value, width_of(type)) if (type.size or 0) < 8 else value

    # -- arguments ---------------------------------------------------------------------------------

    def _named_argument(self, regs: PtRegs, name: str) -> TypedValue:
        """The argument ``name`` of the function that ``regs`` stand at the entry of."""
        from kprobesim.types.model import Composite

        function, places = self._passed(regs.ip)
        place = _place_of(function, places, name)
        return self._argument(regs, place, isinstance(place.parameter.type.stripped, Composite))

    def _argument(self, regs: PtRegs, place: Passed, is_struct: bool) -> TypedValue:
        from kprobesim.typed.value import TypedValue

        words = [regs.arg(number) for number in place.words]
        type = place.parameter.type
        if not words:
            raise UsageError(
                f"the argument {place.parameter.name!r} is in a floating point register"
            )
        if place.by_address:
            return TypedValue(self._home, type, address=words[0])
        if is_struct:
            data = b"".join(word.to_bytes(8, "little") for word in words)
            return TypedValue(self._home, type, data=data[: type.size])
        return TypedValue(self._home, type, number=words[0])

    def _passed(self, ip: int) -> tuple[str, tuple[Passed, ...]]:
        """The function that begins at ``ip``, and where its arguments are."""
        known = self._passed_at.get(ip)
        if known is None:
            known = self._passed_at[ip] = self._find_passed(ip)
        return known

    @cached_property
    def _passed_at(self) -> dict[int, tuple[str, tuple[Passed, ...]]]:
        return {}

    def _find_passed(self, ip: int) -> tuple[str, tuple[Passed, ...]]:
        from kprobesim.functions.passed import passed

        found = self.symbols.at(ip)
        if found is None:
            raise UsageError(f"arguments have names in functions, and {ip:#x} is in none")
        entry, name = found.symbol.address, found.symbol.name
        # A breakpoint of x86 traps behind its byte; an ftrace site is behind the landing pad.
        sites = self.image.ftrace_sites
        trapped = ip - self.image.isa.breakpoint_offset
        if not any(each == entry or each in sites for each in (ip, trapped)):
            raise UsageError(
                f"{found} is not the entry of {name}(): registers hold arguments there only"
            )
        function = self._declared(name)
        if function is None:
            raise UsageError(
                f"BTF does not say which arguments {name}() has: use their numbers, from 0 on, and "
                "k.typed(regs.arg(0), 'struct file *')"
            )
        return name, passed(function, self.image.arch)

    def _declared(self, name: str) -> Function | None:
        from kprobesim.types.model import Function

        for btf in self._types():
            numbers = btf.functions().get(name)
            if numbers:
                found = btf.type(numbers[0])
                assert isinstance(found, Function)
                return found
        return None


def _place_of(function: str, places: Sequence[Passed], name: str) -> Passed:
    """Where the argument ``name`` is."""
    place = next((each for each in places if each.parameter.name == name), None)
    if place is None:
        names = ", ".join(each.parameter.name for each in places) or "none"
        raise UsageError(f"{function}() has no argument {name!r}: it has {names}")
    return place
