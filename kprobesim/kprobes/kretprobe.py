"""``Kretprobe``: a probe on the return of a function, as the kernel's ``struct kretprobe``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from kprobesim.kprobes.kprobe import Kprobe, ListType

if TYPE_CHECKING:
    from kprobesim.machine.registers import Arm64PtRegs, PtRegs, X86PtRegs

__all__ = ["Kretprobe", "KretprobeEntry", "KretprobeInstance", "Rethook", "ReturnHandler"]

ReturnHandler = (
    Callable[["KretprobeInstance", "PtRegs"], "int | None"]
    | Callable[["KretprobeInstance", "X86PtRegs"], "int | None"]
    | Callable[["KretprobeInstance", "Arm64PtRegs"], "int | None"]
)
"""``handler(ri, regs)``. An ``entry_handler`` that returns non-zero does not want this call."""


class KretprobeEntry(Kprobe):
    """The probe at the function's entry; its handlers are the return probe's own."""

    __slots__ = ()

    list_type = ListType.KRETPROBE


class Rethook:
    """The instances of one registered return probe; ``rp`` is ``None`` once it is unregistered.

    ``free`` are handed out last in, first out; ``left`` is how many may still be made.
    """

    __slots__ = ("data_size", "free", "left", "rp")

    def __init__(self, rp: Kretprobe) -> None:
        self.rp: Kretprobe | None = rp
        self.free: list[KretprobeInstance] = []
        self.left = rp.maxactive
        self.data_size = rp.data_size


class KretprobeInstance:
    """One call that a return probe follows.

    Attributes:
        ret_addr: Where the function returns to, whatever is in its place on the stack.
        data: ``data_size`` bytes of your own, from the entry_handler to the handler. They are not
            cleared between uses, as in the kernel. Any other object may be put here, too.
        frame: What tells this call from others: the address of its return address (x86-64), its
            caller's frame pointer (ARM64).
    """

    __slots__ = ("data", "frame", "outer", "ret_addr", "rethook")

    def __init__(self, rethook: Rethook) -> None:
        self.rethook = rethook
        self.data: Any = bytearray(rethook.data_size)
        self.ret_addr = 0
        self.frame = 0
        self.outer: KretprobeInstance | None = None
        """The next older instance of the very same call: another probe's, or before a tail call."""

    @property
    def rp(self) -> Kretprobe | None:
        """The probe; ``None`` if it has been unregistered since."""
        return self.rethook.rp

    def __repr__(self) -> str:
        return f"<KretprobeInstance of {self.rp!r} ret_addr={self.ret_addr:#x}>"


class Kretprobe:
    """Handlers at the entry and at the return of a function.

    >>> rp = Kretprobe("kernel_clone", handler=lambda ri, regs: print(regs.return_value))

    Attributes:
        handler: ``handler(ri, regs)`` runs when the function has returned: ``regs`` are the
            caller's, ``regs.return_value`` may be changed; a changed ``ip`` is ignored.
        entry_handler: ``entry_handler(ri, regs)`` runs before the function's first instruction;
            non-zero: this call is not followed.
        maxactive: How many calls can be followed at a time; 0 or less: ``max(10, 2 * CPUs)``.
        data_size: Bytes of :attr:`KretprobeInstance.data`, at most 4096.
        kp: The probe at the entry (``struct kprobe``), with ``addr``, ``flags`` and ``nmissed``.
            Its handlers are set by registration.
        nmissed: Calls that were not followed because ``maxactive`` others were.
        members: The return probes that stand for it, as :attr:`Kprobe.members`.
    """

    __slots__ = (
        "data_size",
        "entry_handler",
        "handler",
        "kp",
        "maxactive",
        "members",
        "nmissed",
        "rethook",
    )

    def __init__(
        self,
        symbol_name: str | None = None,
        handler: ReturnHandler | None = None,
        entry_handler: ReturnHandler | None = None,
        maxactive: int = 0,
        data_size: int = 0,
        *,
        addr: int | None = None,
        offset: int = 0,
        flags: int = 0,
    ) -> None:
        self.kp = KretprobeEntry(symbol_name, addr=addr, offset=offset, flags=flags)
        self.handler = handler
        self.entry_handler = entry_handler
        self.maxactive = maxactive
        self.data_size = data_size
        self.nmissed = 0
        self.rethook: Rethook | None = None
        self.members: Sequence[Kretprobe] = ()

    def __repr__(self) -> str:
        if self.members:
            return f"<Kretprobe {self.kp.place}: {len(self.members)} probes>"
        return f"<Kretprobe {self.kp.place} nmissed={self.nmissed}>"
