"""Arguments that a probe reads: whether they are there, where they are, and what they are."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from kprobesim.arch.architecture import architecture
from kprobesim.bpf.core.nearest import nearest_members
from kprobesim.compat.event_fields import event_fields
from kprobesim.compat.finding import Finding
from kprobesim.compat.grammar import refused_arguments
from kprobesim.compat.interfaces.tracepoints import tracepoint_prototype
from kprobesim.compat.kernel_facts import KernelFacts, parameter_text, struct_name
from kprobesim.compat.kinds import Kind
from kprobesim.compat.syscall_names import is_wrapper
from kprobesim.errors import Reason
from kprobesim.functions.facts import FunctionFacts
from kprobesim.sources.wanted import Interface, Wanted, WantedArgument
from kprobesim.types.model import Array, Composite, Enum, Int, Parameter, Pointer, Type, Void

__all__ = ["moved_arguments"]

_OF_TRACEPOINTS = (Interface.RAW_TRACEPOINT, Interface.TP_BTF, Interface.TPROBE_EVENTS)
_OF_HOOKS = (Interface.LSM, Interface.LSM_CGROUP)
#: The context of a system call's probe holds the call's own; the others get no function's.
_OF_OTHERS = (
    Interface.SYSCALL,
    Interface.ITER,
    Interface.STRUCT_OPS,
    Interface.FREPLACE,
    Interface.LOAD,
)
#: Behind the arguments there is the value that the function returns.
_AND_RESULT = (Interface.FEXIT, Interface.FMOD_RET, Interface.FSESSION, *_OF_HOOKS)
_BY_NAME = (Interface.FENTRY, Interface.FEXIT, Interface.FMOD_RET, Interface.FSESSION)
#: The verifier knows the prototype, and how many arguments there are: btf_ctx_access() of btf.c.
_VERIFIED = (*_BY_NAME, *_OF_HOOKS, Interface.TP_BTF)
_FULL_NAME = re.compile(r"^r(?=[a-z])")  # rdi is di
_WORD = 8
_PREFIXES = re.compile(r"^(?:const|volatile|struct|union)\s+")


def moved_arguments(asked: KernelFacts, wanted: Wanted) -> Iterator[Finding]:
    """What is wrong with the arguments that ``wanted`` reads."""
    yield from refused_arguments(asked, wanted)
    for argument in wanted.arguments:
        if argument.symbol is not None and not asked.has(argument.symbol):
            text = f"{argument.text}: this kernel knows no symbol {argument.symbol}"
            yield Finding(Kind.EXTERN, text, errno.ENOENT, Reason.UNKNOWN_SYMBOL)
    if wanted.interface is Interface.TRACEPOINT:
        yield from _fields(asked, wanted)
        return
    if wanted.interface in _OF_TRACEPOINTS:
        found = tracepoint_prototype(asked, wanted.target.rpartition(":")[2])
        if found is not None:
            parameters = found.parameters[1:]
            for argument in wanted.arguments:
                yield from _declared(asked, wanted, argument, parameters)
        return
    if not wanted.target or wanted.interface in _OF_OTHERS:
        return
    if wanted.interface in _OF_HOOKS:
        wanted = replace(wanted, target=f"bpf_lsm_{wanted.target}")
    facts = asked.facts(wanted.target)
    if wanted.offset == 0:
        yield from _signature(wanted, facts)
    if not wanted.arguments:
        return
    function = asked.function_type(wanted.target, wanted.module)
    if function is None:
        yield from _undeclared(asked, wanted, facts)
        return
    for argument in wanted.arguments:
        if argument.returned and isinstance(function.prototype.returns.stripped, Void):
            text = f"{argument.text}: {wanted.target} returns nothing here (void)"
            yield Finding(Kind.ARGUMENT, text, found_by="btf")
        yield from _lost(asked, wanted, argument, facts, function.parameters)
        yield from _declared(asked, wanted, argument, function.parameters)


def _ordinal(asked: KernelFacts, wanted: Wanted, argument: WantedArgument) -> int | None:
    """Which argument of the function it is, also if a register holds it at the entry."""
    if argument.returned:
        return None
    if argument.ordinal is not None:
        return argument.ordinal
    if argument.register is None or wanted.offset or wanted.returns:
        return None
    registers = architecture(asked.kernel.arch).abi.arguments
    name = _FULL_NAME.sub("", argument.register.lower())
    return registers.index(name) if name in registers else None


def _signature(wanted: Wanted, facts: FunctionFacts) -> Iterator[Finding]:
    """A changed signature is told to who reads nothing that is known of, too."""
    if wanted.arguments or wanted.returns:
        return
    if facts.lost_arguments:
        which = ", ".join(f"arg{number}" for number in facts.lost_arguments)
        yield Finding(
            Kind.SIGNATURE,
            f"{which} of {facts.name} cannot be read at its entry: the compiler passes it no more",
            found_by="code",
            certainty="likely",
        )
    elif facts.changed_signature:
        yield Finding(
            Kind.SIGNATURE,
            f"the compiler changed the signature of {facts.name}: it has no prototype in BTF",
            found_by="btf",
            certainty="likely",
        )


def _undeclared(asked: KernelFacts, wanted: Wanted, facts: FunctionFacts) -> Iterator[Finding]:
    """Arguments of a function that has no prototype."""
    arguments = [a for a in wanted.arguments if _ordinal(asked, wanted, a) is not None]
    if is_wrapper(wanted.target):
        for argument in arguments:
            yield from _of_wrapper(wanted, argument)
    elif arguments and facts.changed_signature:
        yield Finding(
            Kind.ARGUMENT,
            f"{_texts(arguments)} of {facts.name} may not be what C declares: the compiler changed "
            "its signature, so it has no prototype in BTF",
            found_by="btf",
            certainty="likely",
        )
    for argument in arguments:
        said = _said(argument)
        if argument.members and said is not None:
            yield from _members(asked, wanted, argument, said)


def _texts(arguments: Sequence[WantedArgument]) -> str:
    return ", ".join(dict.fromkeys(argument.text for argument in arguments))


def _lost(
    asked: KernelFacts,
    wanted: Wanted,
    argument: WantedArgument,
    facts: FunctionFacts,
    parameters: Sequence[Parameter],
) -> Iterator[Finding]:
    number = _ordinal(asked, wanted, argument)
    if number is None and argument.name is not None:
        names = [parameter.name for parameter in parameters]
        number = names.index(argument.name) if argument.name in names else None
    if number is not None and number in facts.lost_arguments:
        yield Finding(
            Kind.ARGUMENT,
            f"{argument.text} of {facts.name} cannot be read at its entry: the compiler passes it "
            "no more",
            found_by="code",
            certainty="likely",
        )


def _of_wrapper(wanted: Wanted, argument: WantedArgument) -> Iterator[Finding]:
    """``__x64_sys_*`` takes one pointer to the registers of the process."""
    if not is_wrapper(wanted.target) or argument.returned or argument.type is not None:
        return
    if argument.ordinal is not None and wanted.interface is not Interface.SYSCALL:
        yield Finding(
            Kind.ARGUMENT,
            f"arg0 of {wanted.target} points to struct pt_regs, which has the system call's own "
            f"arguments: {argument.text} is none of them",
            instead=(
                f"read it from the registers that arg0 points to, as ksyscall does "
                f'(SEC("ksyscall/{wanted.target.partition("sys_")[2]}"))',
                f"tracepoint:syscalls:sys_enter_{wanted.target.partition('sys_')[2]}",
            ),
            found_by="rules",
        )


def _declared(
    asked: KernelFacts, wanted: Wanted, argument: WantedArgument, parameters: Sequence[Parameter]
) -> Iterator[Finding]:
    """Whether the prototype has the argument, with the type and members that are read."""
    if argument.returned:
        yield from _result_elsewhere(wanted, argument, parameters)
        return
    wrapper = list(_of_wrapper(wanted, argument))
    if wrapper:
        yield from wrapper
        return
    number = _ordinal(asked, wanted, argument)
    if number == len(parameters) and wanted.interface in _AND_RESULT:
        return
    if number is not None and number >= len(parameters):
        text = f"{argument.text} is argument {number + 1}, and {wanted.target} has "
        text += f"{len(parameters)} here: ({_prototype(parameters)})"
        verified = wanted.interface in _VERIFIED
        if verified:
            text += "; the verifier loads no program that reads behind them"
        refusal = errno.EACCES if verified else 0
        yield Finding(Kind.ARGUMENT, text, errno=refusal, found_by="btf")
        return
    found = _parameter(wanted, argument, number, parameters)
    if isinstance(found, str):
        yield Finding(Kind.ARGUMENT, found, found_by="btf")
        return
    declared = None if found is None else struct_name(found.type)
    said = _said(argument)
    other = None
    if found is not None and said:
        other = _no_pointer(found.type) if declared is None else f"a struct {declared}"
        if declared and (_begins(asked, said, declared) or _begins(asked, declared, said)):
            other = None  # what holds it, as a struct tcp_sock holds a struct sock
    if found is not None and other is not None and said != declared:
        yield Finding(
            Kind.ARGUMENT,
            f"{argument.text} takes it for a struct {said}, and it is {other} here: "
            f"({_prototype(parameters)})",
            found_by="btf",
        )
    elif argument.members:
        start = said or declared
        if start is not None:
            yield from _members(asked, wanted, argument, start)


def _result_elsewhere(
    wanted: Wanted, argument: WantedArgument, parameters: Sequence[Parameter]
) -> Iterator[Finding]:
    """A result that a macro looks for behind the arguments which the source gives the function."""
    said, there = argument.ordinal, len(parameters)
    if said is None or said == there:
        return
    text = f"{argument.text} is looked for behind {said} arguments, and {wanted.target} has "
    text += f"{there} here: ({_prototype(parameters)})"
    if said > there:
        text += "; the verifier loads no program that reads behind its result"
    refusal = errno.EACCES if said > there else 0
    yield Finding(Kind.ARGUMENT, text, errno=refusal, found_by="btf")


def _said(argument: WantedArgument) -> str | None:
    """The struct that the probe takes the argument for."""
    return _PREFIXES.sub("", argument.type or "").rstrip("* ") or None


def _begins(asked: KernelFacts, outer: str, inner: str) -> bool:
    """Whether a ``struct outer`` begins with a ``struct inner``, directly or deeper."""
    seen = set()
    kept: Type | None = next(iter(asked.composites(outer)), None)
    while isinstance(kept, Composite) and kept.number not in seen:
        if kept.name == inner:
            return True
        seen.add(kept.number)
        kept = next((one.type.stripped for one in kept.members if one.bit_offset == 0), None)
    return False


def _no_pointer(declared: Type) -> str | None:
    """What it is, if that can point to no struct: pointers are kept in unsigned longs, too."""
    kept = declared.stripped
    if isinstance(kept, Pointer):
        return "a pointer to a pointer" if isinstance(kept.target.stripped, Pointer) else None
    if isinstance(kept, Int) and kept.size == _WORD and not kept.is_signed:
        return None
    return f"no pointer but {declared.name or kept.name}" if isinstance(kept, (Int, Enum)) else None


def _parameter(
    wanted: Wanted, argument: WantedArgument, number: int | None, parameters: Sequence[Parameter]
) -> Parameter | str | None:
    """The parameter that is read, or what is wrong."""
    if number is not None:
        return parameters[number]
    if argument.name is None or wanted.interface not in (*_BY_NAME, *_OF_TRACEPOINTS):
        return None
    for parameter in parameters:
        if parameter.name == argument.name:
            return parameter
    return f"{wanted.target} has no argument {argument.name} here: ({_prototype(parameters)})"


def _prototype(parameters: Sequence[Parameter]) -> str:
    return ", ".join(map(parameter_text, parameters)) or "void"


def _members(
    asked: KernelFacts, wanted: Wanted, argument: WantedArgument, start: str
) -> Iterator[Finding]:
    """Whether each member of the path is in the struct before it."""
    if asked.btf is None:
        return
    owners = asked.composites(start, wanted.module)
    if not owners:
        yield Finding(
            Kind.TYPE,
            f"{argument.text}: this kernel's BTF has no struct {start}",
            found_by="btf",
        )
        return
    owner, path = owners[0], start
    for member in argument.members:
        found = owner.find(member)
        if found is None:
            alike = nearest_members(owner, member)
            has = f"; it has {', '.join(alike)}" if alike else ""
            text = f"{argument.text}: {path} has no member {member} here{has}"
            yield Finding(Kind.TYPE, text, found_by="btf")
            return
        inner = _inside(asked, found.type)
        if inner is None:
            return
        owner, path = inner, f"{path}.{member}"


def _inside(asked: KernelFacts, kept: Type) -> Composite | None:
    """The struct that a member is, points to or is an array of."""
    found = kept.stripped
    while isinstance(found, (Pointer, Array)):
        found = (found.target if isinstance(found, Pointer) else found.element).stripped
    if isinstance(found, Composite):
        return found
    return next(iter(asked.composites(found.name)), None) if found.name else None


def _fields(asked: KernelFacts, wanted: Wanted) -> Iterator[Finding]:
    """Fields of an event that are read by name."""
    fields = event_fields(asked, wanted.target)
    if fields is None:
        return
    for argument in wanted.arguments:
        if argument.name is not None and argument.name not in fields:
            yield Finding(
                Kind.TYPE,
                f"the event {wanted.target} has no field {argument.name} here: "
                f"({', '.join(fields)})",
                found_by="btf",
            )
