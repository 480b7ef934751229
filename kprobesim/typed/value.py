"""``TypedValue``: a number or an object of the guest's with its type, used as in C.

>>> file = regs.arg("file")
>>> file.f_path.dentry.d_name.name.string_()
b'passwd'

Names that are not members end in an underscore, and mean what they do on a ``drgn.Object``. Numbers
and pointers are read when they are come to, and stay what they were; a struct or an array is a
place, whose members are read one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kprobesim.errors import GuestMemoryError, MemberError, UsageError
from kprobesim.sizes import MASK64
from kprobesim.typed.home import Home
from kprobesim.typed.numbers import is_number, narrowed, number_in
from kprobesim.typed.operators import Operators
from kprobesim.typed.text import shown, with_type
from kprobesim.types.c_text import declaration
from kprobesim.types.derived import pointer_to
from kprobesim.types.model import Array, Composite, Enum, Int, Member, Pointer, Type, Void

__all__ = ["TypedValue"]

_LONGEST = 1 << 20  # bytes of a string, of an object


class TypedValue(Operators):
    """A value of type :attr:`type_`: a number, or an object at :attr:`address_`.

    Members are attributes, through a pointer, too: ``file.f_pos``; ``value["f_pos"]`` is the same
    for names that Python has a use for. ``value[3]`` is an element of an array or behind a pointer.
    Numbers, pointers and enums are compared and computed with as Python's integers; adding to a
    pointer counts elements. What a pointer leads to is read anew each time that it is followed.

    Attributes:
        type_: What it is, by the kernel's BTF.
        address_: Where it is in guest memory; ``None`` for what was in a register or computed.
    """

    __slots__ = ("_data", "_home", "_number", "address_", "type_")

    type_: Type
    address_: int | None

    def __init__(
        self,
        home: Home,
        type: Type,
        *,
        address: int | None = None,
        number: int | None = None,
        data: bytes | None = None,
        member: Member | None = None,
    ) -> None:
        """One of ``address``, ``number`` and ``data`` says what it is.

        Args:
            home: The guest.
            type: Its type.
            address: Where it lies; if it is a number it is read now.
            number: What it is, cut down to the type's width.
            data: The bytes that it consists of.
            member: What it is in a struct, if it is a bit field.

        Raises:
            GuestMemoryError: It is a number, and nothing is mapped there.
        """
        self._home = home
        self.type_ = type
        self.address_ = None if address is None else address & MASK64
        self._data = data
        self._number: int | float | None = None
        stripped = type.stripped
        if number is not None:
            self._number = narrowed(stripped, number)
        elif is_number(stripped):
            bits = (member.bit_offset & 7, member.bit_size) if member is not None else (0, 0)
            size = -(-sum(bits) // 8) if bits[1] else _size(stripped)
            raw = data if data is not None else home.read(self.address_ or 0, size)
            self._number = number_in(stripped, raw, *bits)

    # -- what it is --------------------------------------------------------------------------------

    def _operand(self) -> int | float:
        if self._number is None:
            raise UsageError(
                f"a {_name(self.type_)} is no number: take one of its members, or .value_()"
            )
        return self._number

    @property
    def is_number_(self) -> bool:
        """Whether it is a number, a pointer or an enum, and no struct, union or array."""
        return self._number is not None

    def bytes_(self) -> bytes:
        """The bytes that a struct, a union or an array has now.

        Raises:
            GuestMemoryError: Nothing is mapped where it lies.
            UsageError: It is a number.
        """
        data = self.read_()._data
        if data is None:
            raise UsageError(f"a {_name(self.type_)} is a number: take .value_()")
        return data

    def drgn_(self) -> Any:
        """The same as a ``drgn.Object`` of :meth:`Kernel.drgn`.

        Raises:
            UsageError: drgn is not installed.
        """
        return self._home.to_drgn(self)

    def value_(self) -> Any:
        """The value for Python.

        An integer, ``bool`` or float; a dict of members, a list of elements, all read now.

        Raises:
            GuestMemoryError: Nothing is mapped where it lies.
        """
        stripped = self.type_.stripped
        if self._number is not None:
            return (
                bool(self._number)
                if isinstance(stripped, Int) and stripped.is_bool
                else (self._number)
            )
        read = self.read_()
        if isinstance(stripped, Array):
            return [each.value_() for each in read]
        assert isinstance(stripped, Composite)
        return {
            member.name: read._member(member).value_() for member in stripped.flat() if member.name
        }

    def read_(self) -> TypedValue:
        """Itself as it is now: a struct or an array that is copied, for later.

        Raises:
            GuestMemoryError: Nothing is mapped where it lies.
        """
        if self._number is not None or self._data is not None:
            return self
        size = _size(self.type_)
        data = self._home.read(self._place(), size) if size else b""
        return TypedValue(self._home, self.type_, address=self.address_, data=data)

    def string_(self, limit: int = _LONGEST) -> bytes:
        """The string that it is (an array of characters) or that it points to, without its NUL.

        Args:
            limit: Bytes that are read at most.

        Raises:
            GuestMemoryError: Nothing is mapped there.
            UsageError: It is neither array nor pointer.
        """
        stripped = self.type_.stripped
        if isinstance(stripped, Array):
            size = min(_size(stripped), limit)
            if self._data is not None:
                return self._data[:size].partition(b"\0")[0]
            return self._home.read_cstr(self._place(), size or limit)
        if not isinstance(stripped, Pointer):
            raise UsageError(f"a {_name(self.type_)} is no string: it is no pointer and no array")
        assert isinstance(self._number, int)
        return self._home.read_cstr(self._number, limit)

    def address_of_(self) -> TypedValue:
        """A pointer to it.

        Raises:
            UsageError: It does not lie in memory.
        """
        return TypedValue(self._home, pointer_to(self.type_), number=self._place())

    def _place(self) -> int:
        if self.address_ is None:
            raise UsageError(f"this {_name(self.type_)} has no address: it was in a register")
        return self.address_

    # -- what is in it, and behind it --------------------------------------------------------------

    def member_(self, name: str) -> TypedValue:
        """The member ``name`` of a struct or union, or of the one that this points to.

        Raises:
            GuestMemoryError: It is a number, and nothing is mapped where it lies.
            MemberError: There is none of that name.
        """
        stripped = self.type_.stripped
        here = stripped.target.stripped if isinstance(stripped, Pointer) else stripped
        if not isinstance(here, Composite):
            raise MemberError(_name(self.type_), name)
        found = here.find(name)
        if found is None:
            raise MemberError(_name(here), name, [each.name for each in here.flat()])
        return self._target()._member(found) if here is not stripped else self._member(found)

    def _member(self, member: Member) -> TypedValue:
        start = member.offset
        if self._data is None:
            address = self._place() + start
            return TypedValue(self._home, member.type, address=address, member=member)
        size = -(-((member.bit_offset & 7) + member.bit_size) // 8) or _size(member.type)
        return TypedValue(
            self._home,
            member.type,
            address=None if self.address_ is None else self.address_ + start,
            data=self._data[start : start + size],
            member=member,
        )

    def _target(self) -> TypedValue:
        """What a pointer points to."""
        return self[0]

    def __getattr__(self, name: str) -> TypedValue:
        if name.startswith("__"):  # Python asks for those that a class may lack
            raise MemberError("typed value", name)
        return self.member_(name)

    def __dir__(self) -> list[str]:
        stripped = self.type_.stripped
        here = stripped.target.stripped if isinstance(stripped, Pointer) else stripped
        own = [name for name in super().__dir__() if name.endswith("_")]
        members = [each.name for each in here.flat()] if isinstance(here, Composite) else []
        return [*members, *own]

    def __getitem__(self, key: int | str) -> TypedValue:
        """An element by its number, a member by its name.

        Raises:
            GuestMemoryError: It is a number, and nothing is mapped where it lies.
            IndexError: The array has not so many elements.
            MemberError: There is no such member.
            UsageError: It has neither elements nor members.
        """
        if isinstance(key, str):
            return self.member_(key)
        number, stripped = int(key), self.type_.stripped
        if isinstance(stripped, Pointer):
            target = stripped.target
            if target.size is None or isinstance(target.stripped, Void):
                raise UsageError(
                    f"a {_name(self.type_)} leads to nothing of a known type: give it one by "
                    ".cast_('struct file *')"
                )
            assert isinstance(self._number, int)
            return TypedValue(self._home, target, address=self._number + number * target.size)
        if not isinstance(stripped, Array):
            raise UsageError(f"a {_name(self.type_)} has no elements")
        if number < 0 or (stripped.count and number >= stripped.count):
            raise IndexError(f"element {number} of {_name(self.type_)}")
        size = _size(stripped.element)
        if self._data is not None:
            data = self._data[number * size : (number + 1) * size]
            address = None if self.address_ is None else self.address_ + number * size
            return TypedValue(self._home, stripped.element, address=address, data=data)
        return TypedValue(self._home, stripped.element, address=self._place() + number * size)

    def __len__(self) -> int:
        """How many elements an array has; 0 for one of any length."""
        stripped = self.type_.stripped
        if not isinstance(stripped, Array):
            raise UsageError(f"a {_name(self.type_)} has no length")
        return stripped.count

    def __iter__(self) -> Iterator[TypedValue]:
        return (self[number] for number in range(len(self)))

    # -- other types -------------------------------------------------------------------------------

    def cast_(self, type: str | Type) -> TypedValue:
        """The same number as another type, ``"struct inode *"`` for one.

        Raises:
            TypesError: The kernel has no such type.
            UsageError: This or that is no number.
        """
        wanted = self._home.find(type) if isinstance(type, str) else type
        if not is_number(wanted.stripped):
            raise UsageError(f"{_name(wanted)} is no type of numbers: cast to a pointer to it")
        return TypedValue(self._home, wanted, number=int(self._operand()))

    def container_of_(self, type: str | Type, member: str) -> TypedValue:
        """A pointer to the struct whose ``member`` this points to.

        Args:
            type: The struct, ``"struct inode"`` for one.
            member: Its member: ``"i_rcu"``, ``"i_data.i_pages"``.

        Raises:
            MemberError: It has no such member.
            TypesError: The kernel has no such type.
            UsageError: It is no struct, or this no pointer.
        """
        wanted = self._home.find(type) if isinstance(type, str) else type
        outer = wanted.stripped
        if not isinstance(outer, Composite) or not isinstance(self.type_.stripped, Pointer):
            raise UsageError(
                f"from a {_name(self.type_)} there is no way to a {_name(wanted)} around it: "
                "give a pointer, and a struct"
            )
        found = outer.inside(member)
        if found is None:
            raise MemberError(_name(outer), member, [each.name for each in outer.flat()])
        return TypedValue(
            self._home, pointer_to(wanted), number=int(self._operand()) - found.offset
        )

    def __add__(self, other: Any) -> Any:
        step = self._step(other)
        return super().__add__(other) if step is None else self._moved(int(other) * step)

    def __radd__(self, other: Any) -> Any:
        step = self._step(other)
        return super().__radd__(other) if step is None else self._moved(int(other) * step)

    def __sub__(self, other: Any) -> Any:
        stripped = self.type_.stripped
        if isinstance(other, TypedValue) and isinstance(other.type_.stripped, Pointer):
            size = stripped.target.size if isinstance(stripped, Pointer) else None
            return (self._operand() - other._operand()) // (size or 1)
        step = self._step(other)
        return super().__sub__(other) if step is None else self._moved(-int(other) * step)

    def _step(self, other: Any) -> int | None:
        """Bytes from an element to the next, if this is a pointer and ``other`` an integer."""
        stripped = self.type_.stripped
        if not isinstance(stripped, Pointer) or not isinstance(other, (int, TypedValue)):
            return None
        return stripped.target.size or 1

    def _moved(self, distance: int) -> TypedValue:
        return TypedValue(self._home, self.type_, number=int(self._operand()) + distance)

    def __eq__(self, other: object) -> Any:
        if self._number is None:
            if not isinstance(other, TypedValue):
                return NotImplemented
            return (self.type_, self.address_, self._data) == (
                other.type_,
                other.address_,
                other._data,
            )
        return super().__eq__(other)

    def __hash__(self) -> int:
        if self._number is None:
            return hash((self.type_, self.address_))
        return hash(self._number)

    # -- what it looks like ------------------------------------------------------------------------

    def __str__(self) -> str:
        return shown(self, self._home.name_at)

    def __repr__(self) -> str:
        try:
            return with_type(self, self._home.name_at)
        except GuestMemoryError as error:
            return f"<{_name(self.type_)} at {self.address_ or 0:#x}: {error}>"

    def __format__(self, spec: str) -> str:
        if not spec or self._number is None:
            return format(str(self), spec)
        is_text = isinstance(self.type_.stripped, (Enum, Pointer)) and spec[-1] in "s<>^0123456789"
        return format(str(self) if is_text else self._number, spec)


def _size(type: Type) -> int:
    size = type.size
    if size is None:
        raise UsageError(f"the kernel does not say what a {_name(type)} is: it has no size")
    return size


def _name(type: Type) -> str:
    text = declaration(type)
    return text if "\n" not in text else f"{type.stripped.kind} without a name"
