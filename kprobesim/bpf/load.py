"""``would_load``: what loading an object into a kernel comes to, program by program."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from functools import cached_property

from kprobesim.bpf.core.kinds import CoreKind
from kprobesim.bpf.core.patch import POISON
from kprobesim.bpf.core.relocate import Relocated, RelocatedCode, relocate
from kprobesim.bpf.externs import ExternKind
from kprobesim.bpf.facts import KernelFacts
from kprobesim.bpf.features import missing_map, missing_sections
from kprobesim.bpf.flow.reach import Place, Reached, World
from kprobesim.bpf.flow.walk import walk
from kprobesim.bpf.helper_programs import callers_of
from kprobesim.bpf.helpers import HELPERS_BY_SETTING, HELPERS_UNLESS, OVERRIDE_RETURN, helper_name
from kprobesim.bpf.kernel_externs import ResolvedExtern, resolve_extern
from kprobesim.bpf.object import BpfObject
from kprobesim.bpf.operations import missing_members
from kprobesim.bpf.program import Function, Program, SourceLine
from kprobesim.errors import BpfObjectError, TypesError
from kprobesim.types.model import Type

__all__ = ["Blocker", "BlockerKind", "LoadedObject", "LoadedProgram", "would_load"]


class BlockerKind(enum.Enum):
    """What keeps a program from being loaded."""

    #: A field, type or value that the kernel has not, or has otherwise.
    TYPE = "type"
    EXTERN = "extern"
    HELPER = "helper"
    #: A type of maps or programs that the kernel has not.
    FEATURE = "feature"
    #: It needs types (BTF) and the kernel has none.
    NO_BTF = "no BTF"
    #: Something that libbpf refuses in any kernel.
    OBJECT = "object"


@dataclass(frozen=True)
class Blocker:
    """One reason. ``path`` is the field, function or setting in question; ``line`` where.

    ``depends`` says that the instruction is reached only if constants of the object (``.rodata``)
    are set to something else than they are in it.
    """

    kind: BlockerKind
    path: str
    text: str
    line: SourceLine | None = None
    depends: bool = False


@dataclass(frozen=True)
class LoadedProgram:
    """A program in a kernel: why it is refused, if it is; what it does there, otherwise.

    ``guarded`` are relocations that found nothing, of instructions that are never reached.
    """

    program: Program
    blockers: tuple[Blocker, ...]
    guarded: tuple[Relocated, ...] = ()
    reached: Reached = field(default_factory=Reached, repr=False)

    @property
    def overrides(self) -> bool:
        """Whether it changes what the probed function returns: ``bpf_override_return()``."""
        return OVERRIDE_RETURN in self.reached.helpers


class LoadedObject:
    """An object in a kernel. ``blockers`` are those of the whole: libbpf loads nothing of it."""

    def __init__(self, obj: BpfObject, kernel: KernelFacts) -> None:
        self.object = obj
        self.kernel = kernel

    @cached_property
    def code(self) -> RelocatedCode:
        """Its relocations; none if there is nothing to resolve them against."""
        return self._resolved[0]

    @cached_property
    def _resolved(self) -> tuple[RelocatedCode, str | None]:
        """Its relocations, or what is wrong with the types that they are about."""
        target = self.kernel.target
        problem = None
        if target is not None:
            try:
                return relocate(self.object, target), None
            except BpfObjectError as error:
                problem = error.problem
            except TypesError as error:
                if error.source != self.object.path:  # the kernel's
                    raise
                problem = error.problem
        return RelocatedCode((), {one: one.instructions for one in self.object.functions}), problem

    @cached_property
    def externs(self) -> tuple[ResolvedExtern, ...]:
        """What the kernel has for its externs."""
        return tuple(resolve_extern(one, self.kernel) for one in self.object.externs)

    @cached_property
    def blockers(self) -> tuple[Blocker, ...]:
        """Why libbpf loads nothing of it at all."""
        damage = self._resolved[1]
        problems = self.object.problems if damage is None else (*self.object.problems, damage)
        found = [Blocker(BlockerKind.OBJECT, "", text) for text in problems]
        if self.kernel.btf is None and self._needs_types:
            text = "the kernel has no types (BTF), and libbpf needs them for this object"
            found.append(Blocker(BlockerKind.NO_BTF, "", text))
        found += [_of(one) for one in self.code.problems if one.function not in self._left_out]
        for extern in self.externs:
            if extern.problem is not None:
                found.append(Blocker(BlockerKind.EXTERN, extern.extern.name, extern.problem))
        for one in self.object.maps:
            missing = missing_map(one, self.kernel)
            if missing is not None:
                found.append(Blocker(BlockerKind.FEATURE, one.name, missing))
        for ops in self.object.operations:
            for member in missing_members(ops, self.kernel):
                text = f"struct {ops.type} has no member {member} in this kernel, which {ops.name} "
                found.append(Blocker(BlockerKind.TYPE, f"{ops.type}.{member}", text + "sets"))
        return tuple(found)

    def is_relocated(self, place: Place) -> bool:
        """Whether the instruction there has the offset of a member that it has in the kernel."""
        return place in self._fields

    @cached_property
    def programs(self) -> tuple[LoadedProgram, ...]:
        """Each program. Those of an object that is refused have its blockers, too."""
        return tuple(self._load(one) for one in self.object.programs)

    @cached_property
    def _needs_types(self) -> bool:
        """``obj_needs_vmlinux_btf()`` of libbpf.c."""
        return (
            any(self.object.core.values())
            or any(one.attachment.kind.needs_btf_id for one in self.object.programs)
            or any(
                one.kind in (ExternKind.KFUNC, ExternKind.TYPED_VARIABLE)
                for one in self.object.externs
            )
        )

    @cached_property
    def _left_out(self) -> frozenset[Function]:
        """The functions that libbpf does not look at unless somebody asks for them."""
        return frozenset(one.function for one in self.object.programs if one.optional)

    @cached_property
    def _world(self) -> World:
        return World(
            settings={one.extern.name: one.value for one in self.externs if one.value is not None},
            missing=frozenset(
                one.extern.name
                for one in self.externs
                if one.found is False and one.extern.kind is not ExternKind.KCONFIG
            ),
        )

    @cached_property
    def _fields(self) -> dict[Place, Type]:
        return {
            (one.function, one.instruction): one.local
            for one in self.code.relocations
            if one.kind is CoreKind.BYTE_OFFSET and one.local is not None
        }

    def _walk(self, program: Program, constants: dict[int, bytes]) -> Reached:
        world = World(self._world.settings, self._world.missing, constants)
        return walk(self.object, program, world, self.code.instructions, self._fields)

    def _load(self, program: Program) -> LoadedProgram:
        reached = self._walk(program, {})
        found = self._found(program, reached)
        own = [_of(one) for one in self.code.problems if one.function is program.function]
        poisoned = [one for one in self.code.relocations if one.poisoned]
        inside = {*reached.instructions, *self.object.code_of(program)} if poisoned else set()
        guarded = [
            one
            for one in poisoned
            if one.function in inside and (one.function, one.instruction) not in reached
        ]
        # What constants forbid as they are is only reached if somebody sets them.
        fewer = reached
        if found and self.object.constants:
            fewer = self._walk(program, self.object.constants)
        whole = [*self.blockers, *(own if program.optional else ())]
        for path, text in missing_sections(program.section, self.kernel):
            whole.append(Blocker(BlockerKind.FEATURE, path, text))
        blockers = _once(found, fewer)
        return LoadedProgram(program, (*whole, *blockers), tuple(guarded), reached)

    def _found(self, program: Program, reached: Reached) -> list[tuple[Place, Blocker]]:
        """What the verifier stops at."""
        found = []
        for one in self.code.relocations:
            place = one.function, one.instruction
            if one.poisoned and place in reached:
                found.append((place, _of(one)))
        weak = {one.name for one in self.object.externs if one.weak}
        for name, place in reached.kfuncs.items():
            if name in self._world.missing and name in weak:
                text = f"it calls {name}, which this kernel has not"
                found.append((place, Blocker(BlockerKind.EXTERN, name, text, _line(place))))
        for number, place in reached.helpers.items():
            name = helper_name(number)
            if self.kernel.has_helper(number) is False and number != POISON.immediate:
                text = f"it calls {name}, which this kernel has not"
                found.append((place, Blocker(BlockerKind.HELPER, name, text, _line(place))))
            whose = callers_of(number, program.attachment.kind)
            if whose is not None:
                text = f"it calls {name}, which is not for such programs, but for {whose}"
                found.append((place, Blocker(BlockerKind.HELPER, name, text, _line(place))))
            unless = HELPERS_UNLESS.get(number)
            if unless is not None and self.kernel.is_set(unless):
                text = f"it calls {name}, which a kernel with {unless}=y refuses"
                found.append((place, Blocker(BlockerKind.HELPER, name, text, _line(place))))
            setting = HELPERS_BY_SETTING.get(number)
            if setting is not None and self.kernel.is_set(setting) is False:
                text = f"it calls {name}, which needs {setting}=y"
                found.append((place, Blocker(BlockerKind.HELPER, name, text, _line(place))))
        return found


def _once(found: list[tuple[Place, Blocker]], fewer: Reached) -> list[Blocker]:
    """Each reason once, at its first place; it depends on constants if all its places do."""
    together: dict[tuple[str, str], Blocker] = {}
    for place, one in found:
        first = together.setdefault((one.path, one.text), replace(one, depends=True))
        if place in fewer and first.depends:
            together[one.path, one.text] = replace(first, depends=False)
    return list(together.values())


def _of(one: Relocated) -> Blocker:
    """What a relocation that went wrong comes to."""
    text = one.problem or one.reason or f"{one.path} is not in this kernel"
    return Blocker(BlockerKind.TYPE, one.path, text, one.source_line)


def _line(place: Place) -> SourceLine | None:
    function, index = place
    return function.source_line(index)


def would_load(obj: BpfObject, kernel: KernelFacts) -> LoadedObject:
    """What loading ``obj`` into ``kernel`` comes to. Everything in it is computed when asked for.

    Raises:
        TypesError: When asked, if the kernel's types are damaged.
    """
    return LoadedObject(obj, kernel)
