"""What a kernel has for the externs of an object: ``bpf_object__resolve_externs()`` of libbpf.c."""

from __future__ import annotations

from dataclasses import dataclass

from kprobesim.bpf.core.budget import CannotRelocate
from kprobesim.bpf.core.compatible import types_are_compatible
from kprobesim.bpf.core.names import essential_name
from kprobesim.bpf.externs import Extern, ExternKind, KconfigType
from kprobesim.bpf.facts import KernelFacts
from kprobesim.types.btf import Btf
from kprobesim.types.model import Function, Int, Type, Variable

__all__ = ["ResolvedExtern", "resolve_extern"]

_TRISTATE = {"n": 0, "y": 1, "m": 2}
_GET_ATTACH_COOKIE = 174


@dataclass(frozen=True)
class ResolvedExtern:
    """An extern and what the kernel has for it.

    ``found`` is ``None`` if that is not known. ``value`` are the bytes of a setting as programs
    read them: zeroes if it is weak and not set. ``where`` is the module that has a function, or
    ``vmlinux``. ``problem`` says why libbpf loads nothing of the object.
    """

    extern: Extern
    found: bool | None
    value: bytes | None = None
    where: str | None = None
    problem: str | None = None


def resolve_extern(extern: Extern, kernel: KernelFacts) -> ResolvedExtern:
    """Look for ``extern`` in ``kernel``."""
    if extern.kind is ExternKind.KCONFIG:
        if extern.name.startswith("CONFIG_"):
            return _setting(extern, kernel)
        return _virtual(extern, kernel)
    if extern.kind is ExternKind.SYMBOL:
        return _symbol(extern, kernel)
    return _in_types(extern, kernel)


def _missing(extern: Extern, reason: str) -> ResolvedExtern:
    return ResolvedExtern(extern, False, problem=None if extern.weak else reason)


def _symbol(extern: Extern, kernel: KernelFacts) -> ResolvedExtern:
    addresses = set(kernel.addresses(extern.name))
    if len(addresses) > 1:
        problem = f"{extern.name} is {len(addresses)} symbols of this kernel, and libbpf takes none"
        return ResolvedExtern(extern, True, problem=problem)
    if not addresses:
        return _missing(extern, f"the kernel has no symbol {extern.name}")
    return ResolvedExtern(extern, True, where="vmlinux")


def _in_types(extern: Extern, kernel: KernelFacts) -> ResolvedExtern:
    is_function = extern.kind is ExternKind.KFUNC
    what = "function" if is_function else "variable"
    if kernel.btf is None:
        return _missing(extern, f"the kernel has no types (BTF), where {extern.name} is looked up")
    name = essential_name(extern.name) if is_function else extern.name
    found = _first(name, Function if is_function else Variable, kernel)
    if found is None:
        return _missing(extern, f"the kernel's types have no {what} {name}")
    there, where = found
    theirs = there.prototype if isinstance(there, Function) else there.target.stripped
    try:
        compatible = types_are_compatible(extern.type, theirs)
    except CannotRelocate:
        compatible = False
    if not compatible:
        reason = f"{what} {name} is declared otherwise in this kernel"
        if is_function:
            return _missing(extern, reason)
        return ResolvedExtern(extern, False, where=where, problem=reason)
    if is_function and kernel.kfuncs is not None and name not in kernel.kfuncs:
        return ResolvedExtern(
            extern, True, where=where, problem=f"programs may not call {name}: it is no kfunc"
        )
    return ResolvedExtern(extern, True, where=where)


def _first(
    name: str, kind: type[Function] | type[Variable], kernel: KernelFacts
) -> tuple[Function | Variable, str] | None:
    """The type of that name and whose it is: the kernel's, or the first module's."""
    assert kernel.btf is not None
    own: list[Function | Variable] = list(kernel.btf.named(name, kind))
    if own:
        return own[0], "vmlinux"
    for module, btf in kernel.modules.items():
        of_module = [one for one in btf.named(name, kind) if _is_of(one, btf)]
        if of_module:
            return of_module[0], module
    return None


def _is_of(one: Type, btf: Btf) -> bool:
    return one.btf is btf


def _virtual(extern: Extern, kernel: KernelFacts) -> ResolvedExtern:
    """A setting that libbpf makes up."""
    if extern.name == "LINUX_KERNEL_VERSION":
        if not kernel.version:
            return ResolvedExtern(extern, None)
        major, minor, patch = (*kernel.version, 0, 0)[:3]
        return _number(extern, major << 16 | minor << 8 | min(patch, 255))
    if extern.name == "LINUX_HAS_SYSCALL_WRAPPER":
        return _number(extern, int(kernel.wraps_syscalls))
    if extern.name == "LINUX_HAS_BPF_COOKIE":
        has = kernel.has_helper(_GET_ATTACH_COOKIE)
        return ResolvedExtern(extern, None) if has is None else _number(extern, int(has))
    if extern.name.startswith("LINUX_") and extern.weak:
        return ResolvedExtern(extern, False, value=bytes(_size(extern)))
    return ResolvedExtern(extern, False, problem=f"libbpf knows no setting {extern.name}")


def _setting(extern: Extern, kernel: KernelFacts) -> ResolvedExtern:
    if kernel.config is None:
        return ResolvedExtern(extern, None)
    text = kernel.config.get(extern.name, "n")
    if text == "n":
        zeroes = bytes(_size(extern))
        if extern.weak:
            return ResolvedExtern(extern, False, value=zeroes)
        problem = f"{extern.name} is not set in this kernel; declare it __weak"
        return ResolvedExtern(extern, False, problem=problem)
    if text in _TRISTATE:
        return _of_letter(extern, text)
    if text.startswith('"'):
        return _of_text(extern, text)
    try:
        number = int(text, 0)
    except ValueError:
        return _refused(extern, text)
    if extern.kconfig not in (KconfigType.INT, KconfigType.CHAR):
        return _refused(extern, text)
    return _number(extern, number)


def _of_letter(extern: Extern, letter: str) -> ResolvedExtern:
    if extern.kconfig is KconfigType.TRISTATE:
        return _number(extern, _TRISTATE[letter])
    if extern.kconfig is KconfigType.CHAR:
        return ResolvedExtern(extern, True, value=letter.encode())
    if extern.kconfig is KconfigType.BOOL and letter != "m":
        return ResolvedExtern(extern, True, value=bytes([letter == "y"]))
    return _refused(extern, letter)


def _of_text(extern: Extern, text: str) -> ResolvedExtern:
    if extern.kconfig is not KconfigType.STRING or len(text) < 2 or not text.endswith('"'):
        return _refused(extern, text)
    size = _size(extern)
    return ResolvedExtern(extern, True, value=text[1:-1].encode()[: size - 1].ljust(size, b"\0"))


def _number(extern: Extern, number: int) -> ResolvedExtern:
    size = _size(extern)
    bits = 8 * size
    lowest, end = 0, 1 << bits
    if isinstance(extern.type, Int) and extern.type.is_signed and not extern.type.is_bool:
        lowest, end = -(1 << bits - 1), 1 << bits - 1
    if size < 8 and not lowest <= number < end:
        return _refused(extern, str(number))
    return ResolvedExtern(extern, True, value=(number % (1 << bits)).to_bytes(size, "little"))


def _refused(extern: Extern, text: str) -> ResolvedExtern:
    kept = extern.kconfig.value if extern.kconfig is not None else "?"
    problem = f"{extern.name} is {text} in this kernel, which does not fit into a {kept}"
    return ResolvedExtern(extern, True, problem=problem)


def _size(extern: Extern) -> int:
    return extern.type.size or 0
