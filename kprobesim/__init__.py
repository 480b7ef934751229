r"""Real Linux kernels inside a Python process, with real kprobes on them.

>>> from kprobesim import Kernel
>>> k = Kernel.load("vmlinux")
>>> with k.probing("strlen", pre_handler=lambda p, regs: print(p.symbol_name, regs.arg(0))):
...     k.call("strlen", b"hello\0")
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from kprobesim.garbage import no_garbage
from kprobesim.version import __version__ as __version__

if TYPE_CHECKING:
    from kprobesim.asking.booted import open_shell
    from kprobesim.asking.shell import Shell
    from kprobesim.boot import initramfs
    from kprobesim.boot.boot_schedule import BootSchedule
    from kprobesim.boot.console import Console
    from kprobesim.boot.faults import (
        BootError,
        GuestEnd,
        GuestHang,
        GuestPanic,
        GuestReset,
        NoDevice,
    )
    from kprobesim.boot.policy import SwitchPoint
    from kprobesim.boot.priorities import Priorities
    from kprobesim.boot.random_turns import RandomTurns
    from kprobesim.boot.round_robin import RoundRobin
    from kprobesim.boot.stop import Stop, StopReason
    from kprobesim.compat.finding import Answer, Compatibility, Finding
    from kprobesim.compat.kinds import Kind
    from kprobesim.compat.run import compatibility
    from kprobesim.dynevent.error import ProbeEventError
    from kprobesim.errors import (
        AskingError,
        BpfObjectError,
        CatalogError,
        DebugInfoError,
        EngineError,
        GuestError,
        GuestMemoryError,
        ImageError,
        KprobeError,
        KprobesimError,
        MemberError,
        OtherKernelError,
        Reason,
        ScheduleError,
        SnapshotError,
        SymbolError,
        TypesError,
        UsageError,
    )
    from kprobesim.fetch.cache import FetchError
    from kprobesim.image import KernelImage, Symbol, SymbolAt, SymbolTable
    from kprobesim.image.modules.module_image import ModuleState
    from kprobesim.inside.modules import GuestModule
    from kprobesim.inside.tasks import Task
    from kprobesim.kernel.base import Kernel
    from kprobesim.kernel.booted import BootedKernel
    from kprobesim.kernel.called import CalledKernel
    from kprobesim.kernel.modules import Module
    from kprobesim.kernel.offline import KernelRules, open_rules
    from kprobesim.kernel.race_on import race_on
    from kprobesim.kprobes.ctlblk import KprobeCtlblk, KprobeStatus
    from kprobesim.kprobes.events import Hit, HitKind
    from kprobesim.kprobes.fail_function import Override
    from kprobesim.kprobes.jprobe import Jprobe
    from kprobesim.kprobes.kprobe import FaultHandler, Kprobe, KprobeFlag, PostHandler, PreHandler
    from kprobesim.kprobes.kretprobe import Kretprobe, KretprobeInstance, ReturnHandler
    from kprobesim.kprobes.model import MODELS, Model
    from kprobesim.kprobes.rules.names import Functions
    from kprobesim.kprobes.rules.verdict import Verdict
    from kprobesim.machine.die_notifiers import DieEvent, Notify
    from kprobesim.machine.faults import (
        CallStopped,
        GuestBug,
        GuestFault,
        GuestLimit,
        GuestStop,
        GuestTimeout,
    )
    from kprobesim.machine.fork_state import ForkState
    from kprobesim.machine.registers import Arm64PtRegs, PtRegs, X86PtRegs
    from kprobesim.machine.registration import Registration
    from kprobesim.machine.text import TextPoke
    from kprobesim.machine.trap import Trap, TrapKind
    from kprobesim.races.exploring.exploration import Exploration, RaceInterrupted
    from kprobesim.races.exploring.exploring import pct, random_
    from kprobesim.races.failures.failure import Failure
    from kprobesim.races.invariant import Invariant
    from kprobesim.races.planned import PlannedCall, call
    from kprobesim.races.schedule import Schedule, Slice
    from kprobesim.stack.stack_trace import Frame, StackTrace
    from kprobesim.trace.files.refusal import TracefsError
    from kprobesim.trace.filters.error import FilterError
    from kprobesim.trace.hist.error import HistError
    from kprobesim.trace.synthetic.error import SyntheticError
    from kprobesim.trace.tracefs import Tracefs, TracefsFile
    from kprobesim.trace.triggers.error import TriggerError
    from kprobesim.typed.value import TypedValue
    from kprobesim.unbooted.trap_tables import GuestWarning

__all__ = [
    "MODELS",
    "Answer",
    "Arm64PtRegs",
    "AskingError",
    "BootError",
    "BootSchedule",
    "BootedKernel",
    "BpfObjectError",
    "CallStopped",
    "CalledKernel",
    "CatalogError",
    "Compatibility",
    "Console",
    "DebugInfoError",
    "DieEvent",
    "EngineError",
    "Exploration",
    "Failure",
    "FaultHandler",
    "FetchError",
    "FilterError",
    "Finding",
    "ForkState",
    "Frame",
    "Functions",
    "GuestBug",
    "GuestEnd",
    "GuestError",
    "GuestFault",
    "GuestHang",
    "GuestLimit",
    "GuestMemoryError",
    "GuestModule",
    "GuestPanic",
    "GuestReset",
    "GuestStop",
    "GuestTimeout",
    "GuestWarning",
    "HistError",
    "Hit",
    "HitKind",
    "ImageError",
    "Invariant",
    "Jprobe",
    "Kernel",
    "KernelImage",
    "KernelRules",
    "Kind",
    "Kprobe",
    "KprobeCtlblk",
    "KprobeError",
    "KprobeFlag",
    "KprobeStatus",
    "KprobesimError",
    "Kretprobe",
    "KretprobeInstance",
    "MemberError",
    "Model",
    "Module",
    "ModuleState",
    "NoDevice",
    "Notify",
    "OtherKernelError",
    "Override",
    "PlannedCall",
    "PostHandler",
    "PreHandler",
    "Priorities",
    "ProbeEventError",
    "PtRegs",
    "RaceInterrupted",
    "RandomTurns",
    "Reason",
    "Registration",
    "ReturnHandler",
    "RoundRobin",
    "Schedule",
    "ScheduleError",
    "Shell",
    "Slice",
    "SnapshotError",
    "StackTrace",
    "Stop",
    "StopReason",
    "SwitchPoint",
    "Symbol",
    "SymbolAt",
    "SymbolError",
    "SymbolTable",
    "SyntheticError",
    "Task",
    "TextPoke",
    "Tracefs",
    "TracefsError",
    "TracefsFile",
    "Trap",
    "TrapKind",
    "TriggerError",
    "TypedValue",
    "TypesError",
    "UsageError",
    "Verdict",
    "X86PtRegs",
    "call",
    "compatibility",
    "initramfs",
    "open_rules",
    "open_shell",
    "pct",
    "race_on",
    "random_",
]

logging.getLogger("kprobesim").addHandler(logging.NullHandler())

# Each is imported when it is first asked for: a command that runs nothing needs no emulator.
_HOMES = {
    "asking.booted": "open_shell",
    "asking.shell": "Shell",
    "boot.console": "Console",
    "boot.faults": "BootError GuestEnd GuestHang GuestPanic GuestReset NoDevice",
    "boot.stop": "Stop StopReason",
    "compat.finding": "Answer Compatibility Finding",
    "compat.kinds": "Kind",
    "compat.run": "compatibility",
    "dynevent.error": "ProbeEventError",
    "errors": "AskingError BpfObjectError CatalogError DebugInfoError EngineError GuestError "
    "GuestMemoryError ImageError KprobeError KprobesimError MemberError OtherKernelError Reason "
    "ScheduleError SnapshotError SymbolError TypesError UsageError",
    "fetch.cache": "FetchError",
    "image": "KernelImage Symbol SymbolAt SymbolTable",
    "image.modules.module_image": "ModuleState",
    "inside.modules": "GuestModule",
    "inside.tasks": "Task",
    "kernel.base": "Kernel",
    "kernel.booted": "BootedKernel",
    "kernel.called": "CalledKernel",
    "kernel.modules": "Module",
    "kernel.offline": "KernelRules open_rules",
    "kernel.race_on": "race_on",
    "kprobes.events": "Hit HitKind",
    "machine.registration": "Registration",
    "stack.stack_trace": "Frame StackTrace",
    "boot": "initramfs",
    "boot.boot_schedule": "BootSchedule",
    "boot.policy": "SwitchPoint",
    "boot.priorities": "Priorities",
    "boot.random_turns": "RandomTurns",
    "boot.round_robin": "RoundRobin",
    "kprobes.ctlblk": "KprobeCtlblk KprobeStatus",
    "kprobes.fail_function": "Override",
    "kprobes.jprobe": "Jprobe",
    "kprobes.kprobe": "FaultHandler Kprobe KprobeFlag PostHandler PreHandler",
    "kprobes.kretprobe": "Kretprobe KretprobeInstance ReturnHandler",
    "kprobes.model": "MODELS Model",
    "kprobes.rules.names": "Functions",
    "kprobes.rules.verdict": "Verdict",
    "machine.die_notifiers": "DieEvent Notify",
    "machine.faults": "CallStopped GuestBug GuestFault GuestLimit GuestStop GuestTimeout",
    "machine.fork_state": "ForkState",
    "machine.registers": "Arm64PtRegs PtRegs X86PtRegs",
    "machine.text": "TextPoke",
    "machine.trap": "Trap TrapKind",
    "races.exploring.exploration": "Exploration RaceInterrupted",
    "races.exploring.exploring": "pct random_",
    "races.failures.failure": "Failure",
    "races.invariant": "Invariant",
    "races.planned": "PlannedCall call",
    "races.schedule": "Schedule Slice",
    "typed.value": "TypedValue",
    "trace.files.refusal": "TracefsError",
    "trace.filters.error": "FilterError",
    "trace.hist.error": "HistError",
    "trace.synthetic.error": "SyntheticError",
    "trace.tracefs": "Tracefs TracefsFile",
    "trace.triggers.error": "TriggerError",
    "unbooted.trap_tables": "GuestWarning",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    path = f"{__name__}.{home}"
    with no_garbage():
        try:
            value = getattr(import_module(path), name)
        except AttributeError:  # it is a module
            value = import_module(f"{path}.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
