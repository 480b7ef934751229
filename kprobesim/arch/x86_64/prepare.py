"""What a probe needs before it can be armed: the copy in its slot, and how it is carried out.

The kernel's arch_prepare_kprobe after its boundary check: __copy_instruction, prepare_emulation and
prepare_singlestep (arch/x86/kernel/kprobes/core.c, Linux 6.1), in their order.
"""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import Literal

from kprobesim.arch.refused import Refused
from kprobesim.arch.x86_64.boost import UNBOOSTABLE_PREFIXES, can_boost
from kprobesim.arch.x86_64.boundary import Read, read_insn
from kprobesim.arch.x86_64.constants import INT3, INT3_SIZE, JMP32, JMP32_SIZE, MAX_INSN_SIZE
from kprobesim.arch.x86_64.emulate import emulate_kind, emulator
from kprobesim.arch.x86_64.fall_through import falls_through, repeats
from kprobesim.arch.x86_64.fix_up import FixUp, fix_up, goes_anywhere
from kprobesim.arch.x86_64.insn import Insn, Undecodable
from kprobesim.arch.x86_64.interfaces import Emulate
from kprobesim.errors import GuestMemoryError, Reason
from kprobesim.late_dataclasses import dataclass

__all__ = ["ArchInsn", "Options", "Stepping", "branch", "prepare", "relocate"]

Stepping = Literal["breakpoint", "trap"]
"""How a copied instruction ends: by the INT3 behind it (5.13 on), or by the trap flag (before)."""
Boost = Literal["after a step", "without post_handler", "when prepared"]
"""When a copy gets its jump back: see :mod:`kprobesim.arch.x86_64.boost`.

"when prepared": then it always boosts (5.13 on). "without post_handler": whoever takes the hit
asks whether there is one. "after a step": only the first step finds out that it can (2.6, 4.9).
"""

# What would hold back the trap behind it. The kernel's POP_SS_OPCODE (asm/insn.h) is in fact POP
# DS; 64-bit mode has neither, but a vector instruction with that opcode byte.
_POP_SS, _POP_DS, _MOV_SREG = 0x17, 0x1F, 0x8E


@dataclass(frozen=True)
class Options:
    """What decides besides the instruction.

    ``slot_size`` is in bytes; ``preemptible`` is CONFIG_PREEMPTION, which forbids boosting, as
    ``has_post_handler`` does. ``strict`` imitates the kernel's faults. ``has_exception_entry``:
    the address is in the exception table. ``emulates``: branches and flag pushes are emulated;
    else they are stepped like all others, those through memory and ``iret`` included, and put
    right afterwards. ``boost``, ``wide_boost_table``, ``group_boost``, ``unboostable_prefixes``:
    what is boosted.
    """

    slot_size: int = MAX_INSN_SIZE
    preemptible: bool = True
    strict: bool = False
    stepping: Stepping = "breakpoint"
    has_post_handler: bool = False
    has_exception_entry: bool = False
    emulates: bool = True
    boost: Boost = "when prepared"
    wide_boost_table: bool = True
    group_boost: bool = True
    unboostable_prefixes: frozenset[int] = UNBOOSTABLE_PREFIXES


@dataclass(frozen=True, slots=True)
class ArchInsn:
    """A prepared instruction, the kernel's ``struct arch_specific_insn``.

    ``insn`` is the address of the slot (None if it has none) and ``slot_bytes`` what belongs
    there, ``tp_len`` bytes. ``size`` is the length of the instruction. A ``boostable`` one runs in
    its slot and jumps back by itself, also if it could be emulated; else ``emulate``, of kind
    ``emulate_kind``, carries it out; else it is stepped in the slot, and ``fix_up`` (if any) puts
    right what it did there. ``late_boost`` is what to append to the slot after the first step, to
    boost it from then on (None: nothing to gain). ``decoded`` is the original.
    """

    insn: int | None
    size: int
    boostable: bool
    emulate: Emulate | None
    emulate_kind: str | None
    slot_bytes: bytes
    slot_size: int
    stepping: Stepping
    decoded: Insn
    fix_up: FixUp | None = None
    late_boost: bytes | None = None

    @property
    def falls_through(self) -> bool:
        """Whether the instruction behind it comes next, if it does not fault."""
        return self.emulate is None and falls_through(self.decoded)

    @property
    def repeats(self) -> bool:
        """Whether it comes to itself until it is done."""
        return repeats(self.decoded)

    @property
    def ends_block(self) -> bool:
        """Whether it is a branch, or may let interrupts in: there a block of Unicorn ends."""
        return self.emulate_kind not in (None, "push_flags", "cli")

    @property
    def shadows(self) -> bool:
        """Whether interrupts wait until the instruction behind it is done."""
        return self.emulate_kind == "sti"

    @property
    def tp_len(self) -> int:
        """Bytes of the slot that are in use."""
        return len(self.slot_bytes)

    def boosted(self) -> ArchInsn:
        """After the first step: ``late_boost`` done."""
        tail = self.late_boost or b""
        return replace(self, boostable=True, slot_bytes=self.slot_bytes + tail, late_boost=None)


def prepare(read: Read, address: int, *, slot: int | None, options: Options) -> ArchInsn:
    """Decide how to carry out the instruction at ``address``, and what to write into ``slot``.

    ``read(address, size)`` gives original bytes. ``slot=None`` asks for the decision alone.
    Raises :class:`~kprobesim.arch.refused.Refused` with -EINVAL, -EOPNOTSUPP or -ENOSPC. Whether
    ``address`` is an instruction boundary is not asked again.
    """
    insn = _copyable(read, address)
    copy = insn.raw if slot is None else relocate(insn, address, slot)
    kind = None
    if options.emulates:
        _refuse_unemulable(insn, address)
        kind = emulate_kind(insn, strict=options.strict)
    if options.slot_size - insn.length < INT3_SIZE:
        raise Refused(
            errno.ENOSPC,
            Reason.NO_SLOT,
            f"the instruction at {address:#x} has {insn.length} bytes and leaves no room for the "
            f"trap behind it in a slot of {options.slot_size}",
        )
    jump = late = None
    if slot is not None and not options.preemptible:
        if _boosts(insn, options):
            jump = branch(JMP32, slot + insn.length, address + insn.length)
        if options.boost == "after a step":
            jump, late = None, jump
        if not options.emulates and jump is None and goes_anywhere(insn):
            late = b""
    if slot is None:
        tail = copy = b""
    elif jump is not None:
        tail = jump
    else:
        tail = bytes([INT3]) if options.stepping == "breakpoint" else b""
    return ArchInsn(
        insn=slot,
        size=insn.length,
        boostable=jump is not None,
        emulate=None if kind is None else emulator(insn, address, kind, strict=options.strict),
        emulate_kind=kind,
        slot_bytes=copy + tail,
        slot_size=options.slot_size,
        stepping=options.stepping,
        decoded=insn,
        fix_up=None if options.emulates or slot is None else fix_up(insn, address, slot),
        late_boost=late,
    )


def _boosts(insn: Insn, options: Options) -> bool:
    """Whether a jump behind the copy can take the place of the trap."""
    if options.has_post_handler and options.boost == "when prepared":
        return False
    return options.slot_size - insn.length >= JMP32_SIZE and can_boost(
        insn,
        has_exception_entry=options.has_exception_entry,
        wide_table=options.wide_boost_table,
        group_boost=options.group_boost,
        unboostable_prefixes=options.unboostable_prefixes,
    )


def relocate(insn: Insn, address: int, destination: int) -> bytes:
    """The bytes of ``insn``, from ``address``, so that they mean the same at ``destination``.

    Only a RIP-relative displacement changes. Raises :class:`~kprobesim.arch.refused.Refused`
    (-EINVAL) if it no longer fits 32 bits.
    """
    if not insn.is_rip_relative:
        return insn.raw
    moved = address + insn.disp - destination
    try:
        displacement = moved.to_bytes(4, "little", signed=True)
    except OverflowError:
        raise Refused(
            errno.EINVAL,
            Reason.DISPLACEMENT,
            f"the instruction at {address:#x} refers to {address + insn.length + insn.disp:#x}, "
            f"out of reach of 32 bits from {destination:#x}",
        ) from None
    raw, at = insn.raw, insn.disp_offset
    return raw[:at] + displacement + raw[at + 4 :]


def _copyable(read: Read, address: int) -> Insn:
    """What __copy_instruction accepts.

    The kernel takes the opcode byte of a vector instruction for a one-byte opcode, and refuses some
    for nothing.
    """
    try:
        insn = read_insn(read, address)
    except Undecodable as error:
        raise Refused(
            errno.EINVAL, Reason.UNDECODABLE, f"no instruction at {address:#x}: {error}"
        ) from None
    except GuestMemoryError as error:
        raise Refused(errno.EINVAL, Reason.UNDECODABLE, str(error)) from None
    problem = None
    reason = Reason.UNPROBEABLE_INSTRUCTION
    opcode = insn.opcode[0]
    if insn.emulate_prefix:
        problem = "is marked to be emulated by a hypervisor"
    elif opcode == INT3:
        reason, problem = Reason.BREAKPOINT, "is a breakpoint already"
    elif (
        opcode == _POP_DS
        or (opcode == _POP_SS and insn.vex is None)
        or (opcode == _MOV_SREG and insn.reg == 2)
    ):
        problem = "loads SS, which holds back the trap behind it"
    if problem is not None:
        raise Refused(
            errno.EINVAL, reason, f"the instruction at {address:#x} ({insn.raw.hex(' ')}) {problem}"
        )
    return insn


def _refuse_unemulable(insn: Insn, address: int) -> None:
    """The branches that can neither be stepped nor emulated (-EOPNOTSUPP)."""
    opcode = insn.opcode[0]
    problem = None
    reason = Reason.FAR_BRANCH
    if opcode in (0x9A, 0xEA):
        problem = "branches to another code segment"
    elif opcode == 0xCF:
        problem = "returns from an interrupt"
    elif opcode == 0xFF and insn.reg in (3, 5):
        problem = "branches to another code segment"
    elif opcode == 0xFF and insn.reg in (2, 4):
        if not insn.is_register_form:
            problem = "branches to an address in memory"
        elif insn.addr_bytes != 8:
            problem = "branches with a 32-bit address size"
    elif insn.opcode == b"\x0f\x01" and insn.is_register_form and insn.reg == 0:
        reason, problem = Reason.UNPROBEABLE_INSTRUCTION, "enters or leaves a virtual machine"
    if problem is not None:
        raise Refused(
            errno.EOPNOTSUPP,
            reason,
            f"the instruction at {address:#x} ({insn.raw.hex(' ')}) {problem}",
        )


def branch(opcode: int, origin: int, target: int) -> bytes | None:
    """JMP or CALL rel32 at ``origin`` to ``target``, or None if that is too far."""
    distance = target - (origin + JMP32_SIZE)
    try:
        return bytes([opcode]) + distance.to_bytes(4, "little", signed=True)
    except OverflowError:
        return None
