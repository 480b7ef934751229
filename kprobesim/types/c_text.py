"""Types in C: declarations and prototypes as ``bpftool btf dump`` writes them, layouts as pahole.

``declaration`` is one type with a name, ``prototype`` a function, ``definition`` all of a struct,
union, enum, typedef, function or variable; with offsets, in bytes from the outermost struct.
"""

from __future__ import annotations

from collections.abc import Iterator

from kprobesim.errors import TypesError
from kprobesim.types.layout import Hole, Layout, bit_place, is_packed, layout
from kprobesim.types.model import (
    Alias,
    Array,
    Composite,
    Const,
    DataSection,
    DeclTag,
    Enum,
    Enum64,
    Forward,
    Function,
    FunctionPrototype,
    Member,
    Pointer,
    Restrict,
    Struct,
    Type,
    Typedef,
    TypeTag,
    Variable,
    Volatile,
)

__all__ = ["MOST_PARTS", "counted_declaration", "declaration", "definition", "prototype"]

_MOST_NESTED = 64  # anonymous structs in structs, function pointers in parameters
MOST_PARTS = 20_000
"""Of one text: a kernel's longest has 3,000."""
_QUALIFIERS: dict[type[Type], str] = {
    Const: "const",
    Volatile: "volatile",
    Restrict: "restrict",
}
_MODES = {1: "byte", 2: "HI", 8: "word"}  # GCC's, of enums that have not 4 bytes
_COMMENTS_AT = 56
_TAB = 8
_CACHELINE = 64


def declaration(type: Type, name: str = "") -> str:
    """``int (*name[4])(void *)``: the type in C, with a name or without.

    Raises:
        TypesError: The type leads back to itself, or refers to one that is not there.
    """
    return _Text(type, False).declaration(type, name, 0)


def counted_declaration(type: Type, name: str) -> tuple[str, int]:
    """The same, and the number of its parts, of which a text has at most :data:`MOST_PARTS`."""
    text = _Text(type, False)
    return text.declaration(type, name, 0), text.parts


def prototype(function: Function) -> str:
    """``ssize_t vfs_read(struct file *file, char *buf, size_t count, loff_t *pos)``.

    Raises:
        TypesError: A type leads back to itself, or refers to one that is not there.
    """
    return declaration(function.prototype, function.name)


def definition(type: Type, offsets: bool = True) -> str:
    """All of the type in C.

    Args:
        type: What to define; of what has no definition, its declaration.
        offsets: Tell offset and size of each member, and what lies between, in comments.

    Raises:
        TypesError: The type leads back to itself, or refers to one that is not there.
    """
    return "\n".join(_Text(type, offsets).definition(type))


class _Text:
    """One text. It counts its parts, as one type may stand in others any number of times."""

    def __init__(self, subject: Type, offsets: bool) -> None:
        self._subject = subject
        self._offsets = offsets
        self.parts = 0

    def _count(self, depth: int) -> None:
        self.parts += 1
        if depth > _MOST_NESTED or self.parts > MOST_PARTS:
            raise self._endless()

    def _endless(self) -> TypesError:
        return self._subject.btf.damaged(
            f"type {self._subject.number} is defined by itself, or by too many others"
        )

    # -- one type with a name ----------------------------------------------------------------------

    def declaration(self, type: Type, name: str, depth: int, start: int = 0) -> str:
        """What is anonymous is written out, its members with offsets from the bit ``start``."""
        text, here = name, type
        words: list[str] = []  # the qualifiers of what comes next
        behind_pointer = False  # brackets bind closer than the star before a name
        while True:
            self._count(depth)
            if isinstance(here, Pointer):
                text = "*" + " ".join([*words, text] if text else words)
                words, behind_pointer, here = [], True, here.target
            elif isinstance(here, (Array, FunctionPrototype)):
                # C qualifies neither arrays nor functions: it is the elements that are const.
                text = f"({text})" if behind_pointer else text
                behind_pointer = False
                if isinstance(here, Array):
                    text, here = f"{text}[{here.count}]", here.element
                else:
                    words = []  # of a function, GNU's word for one that does not return
                    text, here = f"{text}({self._parameters(here, depth)})", here.returns
            elif isinstance(here, Alias) and not isinstance(here, Typedef):
                word = _qualifier(here)
                words = [word, *words] if word not in words else words  # a const array of consts
                here = here.target
            else:
                break
        before = [word for word in words if not word.startswith("__")]
        behind = [word for word in words if word.startswith("__")]
        base = " ".join([*before, self._base(here, depth, start), *behind])
        return f"{base}{text}" if not text or text.startswith("[") else f"{base} {text}"

    def _parameters(self, proto: FunctionPrototype, depth: int) -> str:
        texts = [self.declaration(each.type, each.name, depth + 1) for each in proto.parameters]
        if proto.is_variadic:
            texts.append("...")
        return ", ".join(texts) or "void"

    def _base(self, type: Type, depth: int, start: int) -> str:
        """A type without pointers and brackets: by its name, or written out."""
        name = type.name
        if isinstance(type, Forward):
            return f"{'union' if type.is_union else 'struct'} {name}"
        if isinstance(type, (Composite, Enum)):
            if not name:
                return "\n".join(self._body(type, depth, start))
            return f"{'enum' if isinstance(type, Enum) else type.kind} {name}"
        if isinstance(type, (Function, Variable, DataSection, DeclTag)):
            raise self._subject.btf.damaged(
                f"type {self._subject.number} is made of a {type.kind} ({name})"
            )
        return name or f"/* {type.kind} {type.number} */"

    # -- all of a type -----------------------------------------------------------------------------

    def definition(self, type: Type) -> Iterator[str]:
        """The lines that define it."""
        if isinstance(type, Composite):
            yield from self._body(type, 0, 0, end=";")
        elif isinstance(type, Enum):
            if type.name and not type.values:
                yield f"enum {type.name};"
            else:
                yield from self._body(type, 0, 0, end=";")
        elif isinstance(type, Typedef):
            yield f"typedef {self.declaration(type.target, type.name, 0)};"
        elif isinstance(type, Function):
            yield f"{self.declaration(type.prototype, type.name, 0)};"
        elif isinstance(type, Variable):
            word = "" if type.linkage == "global" else f"{type.linkage} "
            yield f"{word}{self.declaration(type.target, type.name, 0)};"
        elif isinstance(type, DataSection):
            yield f'/* section "{type.name}", {type.size} bytes */'
            for variable, offset, size in type.variables:
                text = "\n".join(self.definition(variable))
                yield _commented(text, f"{offset:5d} {size:5d}", 0)
        elif isinstance(type, DeclTag):
            place = "" if type.component is None else f", element {type.component}"
            yield f"/* tag {type.name!r} of {type.target.name or type.target.number}{place} */"
        else:
            yield f"{self.declaration(type, '', 0)};"

    def _body(self, type: Composite | Enum, depth: int, start: int, end: str = "") -> Iterator[str]:
        name = f" {type.name}" if type.name else ""
        word = "enum" if isinstance(type, Enum) else type.kind
        yield f"{word}{name} {{"
        if isinstance(type, Enum):
            wide = isinstance(type, Enum64)
            suffix = ("LL" if type.is_signed else "ULL") if wide else ""
            for value in type.values:
                self._count(depth)
                yield f"\t{value.name} = {value.value}{suffix},"
            mode = None if wide else _MODES.get(type.size or 0)
            yield "}" + (f" __attribute__((mode({mode})))" if mode else "") + end
            return
        for line in self._members(type, depth, start):
            yield f"\t{line}" if line else ""
        # A union that is packed is not called so, as the tools that people know do not.
        packed = isinstance(type, Struct) and is_packed(type)
        yield "}" + (" __attribute__((packed))" if packed else "") + end

    def _members(self, type: Composite, depth: int, start: int) -> Iterator[str]:
        """A line for each member, and what is between them."""
        laid_out = layout(type)
        for number, member in enumerate(laid_out.members):
            if number in laid_out.before and self._offsets:
                yield from _hole(laid_out.before[number])
            here = start + member.bit_offset
            text = self.declaration(member.type, member.name, depth + 1, here)
            text += f": {member.bit_size};" if member.bit_size else ";"
            if self._offsets:
                text = _commented(text, _place(member, start), depth + 1)
            yield from text.split("\n")
        if self._offsets and not depth and isinstance(type, Struct):
            yield from _summary(type, laid_out)


def _qualifier(alias: Alias) -> str:
    if isinstance(alias, TypeTag):
        text = alias.name if alias.is_attribute else f'btf_type_tag("{alias.name}")'
        return f"__attribute__(({text}))"
    return _QUALIFIERS[type(alias)]


# -- comments --------------------------------------------------------------------------------------


def _commented(text: str, comment: str, depth: int) -> str:
    """The text with a comment behind its last line, all of them in one column where there is room.

    The line will have ``depth`` tabs before it.
    """
    last = text.rpartition("\n")[2]
    width = _TAB * depth + len(last.expandtabs(_TAB))
    return f"{text}{' ' * max(1, _COMMENTS_AT - width)}/* {comment} */"


def _place(member: Member, start: int) -> str:
    """Offset and size in bytes; of a bit field, the unit's, and its first bit there."""
    size = member.type.size or 0
    if not member.bit_size:
        return f"{(start + member.bit_offset) // 8:5d} {size:5d}"
    unit, bit = bit_place(member)
    return f"{start // 8 + unit:5d}:{bit:2d} {size:2d}"


def _hole(hole: Hole) -> Iterator[str]:
    for count, unit in ((hole.bits, "bit"), (hole.bytes, "byte")):
        if count:
            yield f"/* XXX {count} {unit}{'s' if count > 1 else ''} hole, try to pack */"


def _summary(type: Composite, laid_out: Layout) -> Iterator[str]:
    """What pahole counts: size, members, holes, padding."""
    yield ""
    lines = -(-(type.size or 0) // _CACHELINE)
    yield f"/* size: {type.size}, cachelines: {lines}, members: {len(laid_out.members)} */"
    in_bytes = [hole.bytes for hole in laid_out.before.values() if hole.bytes]
    in_bits = [hole.bits for hole in laid_out.before.values() if hole.bits]
    if in_bytes:
        total = sum(member.type.size or 0 for member in type.members if not member.bit_size)
        yield f"/* sum members: {total}, holes: {len(in_bytes)}, sum holes: {sum(in_bytes)} */"
    if in_bits:
        total = sum(member.bit_size for member in type.members)
        yield (
            f"/* sum bitfield members: {total} bits, bit holes: {len(in_bits)}, "
            f"sum bit holes: {sum(in_bits)} bits */"
        )
    if laid_out.padding is not None and laid_out.padding.bytes:
        yield f"/* padding: {laid_out.padding.bytes} */"
    if laid_out.padding is not None and laid_out.padding.bits:
        yield f"/* bit_padding: {laid_out.padding.bits} bits */"
