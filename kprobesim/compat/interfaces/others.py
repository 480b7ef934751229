"""Iterators, struct_ops and programs that replace others: what BPF attaches to by types alone."""

from __future__ import annotations

import errno

from kprobesim.compat.finding import Finding
from kprobesim.compat.instead import nearest
from kprobesim.compat.kernel_facts import KernelFacts
from kprobesim.compat.kinds import Kind
from kprobesim.errors import Reason
from kprobesim.sources.wanted import Interface, Wanted
from kprobesim.types.model import Struct

__all__ = ["attach_by_type", "only_load"]

_ITER, _OPS = "bpf_iter_", "bpf_struct_ops_"


def only_load(asked: KernelFacts, wanted: Wanted) -> list[Finding]:
    """What its code needs of the kernel is told elsewhere; there is nothing to attach to."""
    return [Finding(Kind.ATTACHED, "it names nothing of the kernel, and is only loaded")]


def attach_by_type(asked: KernelFacts, wanted: Wanted) -> list[Finding]:
    """Whether the kernel has what the program walks, or the operations that it implements."""
    if wanted.interface is Interface.FREPLACE:
        return [
            Finding(Kind.ATTACHED, "it replaces a function of another program, not the kernel's")
        ]
    btf = asked.btf
    if btf is None:
        text = "this kernel carries no BTF (CONFIG_DEBUG_INFO_BTF=n)"
        return [Finding(Kind.NO_BTF, text, errno.EINVAL, found_by="btf")]
    name = wanted.target
    if wanted.interface is Interface.ITER:
        if asked.function_type(_ITER + name) is not None:
            return [Finding(Kind.ATTACHED, f"walks {name}", found_by="btf")]
        known = [one.removeprefix(_ITER) for one in btf.functions() if one.startswith(_ITER)]
        text = f"this kernel has nothing called {name} to walk"
    else:
        if btf.named(_OPS + name, Struct):
            return [Finding(Kind.ATTACHED, f"implements struct {name}", found_by="btf")]
        known = [one.removeprefix(_OPS) for one in btf.names if one.startswith(_OPS)]
        if btf.named(name, Struct):
            text = f"struct {name} cannot be implemented by BPF in this kernel"
        else:
            text = f"this kernel has no struct {name}"
    near = tuple(nearest(name, known))
    rule = Reason.NOT_IN_THIS_KERNEL
    return [Finding(Kind.UNSUPPORTED, text, errno.ESRCH, rule, instead=near, found_by="btf")]
