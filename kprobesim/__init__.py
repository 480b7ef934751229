r"""Real Linux kernels inside a Python process, with real kprobes on them.

>>> from kprobesim import Kernel
>>> k = Kernel.load("vmlinux")
>>> with k.probing("strlen", pre_handler=lambda p, regs: print(p.symbol_name, regs.arg(0))):
...     k.call("strlen", b"hello\0")
"""

from __future__ import annotations

from kprobesim.boot.console import Console
from kprobesim.boot.faults import BootError, GuestEnd, GuestHang, GuestPanic, GuestReset, NoDevice
from kprobesim.boot.fork_state import ForkState
from kprobesim.boot.stop import Stop, StopReason
from kprobesim.errors import (
    EngineError,
    GuestError,
    GuestMemoryError,
    ImageError,
    KprobeError,
    KprobesimError,
    Reason,
    SnapshotError,
    SymbolError,
    UsageError,
)
from kprobesim.image import Symbol, SymbolAt, SymbolTable
from kprobesim.inside.tasks import Task
from kprobesim.kernel.base import Kernel
from kprobesim.kernel.booted import BootedKernel
from kprobesim.kernel.called import CalledKernel
from kprobesim.kernel.modules import Module, ModuleState
from kprobesim.kprobes.ctlblk import KprobeCtlblk, KprobeStatus
from kprobesim.kprobes.fail_function import Override
from kprobesim.kprobes.jprobe import Jprobe
from kprobesim.kprobes.kprobe import Kprobe, KprobeFlag
from kprobesim.kprobes.kretprobe import Kretprobe, KretprobeInstance
from kprobesim.kprobes.model import MODELS, Model
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
from kprobesim.machine.registers import Arm64PtRegs, PtRegs, X86PtRegs
from kprobesim.machine.text import TextPoke
from kprobesim.machine.trap import Trap, TrapKind
from kprobesim.unbooted.trap_tables import GuestWarning

__all__ = [
    "MODELS",
    "Arm64PtRegs",
    "BootError",
    "BootedKernel",
    "CallStopped",
    "CalledKernel",
    "Console",
    "DieEvent",
    "EngineError",
    "ForkState",
    "GuestBug",
    "GuestEnd",
    "GuestError",
    "GuestFault",
    "GuestHang",
    "GuestLimit",
    "GuestMemoryError",
    "GuestPanic",
    "GuestReset",
    "GuestStop",
    "GuestTimeout",
    "GuestWarning",
    "ImageError",
    "Jprobe",
    "Kernel",
    "Kprobe",
    "KprobeCtlblk",
    "KprobeError",
    "KprobeFlag",
    "KprobeStatus",
    "KprobesimError",
    "Kretprobe",
    "KretprobeInstance",
    "Model",
    "Module",
    "ModuleState",
    "NoDevice",
    "Notify",
    "Override",
    "PtRegs",
    "Reason",
    "SnapshotError",
    "Stop",
    "StopReason",
    "Symbol",
    "SymbolAt",
    "SymbolError",
    "SymbolTable",
    "Task",
    "TextPoke",
    "Trap",
    "TrapKind",
    "UsageError",
    "Verdict",
    "X86PtRegs",
]

__version__ = "0.1.0"
