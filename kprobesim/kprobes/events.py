"""What happens to a probe, told to whoever wants to hear of it."""

from __future__ import annotations

import enum
from collections.abc import Callable
from contextlib import suppress

from kprobesim.kprobes.ctlblk import KprobeStatus
from kprobesim.kprobes.kprobe import HandlerAbandoned, Kprobe
from kprobesim.kprobes.table import members
from kprobesim.late_dataclasses import dataclass
from kprobesim.machine.registers import PtRegs
from kprobesim.machine.vcpu import Vcpu

__all__ = ["Hit", "HitKind", "HitListener", "HitListeners", "Tell"]


class HitKind(enum.Enum):
    """What has just happened, or is about to."""

    HIT = "hit"
    """The probe was reached: its pre_handler comes next."""
    MOVED = "moved"
    """The pre_handler has set where to go on."""
    DETOUR = "detour"
    """The breakpoint of an optimised probe was hit: goes on at the copies in the detour."""
    BOOST = "boost"
    """Goes on at the copy, which jumps back by itself."""
    EMULATE = "emulate"
    """The instruction was done without executing it."""
    STEP = "step"
    """Goes on at the copy; a trap comes behind it."""
    DONE = "done"
    """The instruction is done: the post_handler comes next."""
    REENTER = "reenter"
    """Hit while another probe is handled: missed, and only its instruction is executed."""
    REENTER_DONE = "reenter done"
    """That instruction is done: the outer hit goes on."""
    MISS = "miss"
    """Missed, and that is all: a jump, an ftrace site, a return probe without an instance left."""
    JUMP = "jump"
    """An optimised probe was reached by its jump: the pre_handler comes next."""
    RETURN = "return"
    """A call that a return probe follows has returned: the probe's handler comes next."""
    FAULT = "fault"
    """The instruction has faulted; the program counter is the probe's address again."""


_MISSES = (HitKind.REENTER, HitKind.MISS)


@dataclass(frozen=True, slots=True)
class Hit:
    """One event of one probe.

    Attributes:
        kind: What it is.
        probe: The probe; where several are at one address, the head of them.
        cpu: The number of the CPU.
        time: Seconds of the guest's own time.
        status: How far the CPU has come with the probe (``kprobe_ctlblk``); 0 if it is through.
        regs: The registers: live while the event is told, and then as they were.
    """

    kind: HitKind
    probe: Kprobe
    cpu: int
    time: float
    status: KprobeStatus | int
    regs: PtRegs

    @property
    def probes(self) -> tuple[Kprobe, ...]:
        """The probes at that address that want to be called."""
        return tuple(p for p in members(self.probe) if not p.disabled)

    @property
    def missed(self) -> bool:
        """Whether the probe's handlers do not run for this."""
        return self.kind in _MISSES

    def _repr_html_(self) -> str:
        """For a notebook: the event, and the registers."""
        from kprobesim import html

        status = self.status.name if isinstance(self.status, KprobeStatus) else None
        pairs = [("event", self.kind.value), ("cpu", self.cpu), ("time", f"{self.time:.9f} s")]
        title = next((p.place for p in self.probes), self.probe.place)
        return html.facts(title, [*pairs, ("status", status)]) + self.regs._repr_html_()


HitListener = Callable[[Hit], object]
"""Called with each event; what it returns is ignored."""
Tell = Callable[[HitKind, Kprobe, int], None]
"""``tell(kind, probe, status)``: one CPU's way to the listeners."""


class HitListeners:
    """Who hears of what happens to the probes, on any CPU.

    The paths of a hit ask whether ``callbacks`` is empty, and make nothing if it is.
    """

    def __init__(self) -> None:
        self.callbacks: list[HitListener] = []
        self.now: Callable[[], float] = lambda: 0.0
        """The guest's own time, which the kernel above knows."""

    def on(self, vcpu: Vcpu) -> Tell:
        """How the paths of ``vcpu`` tell the listeners.

        A listener stands where a handler does: it may read and write registers and memory, and call
        guest functions, whose probes are missed.
        """
        callbacks = self.callbacks

        def tell(kind: HitKind, probe: Kprobe, status: int) -> None:
            regs = vcpu.new_regs()
            state = KprobeStatus(status) if status else 0
            hit = Hit(kind, probe, vcpu.number, self.now(), state, regs)
            handling, vcpu.in_handler = vcpu.in_handler, True
            for callback in tuple(callbacks):
                with suppress(HandlerAbandoned):
                    callback(hit)
            vcpu.in_handler = handling
            regs.freeze()  # somebody may have kept the event

        return tell
