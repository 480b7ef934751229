"""``KernelFacts``: a kernel as the judge asks it; what several interfaces need is kept."""

from __future__ import annotations

from collections.abc import Container, Iterator
from functools import cached_property
from pathlib import Path

from kprobesim.bpf.facts import kernel_version
from kprobesim.compat.finding import AskedKernel
from kprobesim.compat.lsm_order import lsm_order
from kprobesim.compat.names import FunctionNames
from kprobesim.functions.facts import FunctionFacts
from kprobesim.image import Symbol
from kprobesim.inside.syscall_table import syscall_table
from kprobesim.survey.known import KnownKernel
from kprobesim.trace.kernel_facts import ImageFacts
from kprobesim.types.btf import Btf
from kprobesim.types.c_text import declaration
from kprobesim.types.model import (
    Composite,
    Function,
    Parameter,
    Pointer,
    Type,
)

__all__ = ["KernelFacts", "parameter_text", "parameters_of", "struct_name"]


class KernelFacts:
    """One kernel that is asked about many probes.

    Attributes:
        known: The kernel.
        kernel: What it is called in the answers.
        function_names: The names of the kernel's own functions.
        version: ``LINUX_VERSION_CODE`` as three numbers.
    """

    def __init__(self, known: KnownKernel, debug: Path | None = None) -> None:
        self.known = known
        self._functions = known.functions if debug is None else known.functions_by(debug)
        self.rules = known.rules
        self.kernel = AskedKernel(str(known.path), known.name, known.release, known.arch)
        self.function_names = FunctionNames(known.symbols)
        self._known_facts: dict[str, FunctionFacts] = {}
        self._modules_with: dict[str, tuple[str, ...]] = {}
        self.version = kernel_version(known.release, known.image.banner)

    def __repr__(self) -> str:
        return f"<KernelFacts {self.kernel.label}>"

    @cached_property
    def lsm_order(self) -> list[str] | None:
        """The security modules that are switched on; ``None`` if the kernel does not tell."""
        return lsm_order(self.known)

    @cached_property
    def grammar(self) -> ImageFacts:
        """What definitions of its ``kprobe_events`` are read by."""
        known = self.known
        return ImageFacts(known.rules.rules, known.image, texts=known.event_texts)

    # -- symbols -----------------------------------------------------------------------------------

    def has(self, *names: str) -> bool:
        """Whether there is a symbol of one of these names."""
        return any(self.known.symbols.candidates(name) for name in names)

    def is_set(self, setting: str) -> bool | None:
        """Whether a setting is ``y``; ``None`` if the kernel's file does not tell."""
        return None if self.known.config is None else self.known.config.get(setting) == "y"

    def functions_named(self, name: str, module: str | None = None) -> list[Symbol]:
        """The functions of exactly that name, in the order in which the kernel looks.

        Without a module those of the kernel itself: what else is loaded by now is by chance.
        """
        if module:
            found = self.rules.symbols.candidates(f"{module}:{name}")
        else:
            found = self.known.symbols.candidates(name)
        return [symbol for symbol in found if symbol.is_function]

    @property
    def probed_names(self) -> Container[str]:
        """The functions that every interface takes: those that ftrace can trace, if it can any."""
        return _Probed(self)

    def is_traceable(self, symbol: Symbol) -> bool:
        """Whether ftrace can trace the function."""
        return bool(self.rules.image.ftrace_sites) and symbol.address in self.rules.rules.traceable

    def code_place(self, address: int) -> str:
        """An address as ``_stext+0x10``, which names one place for every interface."""
        start = self.known.image.bounds("_stext", "_etext")
        return f"{address:#x}" if start is None else f"_stext+{address - start[0]:#x}"

    @cached_property
    def syscall_functions(self) -> frozenset[int]:
        """The addresses in the table of 64-bit system calls; none where nobody tells of it."""
        return frozenset(syscall_table(self.known.image))

    # -- what became of functions ------------------------------------------------------------------

    def facts(self, name: str) -> FunctionFacts:
        """What became of the function of that name."""
        if name not in self._known_facts:
            self._known_facts[name] = self._functions.facts(name)
        return self._known_facts[name]

    def modules_with(self, name: str) -> tuple[str, ...]:
        """The modules that have a function of that name."""
        if name not in self._modules_with:
            self._modules_with[name] = self.known.modules_with(name)
        return self._modules_with[name]

    # -- types -------------------------------------------------------------------------------------

    @property
    def btf(self) -> Btf | None:
        """The kernel's types."""
        return self.known.btf

    def types_of(self, module: str | None = None) -> Iterator[Btf]:
        """The module's types, which go on from the kernel's; else the kernel's."""
        btf = self.known.module_btf(module) if module else self.btf
        if btf is not None:
            yield btf

    def function_type(self, name: str, module: str | None = None) -> Function | None:
        """The function of that name in the types."""
        for btf in self.types_of(module):
            for found in btf.named(name, Function):
                return found
        return None

    def types_named(self, name: str, module: str | None = None) -> int:
        """How many functions of that name the types have."""
        return sum(len(btf.named(name, Function)) for btf in self.types_of(module))

    def is_typed(self, name: str, module: str | None = None) -> bool:
        """Whether the types have a function of that name."""
        if module is None:
            return self.facts(name).prototype is not None
        return self.function_type(name, module) is not None

    def parameters(self, name: str, module: str | None = None) -> tuple[str, ...] | None:
        """What the function takes, ``("struct file *file", ...)``; ``None`` if types do not say."""
        if module is None:
            text = self.facts(name).prototype  # at hand without a search in the types
            return None if text is None else parameters_of(text)
        found = self.function_type(name, module)
        return None if found is None else tuple(map(parameter_text, found.parameters))

    def result(self, name: str, module: str | None = None) -> str | None:
        """What the function returns, ``"struct dentry *"``; ``None`` if types do not say."""
        if module is None:
            text = self.facts(name).prototype
            return None if text is None else text[: text.index("(")].removesuffix(name).rstrip()
        found = self.function_type(name, module)
        return None if found is None else declaration(found.prototype.returns, "")

    def composites(self, name: str, module: str | None = None) -> list[Composite]:
        """The structs and unions of that name."""
        return [found for btf in self.types_of(module) for found in btf.named(name, Composite)]

    def btf_set(self, symbol: str, *, flags: bool = False) -> frozenset[str]:
        """The names in a ``struct btf_id_set``, whose ids boot leaves as they are in the file.

        With ``flags`` it is a ``struct btf_id_set8``, which has flags behind each.

        Empty where the kernel has no such set, or does not name its data.
        """
        found = self.known.symbols.candidates(symbol)
        btf = self.btf
        if not found or btf is None:
            return frozenset()
        image, at = self.known.image, found[0].address
        count = int.from_bytes(image.read(at, 4), "little")
        if not 0 < count <= _MOST_IDS:
            return frozenset()
        if flags:
            ids = memoryview(image.read(at + 8, 8 * count)).cast("I")[::2]
        else:
            ids = memoryview(image.read(at + 4, 4 * count)).cast("I")
        types = (btf.get(number) for number in ids if number)
        return frozenset(one.name for one in types if one is not None)


class _Probed:
    """Names by their functions."""

    def __init__(self, asked: KernelFacts) -> None:
        self._asked = asked

    def __contains__(self, name: object) -> bool:
        found = self._asked.functions_named(name) if isinstance(name, str) else []
        if not self._asked.rules.image.ftrace_sites:
            return bool(found)
        return any(map(self._asked.is_traceable, found))


_MOST_IDS = 1 << 16


def struct_name(declared: Type) -> str | None:
    """``"file"`` for ``struct file *``, ``const struct file *`` and ``struct file``."""
    kept = declared.stripped
    if isinstance(kept, Pointer):
        kept = kept.target.stripped
    return kept.name or None if isinstance(kept, Composite) else None


def parameter_text(parameter: Parameter) -> str:
    """``"struct file *file"``, as in a prototype."""
    return declaration(parameter.type, parameter.name)


def parameters_of(prototype: str) -> tuple[str, ...]:
    """The parameters in a declaration in C.

    >>> parameters_of("int sort(void *base, int (*cmp)(const void *, const void *))")
    ('void *base', 'int (*cmp)(const void *, const void *)')
    """
    name_end = prototype.index("(")
    inside = prototype[name_end + 1 : prototype.rindex(")")]
    parts, depth = [""], 0
    for letter in inside:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return tuple(part for each in parts if (part := each.strip()) not in ("", "void"))
