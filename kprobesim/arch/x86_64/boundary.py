"""Whether an address is the start of an instruction (can_probe, arch/x86/kernel/kprobes/core.c).

x86 instructions have no fixed length, so the only way to know is to decode from the start of the
function, on the bytes as they were before any probe.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Set

from kprobesim.arch.refused import Refused
from kprobesim.arch.x86_64.constants import INT3, MAX_INSN_LENGTH
from kprobesim.arch.x86_64.insn import Insn, Undecodable, decode, length
from kprobesim.errors import GuestMemoryError, Reason
from kprobesim.sizes import PAGE

__all__ = ["Read", "boundaries", "check_boundary", "is_exception_insn", "read_insn"]

# movl $-id, %r10d; addl -4(%target), %r10d; je over; ud2. The trap's handler decodes the first two.
_TO_CFI_TRAP = {0xBA: 12, 0x03: 6}

Read = Callable[[int, int], bytes]
"""``read(address, size)``: the original bytes; ``GuestMemoryError`` where none are mapped."""


def _read_up_to(read: Read, address: int, size: int) -> bytes:
    """``size`` bytes, or what the page of ``address`` still has if the next one is not mapped."""
    try:
        return read(address, size)
    except GuestMemoryError:
        in_page = PAGE - address % PAGE
        if in_page >= size:
            raise
        return read(address, in_page)


def read_insn(read: Read, address: int) -> Insn:
    """Decode the one instruction at ``address``.

    Raises :class:`Undecodable`, or ``GuestMemoryError`` for unmapped bytes.
    """
    return decode(_read_up_to(read, address, MAX_INSN_LENGTH))


def boundaries(read: Read, start: int, end: int) -> Iterator[int]:
    """The address of each instruction from ``start`` up to, and once past or at, ``end``.

    The last address yielded is the first one not below ``end``. Raises as :func:`read_insn`.
    """
    address = start
    while address < end:
        base = address
        span = min(PAGE - base % PAGE, end - base)
        code = _read_up_to(read, base, span + MAX_INSN_LENGTH)
        offset = 0
        while offset < span and offset < len(code):
            yield base + offset
            offset += length(code, offset)
        address = base + offset
    yield address


def _may_hold(byte: int, read: Read, start: int, end: int) -> bool:
    """Whether ``byte`` is in that code, or not all of it can be read at once."""
    code = _read_up_to(read, start, end - start)
    return byte in code or len(code) < end - start


def check_boundary(
    read: Read,
    symbol_start: int,
    address: int,
    *,
    refuse_exception_insns: bool = False,
    int3_ends_walk: bool = False,
    cfi_traps: Set[int] = frozenset(),
) -> None:
    """Raise :class:`Refused` (-EILSEQ) unless an instruction starts at ``address``.

    ``symbol_start`` is the start of the enclosing symbol. With ``refuse_exception_insns``, as
    since Linux 6.13, bytes at ``address`` that are no instruction or one made to trap (INT3, INT n,
    UD2 ...) are refused here; 6.1 leaves the former and INT3 to
    :func:`kprobesim.arch.x86_64.prepare.prepare`, and accepts the others. ``int3_ends_walk``: as
    before 5.13, a breakpoint on the way is taken for somebody else's. ``cfi_traps``: the UD2s of
    kCFI's checks in a kernel that guards these (6.6 on); then, too, the bytes at ``address`` must
    be an instruction.
    """
    at = symbol_start
    try:
        looks = int3_ends_walk and _may_hold(INT3, read, symbol_start, address)
        for boundary in boundaries(read, symbol_start, address):
            at = boundary
            if looks and at < address and read_insn(read, at).opcode[0] == INT3:
                raise Undecodable("a breakpoint that no probe has set")
        judged = at == address and (refuse_exception_insns or cfi_traps)
        target = read_insn(read, at) if judged else None
    except Undecodable as error:
        raise Refused(
            errno.EILSEQ,
            Reason.UNDECODABLE,
            f"no instruction boundary can be found: at {at:#x} is no instruction ({error})",
        ) from None
    except GuestMemoryError as error:
        raise Refused(
            errno.EILSEQ,
            Reason.UNDECODABLE,
            f"no instruction boundary can be found from {symbol_start:#x} on: {error}",
        ) from None
    if at != address:
        raise Refused(
            errno.EILSEQ,
            Reason.NOT_INSTRUCTION_BOUNDARY,
            f"{address:#x} lies inside an instruction; the next one starts at {at:#x}",
        )
    if target is None:
        return
    if refuse_exception_insns and is_exception_insn(target):
        raise Refused(
            errno.EILSEQ,
            Reason.UNPROBEABLE_INSTRUCTION,
            f"the instruction at {address:#x} ({target.raw.hex(' ')}) is made to trap",
        )
    distance = _TO_CFI_TRAP.get(target.opcode[0])
    if distance is not None and address + distance in cfi_traps:
        raise Refused(
            errno.EILSEQ,
            Reason.CFI_CHECK,
            f"the instruction at {address:#x} ({target.raw.hex(' ')}) belongs to the kCFI check at "
            f"{address + distance:#x}, whose trap reads it; probe the call behind that",
        )


def is_exception_insn(insn: Insn) -> bool:
    """Whether an instruction only exists to trap: INT3, INT n, INTO, INT1, UD0, UD1, UD2.

    The kernel looks at the opcode byte of a vector instruction, too: ``vpsllw``, F1, is refused.
    """
    if insn.opcode[0] == 0x0F:
        return insn.opcode[1:] in (b"\x0b", b"\xb9", b"\xff")
    return insn.opcode[0] in (0xCC, 0xCD, 0xCE, 0xF1)
