"""``find_type``: the type that a text of C names: ``struct file *``, ``unsigned long``, ``u8[6]``.

Compilers spell integers differently (``long unsigned int`` is GCC's ``unsigned long``), so those
are compared by the words that they are made of.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from kprobesim.errors import TypesError, UsageError
from kprobesim.types.btf import Btf
from kprobesim.types.derived import array_of, pointer_to
from kprobesim.types.model import Composite, Enum, Float, Int, Struct, Type, Typedef, Union

__all__ = ["find_type", "integer_spellings"]

_TAGGED: dict[str, tuple[type[Type], ...]] = {"struct": (Struct,), "union": (Union,)}
_QUALIFIERS = frozenset(("const", "volatile", "restrict", "__user", "__iomem", "__rcu", "__percpu"))
_WORDS = frozenset(("unsigned", "signed", "char", "short", "int", "long", "float", "double"))
#: C11 6.7.2: which words mean which integer, as GCC and as clang spell it.
_SPELLED = {
    ("char",): ("char",),
    ("char", "signed"): ("signed char",),
    ("char", "unsigned"): ("unsigned char",),
    ("short",): ("short int", "short"),
    ("short", "unsigned"): ("short unsigned int", "unsigned short"),
    ("int",): ("int",),
    ("unsigned",): ("unsigned int",),
    ("long",): ("long int", "long"),
    ("long", "unsigned"): ("long unsigned int", "unsigned long"),
    ("long", "long"): ("long long int", "long long"),
    ("long", "long", "unsigned"): ("long long unsigned int", "unsigned long long"),
    ("float",): ("float",),
    ("double",): ("double",),
    ("double", "long"): ("long double",),
}
_TOKEN = re.compile(r"\s*([A-Za-z_]\w*|\*|\[\s*(?:0[xX][0-9a-fA-F]+|\d+)\s*\])")
_LONGEST = 512


def find_type(text: str, types: Sequence[Btf]) -> Type:
    """The type that ``text`` names.

    Args:
        text: A name, with ``struct``, ``union`` or ``enum`` before it where it is one (a name alone
            that is no typedef means a struct, too), then any number of ``*`` and ``[count]``.
        types: Where to look, the first first.

    Raises:
        TypesError: There is no type of that name.
        UsageError: It is no type of C.
    """
    words, suffixes = _parts(text)
    found = _void(types) if words == ["void"] else _named(words, types)
    arrays = [each for each in suffixes if each != "*"]
    for _ in range(len(suffixes) - len(arrays)):
        found = pointer_to(found)
    for each in reversed(arrays):
        found = array_of(found, int(each[1:-1], 0))
    return found


def integer_spellings(name: str) -> tuple[str, ...]:
    """How compilers write the integer ``name``; ``()`` if it is not made of C's own words."""
    words = name.split()
    if not words or not _WORDS.issuperset(words) or words.count("int") > 1:
        return ()
    kept = [word for word in words if word != "int" or words == ["int"]]
    if "signed" in kept and "char" not in kept:
        kept.remove("signed")
    return _SPELLED.get(tuple(sorted(kept or ["int"])), ())


def _parts(text: object) -> tuple[list[str], list[str]]:
    """The words of the name, and what stands behind: ``*`` and ``[n]`` in order."""
    if not isinstance(text, str):
        raise UsageError(f"{text!r} is of type {type(text).__name__}: give a type as in C, a text")
    if len(text) > _LONGEST:
        raise UsageError(f"a type of {len(text)} characters is none")
    words: list[str] = []
    suffixes: list[str] = []
    at, rest = 0, text.rstrip()
    while at < len(rest):
        match = _TOKEN.match(rest, at)
        token = match[1].replace(" ", "") if match is not None else ""
        in_place = token and (
            token in _QUALIFIERS or not (token[0].isalpha() or token[0] == "_") or not suffixes
        )
        if match is None or not in_place or (token == "*" and "[" in "".join(suffixes)):
            raise UsageError(
                f"{text!r} is no type that is understood: write it as in 'struct file *', "
                "'unsigned long', 'u8[6]'"
            )
        if token[0] in "*[":
            suffixes.append(token)
        elif token not in _QUALIFIERS:
            words.append(token)
        at = match.end()
    if not words:
        raise UsageError(f"{text!r} names no type: write it as in 'struct file *'")
    return words, suffixes


def _void(types: Sequence[Btf]) -> Type:
    if not types:
        raise TypesError("the kernel", "says nothing of its types")
    return types[0].type(0)


def _named(words: list[str], types: Sequence[Btf]) -> Type:
    names: tuple[str, ...]
    kinds: tuple[type[Type], ...]
    tag, name = (words[0], words[-1]) if len(words) == 2 else ("", words[0])
    if tag in _TAGGED:
        names, kinds = (name,), _TAGGED[tag]
    elif tag == "enum":
        names, kinds = (name,), (Enum,)
    elif len(words) == 1 and words[0] not in _WORDS:
        name = "_Bool" if name == "bool" else name
        names, kinds = (name,), (Typedef, Int, Float, Composite, Enum)
    else:
        name = " ".join(words)
        names, kinds = integer_spellings(name), (Int, Float)
        if not names:
            raise UsageError(f"{name!r} is no type of C: write it as in 'struct file *'")
    for each in names:
        for btf in types:
            found = btf.named(each, *kinds)
            if found:
                return min(
                    found,
                    key=lambda one: next(
                        i for i, kind in enumerate(kinds) if isinstance(one, kind)
                    ),
                )
    source = types[0].source if types else "the kernel"
    raise TypesError(source, f"has no type {' '.join(words)!r}")
