"""``VariablePlaces``: where a kernel's variables are, also where it does not name them.

A kernel without CONFIG_KALLSYMS_ALL, as Debian's for ARM64 are, names functions. Others tell more:
what it exports to modules, what it writes down for crash dumps, BTF for per-CPU variables, and the
code of functions that hand a variable on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

from kprobesim.errors import GuestMemoryError, ImageError
from kprobesim.image import KernelImage, SymbolTable
from kprobesim.image.tables.exports import exported
from kprobesim.inside.code_addresses import handed_on
from kprobesim.inside.modules import GuestModules
from kprobesim.inside.per_cpu import per_cpu_section
from kprobesim.inside.told_variables import told_address
from kprobesim.inside.vmcoreinfo import symbols_in
from kprobesim.machine.memory import HostAccess
from kprobesim.typed.variables import VariableType

__all__ = ["VariablePlaces"]

_IRQ_READER = "irq_to_desc"
_IRQ_TREES = ("sparse_irqs", "irq_desc_tree")


class VariablePlaces:
    """Of the kernel ``image`` in ``memory``.

    ``symbols()`` are its own and its modules', ``vmcoreinfo()`` is what it has written for dumps.
    """

    def __init__(
        self,
        image: KernelImage,
        memory: HostAccess,
        symbols: Callable[[], SymbolTable],
        vmcoreinfo: Callable[[], bytes | None],
    ) -> None:
        self._image = image
        self._vmcoreinfo = vmcoreinfo
        self._memory = memory
        self._symbols = symbols
        self._hidden: dict[str, Callable[[], int | None]] = {
            "modules": self._modules,
            **{name: lambda name=name: self._irq_tree(name) for name in _IRQ_TREES},  # type: ignore[misc]
        }

    def linked_at(self, name: str, known: VariableType | None) -> int:
        """The address that the variable was linked to; of a per-CPU one nobody's.

        Args:
            name: Its symbol.
            known: What is known of its type.

        Raises:
            ImageError: It is a per-CPU variable, and the kernel does not tell where those are.
            SymbolError: Nothing tells.
        """
        if known is not None and known.place is not None:
            return self._section + known.place
        for found in (self._image.symbols.candidates(name)[:1], self._symbols().candidates(name)):
            if len(found) == 1:
                return found[0].address
        for tell in (self._exports.get, self._find_hidden, self._noted, self._told):
            address = tell(name)
            if address is not None:
                return address
        return self._symbols()[name].address  # which says that there is none

    def _find_hidden(self, name: str) -> int | None:
        find = self._hidden.get(name)
        return None if find is None else find()

    @cached_property
    def _section(self) -> int:
        return per_cpu_section(self._image)

    @cached_property
    def _exports(self) -> Mapping[str, int]:
        return exported(self._image)

    def _noted(self, name: str) -> int | None:
        """What the kernel has written down for crash dumps."""
        found = self._vmcoreinfo()
        return None if found is None else symbols_in(found).get(name)

    def _told(self, name: str) -> int | None:
        return told_address(name, self._image, self._memory)

    def _modules(self) -> int | None:
        try:
            return GuestModules(self._image, self._memory).head() or None
        except ImageError:
            return None

    def _irq_tree(self, name: str) -> int | None:
        """The tree that irq_to_desc() looks in: a radix tree, since 6.5 a maple tree.

        The latter's flags tell: MT_FLAGS_ALLOC_RANGE, where a radix tree has GFP_KERNEL.
        """
        places = handed_on(self._image, _IRQ_READER)
        if not places:
            return None
        btf = self._image.btf
        flags = btf.offset("maple_tree", "ma_flags") if btf is not None else None
        try:
            is_maple = flags is not None and self._memory.read_u32(places[0] + flags) % 2 == 1
        except GuestMemoryError:
            return None
        return places[0] if is_maple == (name == _IRQ_TREES[0]) else None
