"""``Kprobe``: a probe as the kernel's ``struct kprobe`` describes it."""

from __future__ import annotations

import enum
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from kprobesim.errors import UsageError

if TYPE_CHECKING:
    from kprobesim.machine.registers import Arm64PtRegs, PtRegs, X86PtRegs
    from kprobesim.machine.unicorn.native import Native

__all__ = [
    "DISABLED_OR_GONE",
    "FaultHandler",
    "HandlerAbandoned",
    "Kprobe",
    "KprobeFlag",
    "ListType",
    "PostHandler",
    "PreHandler",
    "is_true",
    "registered_flags",
]

# ``regs`` may be declared as ``PtRegs`` or as those of one architecture.
PreHandler = (
    Callable[["Kprobe", "PtRegs"], "int | None"]
    | Callable[["Kprobe", "X86PtRegs"], "int | None"]
    | Callable[["Kprobe", "Arm64PtRegs"], "int | None"]
)
"""``pre_handler(p, regs)``: non-zero means "I have set where to go on"."""
PostHandler = (
    Callable[["Kprobe", "PtRegs", int], None]
    | Callable[["Kprobe", "X86PtRegs", int], None]
    | Callable[["Kprobe", "Arm64PtRegs", int], None]
)
"""``post_handler(p, regs, flags)``: runs after the probed instruction; ``flags`` is 0."""
FaultHandler = (
    Callable[["Kprobe", "PtRegs", int], "int | None"]
    | Callable[["Kprobe", "X86PtRegs", int], "int | None"]
    | Callable[["Kprobe", "Arm64PtRegs", int], "int | None"]
)
"""``fault_handler(p, regs, trapnr)``: non-zero means "handled, go on with these registers"."""


class HandlerAbandoned(BaseException):
    """A handler's memory access faulted and its fault_handler said that this was handled."""


class ListType(enum.Enum):
    """What a probe is, by the letter that debugfs' ``kprobes/list`` shows (kernel/kprobes.c)."""

    KPROBE = "k"
    JPROBE = "j"
    KRETPROBE = "r"


def is_true(answer: object, what: str, subject: object) -> bool:
    """Whether a handler's ``answer``, an ``int`` or nothing in the kernel, is not zero.

    Args:
        answer: What it returned.
        what: The name of the field that it is in.
        subject: The probe, or what else has the field.

    Raises:
        UsageError: It is something else, which was hardly meant as an answer.
    """
    if answer is None:
        return False
    try:
        return operator.index(answer) != 0  # type: ignore[arg-type]
    except TypeError:
        raise UsageError(
            f"{what} of {subject!r} returned {answer!r}: return None or 0 for the usual way, or a "
            "number to say that something was done"
        ) from None


class KprobeFlag(enum.IntFlag):
    """The values of ``Kprobe.flags`` (include/linux/kprobes.h)."""

    GONE = 1
    DISABLED = 2
    OPTIMIZED = 4
    FTRACE = 8
    ON_FUNC_ENTRY = 16


# The operators of enumerations take a microsecond each.
_DISABLED, _FTRACE = int(KprobeFlag.DISABLED), int(KprobeFlag.FTRACE)
_ON_FUNC_ENTRY = int(KprobeFlag.ON_FUNC_ENTRY)
_FLAGS = [KprobeFlag(bits) for bits in range(2 * KprobeFlag.ON_FUNC_ENTRY)]


def registered_flags(flags: int, *, at_entry: bool, ftrace: bool) -> KprobeFlag:
    """What registration makes of a probe's ``flags``: of these, DISABLED stays."""
    kept = int(flags) & _DISABLED
    return _FLAGS[kept | at_entry * _ON_FUNC_ENTRY | ftrace * _FTRACE]


_CHECKED = {"pre_handler", "post_handler", "fault_handler", "addr", "flags", "nmissed"}

DISABLED_OR_GONE = int(KprobeFlag.DISABLED | KprobeFlag.GONE)
"""A probe with one of these flags is not hit."""


class Kprobe:
    """A breakpoint with handlers.

    >>> kp = Kprobe(symbol_name="kernel_clone", pre_handler=lambda p, regs: print(regs.arg(0)))

    Attributes:
        symbol_name: ``const char *``, a symbol, or ``"symbol+0x10"`` for an offset in it.
        offset: ``unsigned int``, bytes from the symbol.
        addr: ``kprobe_opcode_t *``, the probe's address, instead of a symbol; filled in by
            registration, and not to be changed until it is unregistered. (The kernel would look
            for the probe in one place of its table and disarm another.)
        pre_handler: Called before the instruction.
        post_handler: Called after it.
        fault_handler: Called when the instruction or a handler faults.
        opcode: What the breakpoint replaced (x86-64: one byte; ARM64: one word).
        ainsn: How the instruction is executed (``struct arch_specific_insn``).
        detour: Where a hit goes on instead, if the probe is optimised.
        flags: :class:`KprobeFlag`; set ``KprobeFlag.DISABLED`` to register it unarmed.
        registered_at: Where it is registered, if it is.
        members: The probes that stand for it where it is planted, each with the name of a function,
            if ``symbol_name`` is a pattern (``"vfs_*"``) or several names (``"vfs_read,vfs_*"``).
        nmissed: Hits whose handlers did not run because a probe was being handled.

    Unregistering leaves ``addr`` set and ``flags`` DISABLED, as in the kernel: clear both to
    register it again.
    """

    __slots__ = (
        "addr",
        "ainsn",
        "detour",
        "fault_handler",
        "flags",
        "members",
        "nmissed",
        "offset",
        "opcode",
        "post_handler",
        "pre_handler",
        "registered_at",
        "symbol_name",
    )

    list_type = ListType.KPROBE
    """What debugfs' ``kprobes/list`` calls it."""
    own_arming: Literal["auto", "hook"] = "auto"
    """How it is armed where no other probe is and nobody asks for another way."""
    native: Native | None = None
    """A compiled function that does all that ``pre_handler`` does, and never moves the CPU."""
    told_nobody = 0
    """Hits by ``native``, which no listener hears of."""
    registered_at: int | None
    symbol_name: str | None
    addr: int | None
    offset: int
    flags: KprobeFlag
    opcode: int
    ainsn: Any
    detour: int | None
    nmissed: int
    members: Sequence[Kprobe]

    def __init__(
        self,
        symbol_name: str | None = None,
        *,
        addr: int | None = None,
        offset: int = 0,
        pre_handler: PreHandler | None = None,
        post_handler: PostHandler | None = None,
        fault_handler: FaultHandler | None = None,
        flags: int = 0,
    ) -> None:
        if not isinstance(flags, int):
            raise UsageError(f"flags {flags!r} is no KprobeFlag")
        put = object.__setattr__  # 10,000 are made at once, and only handlers can be wrong
        put(self, "registered_at", None)
        put(self, "symbol_name", symbol_name)
        put(self, "addr", addr)
        put(self, "offset", offset)
        self.pre_handler = pre_handler
        self.post_handler = post_handler
        self.fault_handler = fault_handler
        put(self, "flags", _FLAGS[flags] if 0 <= flags < len(_FLAGS) else KprobeFlag(flags))
        put(self, "opcode", 0)
        put(self, "ainsn", None)
        put(self, "detour", None)
        put(self, "nmissed", 0)
        put(self, "members", ())

    def __setattr__(self, name: str, value: object) -> None:
        """Set a field; raises :class:`UsageError` for what would only be noticed at a hit."""
        if name in _CHECKED:
            if name.endswith("_handler"):
                if value is not None and not callable(value):
                    raise UsageError(f"{name} is {value!r}: give a function, or None")
            elif name == "addr":
                if self.registered_at not in (None, value):
                    raise UsageError(
                        f"{self!r} is registered there: unregister it before you move it"
                    )
            elif not isinstance(value, int):
                raise UsageError(f"{name} is {value!r}: give an int")
        object.__setattr__(self, name, value)

    def __getstate__(self) -> dict[str, Any]:
        """Of a copy nothing is registered."""
        state = {name: getattr(self, name) for name in Kprobe.__slots__}
        return state | {"registered_at": None, "members": ()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)

    def count_miss(self) -> None:
        """``kprobes_inc_nmissed_count()``: it was hit, and its handlers did not run."""
        self.nmissed += 1

    def share(self, ainsn: Any) -> None:
        """The instruction has been prepared anew, for everybody at this address."""
        self.ainsn = ainsn

    @property
    def disabled(self) -> bool:
        """``kprobe_disabled()``: disabled, or gone with its module."""
        # Enumerations take a microsecond for that, and heads of several probes ask at every hit.
        return int.__and__(self.flags, DISABLED_OR_GONE) != 0

    @property
    def is_stored(self) -> bool:
        """Whether a snapshot can hold all that there is of it, but for handlers."""
        return self.list_type is ListType.KPROBE

    @property
    def is_stored_by_others(self) -> bool:
        """Whether what it belongs to is stored, and makes it again."""
        return False

    @property
    def place(self) -> str:
        """Where it is, for people: "gcd+0x4 at 0xffffffff810007a4"."""
        place = str(self.symbol_name or "?")
        if self.offset:
            place += f"+{_number(self.offset)}"
        return place if self.addr is None else f"{place} at {_number(self.addr)}"

    def __repr__(self) -> str:
        if self.members:
            return f"<Kprobe {self.place}: {len(self.members)} probes>"
        return f"<Kprobe {self.place} nmissed={self.nmissed}>"

    def _repr_html_(self) -> str:
        """For a notebook."""
        from kprobesim import html

        flags = KprobeFlag(self.flags).name if self.flags else None
        named = ("pre_handler", "post_handler", "fault_handler")
        handlers = [(name, getattr(self, name)) for name in named]
        pairs = [("flags", flags), ("nmissed", self.nmissed), *handlers]
        return html.facts(self.place, pairs)


def _number(value: object) -> str:
    """A field for people, also before somebody has looked whether it makes sense."""
    return f"{value:#x}" if isinstance(value, int) else repr(value)
