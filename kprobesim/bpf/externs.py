"""What an object declares and the kernel is to supply: its symbols, its configuration."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from kprobesim.bpf.elf_file import ElfFile
from kprobesim.types.btf import Btf
from kprobesim.types.model import Array, DataSection, Enum, Function, Int, Type, Variable, Void

__all__ = ["Extern", "ExternKind", "KconfigType", "collect_externs"]


class ExternKind(enum.Enum):
    """What is asked of the kernel."""

    KCONFIG = "kconfig"
    #: A function that programs call: a kfunc.
    KFUNC = "kfunc"
    #: A variable with a type, looked up in BTF.
    TYPED_VARIABLE = "typed variable"
    #: ``extern const void name __ksym``: an address, looked up in kallsyms.
    SYMBOL = "symbol"


class KconfigType(enum.Enum):
    """How a setting is kept: libbpf's ``enum kcfg_type``."""

    CHAR = "char"
    BOOL = "bool"
    INT = "int"
    TRISTATE = "tristate"
    STRING = "char[]"


@dataclass(frozen=True, eq=False)
class Extern:
    """One of them. The kernel may lack it if it is ``weak``.

    ``type`` is what a function, a variable or a setting is here; ``kconfig`` how a setting is kept.
    """

    name: str
    kind: ExternKind
    weak: bool
    type: Type
    kconfig: KconfigType | None = None


_KCONFIG, _KSYMS = ".kconfig", ".ksyms"
_TRISTATE = "libbpf_tristate"


def collect_externs(elf: ElfFile, btf: Btf | None) -> tuple[tuple[Extern, ...], tuple[str, ...]]:
    """The externs of an object, in the order of its symbols.

    ``bpf_object__collect_externs()`` of libbpf.c: each is an undefined symbol that BTF has as a
    variable or function in the section ``.kconfig`` or ``.ksyms``.

    Returns:
        Them, and what is wrong with others, for which libbpf refuses the object.
    """
    names = {one.name: one.is_weak for one in elf.symbols if one.is_extern and one.name}
    declared = _declared(btf) if names and btf is not None else {}
    found: list[Extern] = []
    problems: list[str] = []
    for name, weak in names.items():
        one = _extern(name, weak, declared)
        if isinstance(one, Extern):
            found.append(one)
        else:
            problems.append(one)
    return tuple(found), tuple(problems)


def _declared(btf: Btf) -> dict[str, tuple[str, Type]]:
    """The section and the type of each extern that BTF knows."""
    found: dict[str, tuple[str, Type]] = {}
    for section in btf:
        if isinstance(section, DataSection) and section.name in (_KCONFIG, _KSYMS):
            for variable in section.variables:
                found.setdefault(variable.type.name, (section.name, variable.type))
    return found


def _extern(name: str, weak: bool, declared: dict[str, tuple[str, Type]]) -> Extern | str:
    """The extern of that name, or why libbpf refuses the object."""
    if name not in declared:
        return (
            f"{name!r} is defined elsewhere: link it with the objects that belong to it (bpftool "
            "gen object), or declare it as __ksym or __kconfig and compile with -g"
        )
    section, declaration = declared[name]
    if section == _KSYMS and isinstance(declaration, Function):
        return Extern(name, ExternKind.KFUNC, weak, declaration.prototype)
    if not isinstance(declaration, Variable):
        return f"its extern {name!r} in {section} is no variable"
    kept = declaration.target.stripped
    if section == _KSYMS:
        kind = ExternKind.SYMBOL if isinstance(kept, Void) else ExternKind.TYPED_VARIABLE
        return Extern(name, kind, weak, kept)
    kconfig = _kconfig_type(kept)
    if kconfig is None:
        return f"its setting {name!r} has a type that libbpf does not know"
    return Extern(name, ExternKind.KCONFIG, weak, kept, kconfig)


def _kconfig_type(kept: Type) -> KconfigType | None:
    """``find_kcfg_type()`` of libbpf.c."""
    if isinstance(kept, Int):
        if kept.is_bool:
            return KconfigType.BOOL if kept.size == 1 else None
        if kept.size == 1:
            return KconfigType.CHAR
        return KconfigType.INT if kept.size in (2, 4, 8) else None
    if isinstance(kept, Enum):
        return KconfigType.TRISTATE if kept.name == _TRISTATE else None
    if isinstance(kept, Array):
        element = kept.element.stripped
        is_text = kept.count and isinstance(element, Int) and element.size == 1
        return KconfigType.STRING if is_text else None
    return None
