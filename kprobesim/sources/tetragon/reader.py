"""A file of TracingPolicies: its kprobes, tracepoints, LSM hooks, fentries and enforcers.

Facts are of Tetragon 1.6: pkg/k8s/apis/cilium.io/v1alpha1 and pkg/sensors/tracing. It attaches by
kprobe.multi where the kernel has that and the policy does not say otherwise, and through perf
elsewhere. It overrides system calls by ``bpf_override_return()``, functions of LSMs by fmod_ret.
"""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.errors import UsageError
from kprobesim.sources.reading import Reading, shown
from kprobesim.sources.tetragon.arguments import arguments
from kprobesim.sources.tetragon.lists import calls
from kprobesim.sources.wanted import Interface, WantedArgument
from kprobesim.sources.yaml_nodes import Value, YamlError, documents

__all__ = ["read_tetragon"]

_KINDS = ("TracingPolicy", "TracingPolicyNamespaced")
_PASSED = {"uprobes": "in a program, not in the kernel", "usdts": "in a program, not in the kernel"}
_MOST_ITEMS = 10_000
_NO_MULTI, _TRUE = "disable-kprobe-multi", ("1", "t", "true")
_OF_LSMS = "security_"


def read_tetragon(text: str, reading: Reading) -> None:
    """Tell ``reading`` of each hook of each policy."""
    for document in documents(text):
        if isinstance(document, YamlError):
            reading.problem(document.line, document.problem)
        elif not document.is_mapping:
            reading.problem(document.line, "this document is no TracingPolicy: it has no kind")
        elif document["kind"].text == "List" and document["items"].is_list:
            for item in document["items"]:
                _read_document(item, reading)
        else:
            _read_document(document, reading)


def _read_document(document: Value, reading: Reading) -> None:
    kind = document["kind"].text
    if kind not in _KINDS:
        reading.note(document.line, f"kind {shown(kind)} is no TracingPolicy")
        return
    spec = document["spec"]
    if not spec.is_mapping:
        reading.problem(document.line, "this policy has no spec")
        return
    name = document["metadata"]["name"].text or None
    policy = _Policy(spec, name, reading)
    if not any(spec[section] for section in (*policy.sections, *_PASSED, "loader")):
        reading.problem(spec.line, f"this policy's spec has none of {', '.join(policy.sections)}")
    for section, read in policy.sections.items():
        if spec[section] and not spec[section].is_list:
            reading.problem(spec[section].line, f"{section} is no list: begin each with a dash")
        for number, hook in enumerate(spec[section]):
            if number >= _MOST_ITEMS:
                reading.problem(hook.line, f"{section} has more than {_MOST_ITEMS:,} elements")
                break
            try:
                read(hook)
            except UsageError as error:
                reading.problem(hook.line, f"{section}: {error}")
    for section, why in _PASSED.items():
        for hook in spec[section]:
            reading.note(hook.line, f"{section[:-1]} is {why}")


class _Policy:
    """One policy; its methods read one hook of a section each, and raise ``UsageError``."""

    def __init__(self, spec: Value, name: str | None, reading: Reading) -> None:
        self._lists = spec["lists"]
        self._multi = not any(
            one["name"].text == _NO_MULTI and one["value"].text.lower() in _TRUE
            for one in spec["options"]
        )
        self._name = name
        self._reading = reading
        self.sections: dict[str, Callable[[Value], None]] = {
            "kprobes": self._kprobe,
            "fentries": self._fentry,
            "tracepoints": self._tracepoint,
            "lsmhooks": self._lsm_hook,
            "enforcers": self._enforcer,
        }

    def _kprobe(self, hook: Value) -> None:
        if not hook["call"].text:
            raise UsageError("this hook has no call")
        read = tuple(arguments(hook))
        optional = hook["ignore"]["callNotFound"].is_true
        overrides = _overrides(hook)
        for call in calls(hook["call"], hook["syscall"].is_true, self._lists):
            entry = tuple(one for one in read if not one.returned)
            if call.is_system_call and call.interface is not Interface.SYSCALL:
                entry = ()  # behind the wrapper's pt_regs, where Tetragon reads them
            by_fmod_ret = overrides and call.target.startswith(_OF_LSMS) and not self._multi
            if by_fmod_ret:
                self._want(
                    f"call: {call.target}, override",
                    call.line,
                    Interface.FMOD_RET,
                    call.target,
                    optional=optional,
                )
            for returns in (False, True) if hook["return"].is_true else (False,):
                self._want(
                    f"call: {call.target}{', return' if returns else ''}",
                    call.line,
                    call.interface,
                    call.target,
                    optional=optional,
                    pattern=call.pattern,
                    regex=call.regex,
                    returns=returns,
                    overrides=overrides and not returns and not by_fmod_ret,
                    multi=self._multi,
                    needs_btf=call.interface is Interface.KPROBE_PERF,
                    arguments=tuple(one for one in read if one.returned) if returns else entry,
                )

    def _fentry(self, hook: Value) -> None:
        name = hook["call"].text
        if not name:
            raise UsageError("this hook has no call")
        read = tuple(arguments(hook))
        self._want(
            f"call: {name}",
            hook["call"].line,
            Interface.FENTRY,
            name,
            optional=hook["ignore"]["callNotFound"].is_true,
            arguments=tuple(one for one in read if not one.returned),
        )
        if hook["return"].is_true:
            returned = tuple(one for one in read if one.returned)
            self._want(
                f"call: {name}, return",
                hook["call"].line,
                Interface.FEXIT,
                name,
                returns=True,
                arguments=returned,
            )

    def _tracepoint(self, hook: Value) -> None:
        subsystem, event = hook["subsystem"].text, hook["event"].text
        if not subsystem or not event:
            raise UsageError("a tracepoint has a subsystem and an event")
        if hook["raw"].is_true:
            read: tuple[WantedArgument, ...] = tuple(arguments(hook))
            self._want(f"raw: {event}", hook.line, Interface.RAW_TRACEPOINT, event, arguments=read)
        else:
            target = f"{subsystem}:{event}"
            self._want(f"event: {target}", hook.line, Interface.TRACEPOINT, target)

    def _lsm_hook(self, hook: Value) -> None:
        name = hook["hook"].text
        if not name:
            raise UsageError("an LSM hook has a hook: file_open")
        read = tuple(arguments(hook))
        self._want(f"hook: {name}", hook["hook"].line, Interface.LSM, name, arguments=read)

    def _enforcer(self, hook: Value) -> None:
        for one in hook["calls"]:
            for call in calls(one, not one.text.startswith(_OF_LSMS), self._lists):
                by_fmod_ret = call.target.startswith(_OF_LSMS)
                self._want(
                    f"enforcer: {call.target}",
                    call.line,
                    Interface.FMOD_RET if by_fmod_ret else call.interface,
                    call.target,
                    pattern=call.pattern,
                    overrides=True,
                )

    def _want(
        self, text: str, line: int, interface: Interface, target: str, **more: object
    ) -> None:
        self._reading.want(text, line, interface, target, program=self._name, **more)


def _overrides(hook: Value) -> bool:
    """Whether an action of it changes the return value."""
    return any(
        action["action"].text.lower() == "override"
        for selector in hook["selectors"]
        for action in selector["matchActions"]
    )
