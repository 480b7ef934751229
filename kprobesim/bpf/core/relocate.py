"""``relocate``: every CO-RE relocation of an object against one kernel, as libbpf resolves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kprobesim.bpf.btf_ext import CoreRecord
from kprobesim.bpf.core.budget import CannotRelocate
from kprobesim.bpf.core.kinds import CoreKind
from kprobesim.bpf.core.patch import patch, poison
from kprobesim.bpf.core.spec import Spec, parse_spec
from kprobesim.bpf.core.target import Target
from kprobesim.bpf.core.values import Value, value_of
from kprobesim.bpf.instructions import Instruction
from kprobesim.bpf.object import BpfObject
from kprobesim.bpf.program import Function, SourceLine
from kprobesim.errors import BpfObjectError, TypesError
from kprobesim.hexrepr import HexRepr
from kprobesim.types.btf import Btf
from kprobesim.types.model import Type

__all__ = ["Relocated", "RelocatedCode", "relocate"]


@dataclass(frozen=True, eq=False, repr=False)
class Relocated(HexRepr):
    """One relocation and what became of it.

    ``path`` is what it is about, as C: ``inode.i_atime``. ``local`` is the object's own type that
    it starts from, which may be a flavour. ``local_value`` is what the compiler wrote, ``value``
    what is right in the kernel: ``None`` if the instruction was ``poisoned``, which no verifier
    lets pass, or if it is such that libbpf gives up (``problem``). ``reason`` says what is missing.
    """

    function: Function
    instruction: int
    kind: CoreKind
    path: str
    local: Type | None
    local_value: int | None
    value: int | None
    poisoned: bool = False
    reason: str | None = None
    problem: str | None = None

    @property
    def source_line(self) -> SourceLine | None:
        """The line of C that it comes from, if the object says."""
        return self.function.source_line(self.instruction)


@dataclass(frozen=True)
class RelocatedCode:
    """All relocations of an object, and its functions as they are after them."""

    relocations: tuple[Relocated, ...]
    instructions: dict[Function, tuple[Instruction, ...]] = field(repr=False)

    @property
    def problems(self) -> tuple[Relocated, ...]:
        """Those for which libbpf loads no program of the object at all."""
        return tuple(one for one in self.relocations if one.problem is not None)


def relocate(
    obj: BpfObject, btf: Btf | Target, module_btfs: Mapping[str, Btf] | None = None
) -> RelocatedCode:
    """Resolve all CO-RE relocations of ``obj``.

    Args:
        obj: The object.
        btf: The kernel's types.
        module_btfs: Those of the modules that are loaded, by name; looked at only for types that
            the kernel's own lack.

    Raises:
        TypesError: The kernel's types are damaged.
        BpfObjectError: The object's types are damaged.
    """
    target = btf if isinstance(btf, Target) else Target(btf, module_btfs)
    resolver = _Resolver(obj, target)
    found: list[Relocated] = []
    after = {one: one.instructions for one in obj.functions}
    for function, records in obj.core.items():
        code = list(function.instructions)
        for at, record in records:
            found.append(resolver.one(function, at, record, code))
        after[function] = tuple(code)
    return RelocatedCode(tuple(found), after)


@dataclass(frozen=True)
class _Outcome:
    """What a type, an access string and a kind come to."""

    path: str
    kind: CoreKind
    root: Type | None = None
    local: Value | None = None
    target: Value | None = None
    reason: str | None = None
    problem: str | None = None


class _Resolver:
    def __init__(self, obj: BpfObject, target: Target) -> None:
        self._path = obj.path
        self._btf = obj.btf
        self._target = target
        self._outcomes: dict[tuple[int, int, int], _Outcome] = {}
        # Those that did not fit one relocation are not asked for the next, as in libbpf.
        self._candidates: dict[Type, list[Type]] = {}

    def one(
        self, function: Function, at: int, record: CoreRecord, code: list[Instruction]
    ) -> Relocated:
        """Resolve one and change its instruction in ``code``."""
        key = record[1:]
        outcome = self._outcomes.get(key)
        if outcome is None:
            outcome = self._outcomes[key] = self._outcome(record)
        local, target, problem = outcome.local, outcome.target, outcome.problem
        poisoned, reason = False, outcome.reason
        if problem is None and local is not None:
            if target is None:
                poison(code, at)
                poisoned = True
            else:
                try:
                    poisoned = not patch(code, at, local, target)
                    if poisoned:
                        reason = (
                            f"the field has {target.size} bytes in this kernel, not {local.size}, "
                            "and is no unsigned number or pointer, so that one load cannot read it"
                        )
                except CannotRelocate as error:
                    problem = str(error)
        value = None if problem or poisoned or target is None else target.number
        return Relocated(
            function=function,
            instruction=at,
            kind=outcome.kind,
            path=outcome.path,
            local=outcome.root,
            local_value=None if local is None else local.number,
            value=value,
            poisoned=poisoned,
            reason=reason,
            problem=problem,
        )

    def _outcome(self, record: CoreRecord) -> _Outcome:
        assert self._btf is not None
        try:
            kind = CoreKind(record.kind)
            root = self._btf.type(record.type)
            access = self._btf.string(record.access)
        except TypesError as error:
            raise BpfObjectError(self._path, error.problem) from error
        except ValueError:
            problem = f"relocation of kind {record.kind}, which libbpf does not know"
            raise BpfObjectError(self._path, problem) from None
        path = root.name or "(anonymous)"
        try:
            spec = parse_spec(root, access, kind)
            path = spec.path
            local = value_of(kind, spec)
        except CannotRelocate as error:
            return _Outcome(path, kind, root, problem=str(error))
        except TypesError as error:
            raise BpfObjectError(self._path, error.problem) from error
        if kind is CoreKind.TYPE_ID_LOCAL:
            return _Outcome(path, kind, root, local, local)
        try:
            return self._in_kernel(spec, kind, local, path)
        except CannotRelocate as error:
            return _Outcome(path, kind, root, local, problem=str(error))

    def _in_kernel(self, spec: Spec, kind: CoreKind, local: Value, path: str) -> _Outcome:
        root = spec.root
        if not root.name:
            raise CannotRelocate("a type without a name cannot be found in the kernel")
        if root not in self._candidates:
            self._candidates[root] = self._target.candidates(root)
        candidates = self._candidates[root]
        fitting: list[tuple[Type, Spec, Value]] = []
        reason = None
        if not candidates:
            unasked = "" if self._target.modules else ", and no module was asked"
            reason = f"the kernel has no {_called(root, path)}{unasked}"
        for one in candidates:
            match = self._target.match(spec, one, kind)
            if isinstance(match, str):
                reason = reason or match
                continue
            value = value_of(kind, match)
            if fitting and not _agree(fitting[0][1:], (match, value)):
                raise CannotRelocate(
                    f"ambiguous: {path} is {fitting[0][2].number} in one {root.kind} of that name "
                    f"and {value.number} in another"
                )
            fitting.append((one, match, value))
        if fitting:
            self._candidates[root] = [one for one, _, _ in fitting]
            return _Outcome(path, kind, root, local, fitting[0][2])
        missing = None
        if kind.is_question or kind.is_of_type:
            missing = Value(0)
        return _Outcome(path, kind, root, local, missing, reason)


def _agree(one: tuple[Spec, Value], other: tuple[Spec, Value]) -> bool:
    """Whether two candidates say the same, so that it does not matter which is meant."""
    return one[0].bit_offset == other[0].bit_offset and one[1].number == other[1].number


def _called(root: Type, path: str) -> str:
    name = path.split("::")[0].split(".")[0].split("[")[0]
    return f"{root.kind} {name}"
