"""``TypedPlaces``: members of structs by name, where it is known of which type an object is.

Known is what the calls that are raced take, by their prototypes; the tasks of the CPUs, and a few
variables of the kernel; and whatever these point to, by the types of their members, as memory is
when a race begins.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from kprobesim.errors import GuestMemoryError, TypesError
from kprobesim.types.base import Array, Pointer, Type
from kprobesim.types.btf import Btf
from kprobesim.types.composites import Composite
from kprobesim.types.functions import Function

__all__ = ["VARIABLES", "TypedPlaces", "arguments_of"]

VARIABLES = {
    "init_task": "task_struct",
    "init_mm": "mm_struct",
    "init_cred": "cred",
    "init_nsproxy": "nsproxy",
    "init_user_ns": "user_namespace",
    "init_pid_ns": "pid_namespace",
    "init_uts_ns": "uts_namespace",
    "init_net": "net",
    "init_files": "files_struct",
    "init_fs": "fs_struct",
    "root_task_group": "task_group",
    "rcu_state": "rcu_state",
}
"""Variables of the kernel (5.10 to 7.3), and the structs that they are."""
_LINKS = frozenset(("list_head", "hlist_node", "hlist_head", "rb_node", "llist_node"))
"""What is in others: who points to one says nothing of its surroundings."""
_DEPTH = 3  # pointers from what is known
_MOST = 1024  # objects
_MOST_LEAVES = 4096  # of one struct
_ELEMENTS = 16  # of an array in it
_WORD = 8  # bytes of a pointer; a struct as small is one thing, as atomic_t


class _Leaf(NamedTuple):
    """A member that has none itself."""

    offset: int
    size: int
    path: str
    leads: Composite | None


class TypedPlaces:
    """The objects that are known."""

    def __init__(
        self, read: Callable[[int, int], bytes], roots: Iterable[tuple[int, Composite]]
    ) -> None:
        """Look at nothing yet.

        Args:
            read: The guest's memory when a race begins, by address and size.
            roots: What is known from the start: addresses and types; read when it is needed.
        """
        self._read, self._roots = read, roots
        self._leaves: dict[Composite, tuple[list[int], list[_Leaf]]] = {}

    @cached_property
    def _objects(self) -> tuple[list[int], list[tuple[int, Composite]]]:
        """Starts in order, and each with its type; what is in one that was known before is none."""
        starts: list[int] = []
        objects: list[tuple[int, Composite]] = []
        pending = deque((address, kind, 0) for address, kind in self._roots)
        while pending and len(starts) < _MOST:
            address, kind, depth = pending.popleft()
            at = bisect_right(starts, address)
            if not kind.size or (at and address < starts[at - 1] + (objects[at - 1][1].size or 0)):
                continue
            try:
                data = self._read(address, kind.size)
                leaves = self._leaves_of(kind)[1]
            except (GuestMemoryError, TypesError):
                continue
            starts.insert(at, address)
            objects.insert(at, (address, kind))
            if depth == _DEPTH:
                continue
            for leaf in leaves:
                if leaf.leads is not None:
                    target = int.from_bytes(data[leaf.offset : leaf.offset + _WORD], "little")
                    if target >> 63:
                        pending.append((target, leaf.leads, depth + 1))
        return starts, objects

    def name(self, address: int, *, whole: bool = False) -> str | None:
        """``struct task_struct::flags``; ``None`` where no known object is.

        Args:
            address: Where it is.
            whole: A lock is there: its own first member is not named, as in ``struct mutex``.
        """
        starts, objects = self._objects
        at = bisect_right(starts, address) - 1
        if at < 0:
            return None
        start, kind = objects[at]
        offsets, leaves = self._leaves_of(kind)
        offset = address - start
        for leaf in leaves[: bisect_right(offsets, offset)]:
            if leaf.offset <= offset < leaf.offset + leaf.size:
                rest, path = offset - leaf.offset, leaf.path.split(".")
                if whole and "lock" not in path[-1]:
                    path.pop()
                named = f"{kind.kind} {kind.name or '(anonymous)'}" + "::" * bool(path)
                return named + ".".join(path) + f"+{rest:#x}" * bool(rest)
        return None

    def _leaves_of(self, kind: Composite) -> tuple[list[int], list[_Leaf]]:
        known = self._leaves.get(kind)
        if known is None:
            found = []
            for leaf in _walk(kind, 0, ""):
                found.append(leaf)
                if len(found) == _MOST_LEAVES:
                    break
            found.sort(key=lambda leaf: leaf.offset)
            known = self._leaves[kind] = [leaf.offset for leaf in found], found
        return known


def _walk(kind: Composite, start: int, path: str) -> Iterator[_Leaf]:
    for member in kind.flat():
        if member.name:
            yield from _of_type(member.type, start + member.offset, f"{path}{member.name}")


def _of_type(type: Type, offset: int, path: str) -> Iterator[_Leaf]:
    inner = type.stripped
    if isinstance(inner, Composite) and (inner.size or 0) > _WORD:
        yield from _walk(inner, offset, f"{path}.")
        return
    if isinstance(inner, Array):
        element = inner.element.stripped
        size = element.size or 0
        if isinstance(element, Composite) and 0 < inner.count <= _ELEMENTS and size:
            for number in range(inner.count):
                yield from _of_type(element, offset + number * size, f"{path}[{number}]")
            return
    leads: Composite | None = None
    if isinstance(inner, Pointer):
        target = inner.target.stripped
        if isinstance(target, Composite) and target.name not in _LINKS:
            leads = target
    size = type.size or 0
    if size:
        yield _Leaf(offset, size, path, leads)


def arguments_of(btf: Btf, function: str, values: Sequence[int]) -> Iterator[tuple[int, Composite]]:
    """The objects that the arguments of a call point to, by its prototype.

    Args:
        btf: The kernel's types.
        function: Its name.
        values: The arguments.
    """
    for declared in btf.named(function, Function)[:1]:
        for value, parameter in zip(values, declared.parameters, strict=False):
            kind = parameter.type.stripped
            if isinstance(kind, Pointer):
                target = kind.target.stripped
                if isinstance(target, Composite) and target.name not in _LINKS:
                    yield value, target
