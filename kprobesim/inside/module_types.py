"""The types of the modules that a guest has loaded, as it keeps them itself for BPF.

The kernel drops a module's section ``.BTF`` when it has loaded it, and keeps a copy, whose numbers
go on from its own, in the list ``btf_modules`` (btf_parse_module(), kernel/bpf/btf.c, since 5.11).
"""

from __future__ import annotations

from collections.abc import Iterator

from kprobesim.errors import GuestMemoryError
from kprobesim.image import KernelImage
from kprobesim.inside.code_addresses import handed_on
from kprobesim.machine.memory import HostAccess
from kprobesim.types.btf import Btf

__all__ = ["GuestModuleTypes"]

_LIST, _READERS = "btf_modules", ("btf_try_get_module", "btf_module_notify")
_FAR = 256  # bytes of these functions until the list's head is made
_MEMBERS = {
    "list": ("btf_module", "list"),
    "module": ("btf_module", "module"),
    "btf": ("btf_module", "btf"),
    "data": ("btf", "data"),
    "size": ("btf", "data_size"),
    "name": ("module", "name"),
}
_NAME = 56  # MODULE_NAME_LEN
_MOST, _LARGEST = 4096, 64 << 20


class GuestModuleTypes:
    """Reads them from ``memory``; each is read once."""

    def __init__(self, image: KernelImage, memory: HostAccess) -> None:
        self._image = image
        self._memory = memory
        self._read: dict[tuple[int, int], Btf] = {}

    def all(self) -> list[Btf]:
        """Those of now; none where the kernel keeps none, or does not tell where."""
        kernel = self._image.btf
        if kernel is None:
            return []
        found = {name: kernel.offset(of, member) for name, (of, member) in _MEMBERS.items()}
        members = {name: offset for name, offset in found.items() if offset is not None}
        if members.keys() != _MEMBERS.keys():
            return []
        try:
            return list(self._each(kernel, members))
        except GuestMemoryError:
            return []

    def _each(self, kernel: Btf, members: dict[str, int]) -> Iterator[Btf]:
        memory = self._memory
        head = self._head()
        at = memory.read_u64(head) if head else head
        for _ in range(_MOST):
            if at == head:
                return
            entry = at - members["list"]
            types = memory.read_u64(entry + members["btf"])
            data = memory.read_u64(types + members["data"])
            if (types, data) not in self._read:
                size = min(memory.read_u32(types + members["size"]), _LARGEST)
                where = memory.read_u64(entry + members["module"]) + members["name"]
                name = memory.read(where, _NAME).partition(b"\0")[0].decode("utf-8", "replace")
                self._read[types, data] = Btf(memory.read(data, size), kernel, name)
            yield self._read[types, data]
            at = memory.read_u64(at)

    def _head(self) -> int:
        """Where the list begins; 0 if nothing tells."""
        named = [symbol.address for symbol in self._image.symbols.candidates(_LIST)]
        handed = (each for name in _READERS for each in handed_on(self._image, name, _FAR))
        for address in named or handed:
            try:
                first, last = (self._memory.read_u64(address + at) for at in (0, 8))
                ends = self._memory.read_u64(first + 8), self._memory.read_u64(last)
            except GuestMemoryError:
                continue
            if ends == (address, address) and (named or first != address):
                return address
        return 0
