"""``SEC("kprobe/vfs_read")``: how a section's name, read as libbpf reads it, is a probe."""

from __future__ import annotations

import re
from typing import Any

from kprobesim.bpf.attachment import AttachKind, Attachment
from kprobesim.bpf.section_names import attachment
from kprobesim.sources.reading import Reading
from kprobesim.sources.wanted import Interface

__all__ = ["want_section"]

_INTERFACES = {
    AttachKind.KPROBE: Interface.KPROBE_PERF,
    AttachKind.KRETPROBE: Interface.KPROBE_PERF,
    AttachKind.KPROBE_MULTI: Interface.KPROBE_MULTI,
    AttachKind.KRETPROBE_MULTI: Interface.KPROBE_MULTI,
    AttachKind.KPROBE_SESSION: Interface.KPROBE_SESSION,
    AttachKind.KSYSCALL: Interface.SYSCALL,
    AttachKind.KRETSYSCALL: Interface.SYSCALL,
    AttachKind.TRACEPOINT: Interface.TRACEPOINT,
    AttachKind.RAW_TRACEPOINT: Interface.RAW_TRACEPOINT,
    AttachKind.TP_BTF: Interface.TP_BTF,
    AttachKind.FENTRY: Interface.FENTRY,
    AttachKind.FENTRY_MULTI: Interface.FENTRY,
    AttachKind.FEXIT: Interface.FEXIT,
    AttachKind.FEXIT_MULTI: Interface.FEXIT,
    AttachKind.FMOD_RET: Interface.FMOD_RET,
    AttachKind.FSESSION: Interface.FSESSION,
    AttachKind.FSESSION_MULTI: Interface.FSESSION,
    AttachKind.LSM: Interface.LSM,
    AttachKind.LSM_CGROUP: Interface.LSM_CGROUP,
    AttachKind.ITER: Interface.ITER,
}
_PASSED = {
    AttachKind.STRUCT_OPS: "is a member of a struct of operations, which its map names",
    AttachKind.FREPLACE: "replaces a function of another BPF program",
    AttachKind.SYSCALL: "is run by a system call, and attaches to nothing",
    AttachKind.PERF_EVENT: "is attached to a counter",
    AttachKind.USER: "is in a program, not in the kernel",
    AttachKind.NETWORK: "is attached to a device, socket or control group",
    AttachKind.UNKNOWN: "is a section that libbpf does not know",
}

#: What people write who name the function at run time (libbpf-tools: fsdist, funclatency).
_PLACEHOLDER = re.compile(r"dummy(?:_\w+)?")


def want_section(section: str, line: int | None, reading: Reading, **more: Any) -> None:
    """Tell ``reading`` of one program by its section's name; ``more`` are other attributes.

    A ``program`` that attaches to nothing of the kernel's, or to what is named at run time, has to
    be loaded all the same.
    """
    text = f'SEC("{section}")'
    found = attachment(section.removeprefix("?"))
    interface = _INTERFACES.get(found.kind)
    at_run_time = found.target is None or _PLACEHOLDER.fullmatch(found.target) is not None
    if (
        "program" in more
        and (interface is None or at_run_time)
        and (found.problem is None or found.kind is AttachKind.UNKNOWN)
    ):
        optional, program = section.startswith("?"), more["program"]
        reading.want(text, line, Interface.LOAD, program, optional=optional, program=program)
    if interface is None:
        reading.note(line, f"{text} {_PASSED[found.kind]}")
    elif found.problem is not None:
        reading.problem(line, f"{text}: {found.problem}")
    elif at_run_time:
        reading.note(line, f"{text} is attached to what its loader names: name that, too")
    else:
        reading.want(
            text,
            line,
            interface,
            _target(found),
            offset=found.offset,
            module=found.module,
            returns=found.kind.returns,
            optional=section.startswith("?"),
            pattern=found.pattern,
            sleepable=found.sleepable,
            **more,
        )


def _target(found: Attachment) -> str:
    target = found.target or ""
    return f"{found.category}:{target}" if found.category else target
