"""What a hook reads: ``args``, ``data`` and ``returnArg``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kprobesim.errors import UsageError
from kprobesim.sources.wanted import WantedArgument
from kprobesim.sources.yaml_nodes import Value

__all__ = ["arguments"]

#: Tetragon's types that stand for a pointer to a struct of the kernel's.
_STRUCTS = {
    "skb": "sk_buff",
    "sock": "sock",
    "socket": "socket",
    "sockaddr": "sockaddr",
    "file": "file",
    "path": "path",
    "dentry": "dentry",
    "cred": "cred",
    "kiocb": "kiocb",
    "iov_iter": "iov_iter",
    "user_namespace": "user_namespace",
    "linux_binprm": "linux_binprm",
    "net_device": "net_device",
    "module": "module",
    "load_info": "load_info",
    "bpf_map": "bpf_map",
    "perf_event": "perf_event",
}
_MOST_ARGUMENTS = 64
_MEMBERS = re.compile(r"[A-Za-z_]\w*(?:\[\d*\])*(?:\.[A-Za-z_]\w*(?:\[\d*\])*)*")


def arguments(hook: Value) -> Iterator[WantedArgument]:
    """Those of a kprobe, LSM hook or raw tracepoint.

    Raises:
        UsageError: One cannot be read.
    """
    count = 0
    for kind in ("args", "data"):
        for one in hook[kind]:
            count += 1
            if count > _MOST_ARGUMENTS:
                raise UsageError(f"it reads more than {_MOST_ARGUMENTS} values")
            yield _argument(one)
    if hook["returnArg"].is_mapping:
        kind_of = _STRUCTS.get(hook["returnArg"]["type"].text)
        text = f"returnArg: {hook['returnArg']['type'].text or 'auto'}"
        yield WantedArgument(text, returned=True, type=f"struct {kind_of}" if kind_of else None)


def _argument(one: Value) -> WantedArgument:
    index, resolve, source = one["index"].number, one["resolve"].text, one["source"].text
    if source == "pt_regs":
        return WantedArgument(f"pt_regs: {resolve}", register=resolve)
    if index is None:
        raise UsageError("an argument has no index, a number from 0 on")
    members: tuple[str, ...] = ()
    if resolve:
        if _MEMBERS.fullmatch(resolve) is None:
            raise UsageError(f"resolve: {resolve[:60]!r} is no path of members: mm.owner.comm")
        members = tuple(re.sub(r"\[\d*\]", "", resolve).split("."))
    if source == "current_task":
        return WantedArgument(f"current_task.{resolve}", type="struct task_struct", members=members)
    said = one["btfType"].text or ("" if resolve else _STRUCTS.get(one["type"].text, ""))
    text = f"args[{index}]" + (f".{resolve}" if resolve else "")
    return WantedArgument(
        text, ordinal=index, type=f"struct {said}" if said else None, members=members
    )
