"""Virtual addresses of the guest become addresses of the host, in compiled code.

The guest's own page tables are walked in its RAM as its MMU does it now: the registers that lead to
them are live words. So nothing is cached, and nothing can be stale. A page that is not there, a
table outside of RAM, a device or an address that no CPU takes give 0; a guest's fault is never
raised. The walkers of the host, ``boot/x86_64/walk.py`` and ``boot/arm64/translation.py``, say the
same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from llvmlite import ir

from kprobesim.arch.architecture import halves
from kprobesim.programs.guest import Guest
from kprobesim.sizes import MASK64

__all__ = ["I1", "I64", "const", "host_address", "word_at"]

I64, I1 = ir.IntType(64), ir.IntType(1)

_X86_FRAME = 0x000F_FFFF_FFFF_F000
_PRESENT, _LARGE = 1, 0x80

_ARM64_ADDRESS = 0x0000_FFFF_FFFF_FFFF
_VALID, _TABLE = 1, 2
_TG0, _TG1 = 0x000E_100C, 0x100C_0E00  # TCR_EL1.TG0 and TG1: a byte each, the shift of a granule


def const(value: int) -> ir.Constant:
    """A number of 64 bits."""
    return ir.Constant(I64, value & MASK64)


def word_at(b: ir.IRBuilder, address: int | ir.Value) -> ir.Value:
    """The 64-bit word at an address of the host's."""
    at = const(address) if isinstance(address, int) else address
    return b.load(b.inttoptr(at, I64.as_pointer()), align=8)


def host_address(module: ir.Module, guest: Guest) -> ir.Function:
    """The function of ``module`` that translates, made when first asked for."""
    name = "host_address"
    found = module.globals.get(name)
    if found is not None:
        return found
    function = ir.Function(module, ir.FunctionType(I64, [I64]), name)
    function.linkage = "internal"
    b = ir.IRBuilder(function.append_basic_block("entry"))
    nothing = function.append_basic_block("nothing")
    physical = _WALKS[guest.arch](b, guest, function.args[0], nothing)
    offset = b.sub(physical, const(guest.ram_base))
    _require(b, b.icmp_unsigned("<", offset, const(guest.ram_size)), nothing)
    b.ret(b.add(offset, const(guest.ram)))
    b.position_at_end(nothing)
    b.ret(const(0))
    return function


def _require(b: ir.IRBuilder, condition: ir.Value, otherwise: ir.Block) -> None:
    """Go on if ``condition`` holds."""
    on = b.function.append_basic_block()
    b.cbranch(condition, on, otherwise)
    b.position_at_end(on)


def _entry(
    b: ir.IRBuilder, guest: Guest, table: ir.Value, index: ir.Value, nothing: ir.Block
) -> ir.Value:
    """An entry of a page table at a physical address."""
    at = b.add(b.sub(table, const(guest.ram_base)), b.shl(index, const(3)))
    _require(b, b.icmp_unsigned("<", at, const(guest.ram_size - 7)), nothing)
    return word_at(b, b.add(at, const(guest.ram)))


def _walk_x86(b: ir.IRBuilder, guest: Guest, address: ir.Value, nothing: ir.Block) -> ir.Value:
    """The physical address: four levels, pages of 4 KiB, 2 MiB and 1 GiB (Intel SDM 3, 4.5)."""
    done = b.function.append_basic_block("done")
    found: list[tuple[ir.Value, ir.Block]] = []
    above = b.lshr(b.add(address, const(1 << 47)), const(48))
    _require(b, b.icmp_unsigned("==", above, const(0)), nothing)
    entry = word_at(b, guest.control["cr3"])
    for shift in (39, 30, 21, 12):
        table = b.and_(entry, const(_X86_FRAME))
        index = b.and_(b.lshr(address, const(shift)), const(511))
        entry = _entry(b, guest, table, index, nothing)
        _require(b, b.trunc(entry, I1), nothing)
        inside = (1 << shift) - 1
        leaf = b.or_(b.and_(entry, const(_X86_FRAME & ~inside)), b.and_(address, const(inside)))
        if shift in (30, 21):
            found.append((leaf, b.block))
            below = b.function.append_basic_block()
            large = b.icmp_unsigned("!=", b.and_(entry, const(_LARGE)), const(0))
            b.cbranch(large, done, below)
            b.position_at_end(below)
    found.append((leaf, b.block))
    b.branch(done)
    b.position_at_end(done)
    return _phi(b, found)


def _walk_arm64(b: ir.IRBuilder, guest: Guest, address: ir.Value, nothing: ir.Block) -> ir.Value:
    """The physical address: stage 1 of EL1, all granules, top bytes ignored as asked (Arm ARM D8).

    It is the virtual one while the MMU is off.
    """
    control, function = guest.control, b.function
    done, loop = function.append_basic_block("done"), function.append_basic_block("level")
    on = function.append_basic_block("on")
    found = [(address, b.block)]
    b.cbranch(b.trunc(word_at(b, control["sctlr"]), I1), on, done)
    b.position_at_end(on)
    tcr = word_at(b, control["tcr"])
    high = b.trunc(b.lshr(address, const(55)), I1)

    def of_half(above: ir.Value | int, below: ir.Value | int) -> ir.Value:
        values = [const(value) if isinstance(value, int) else value for value in (above, below)]
        return b.select(high, *values)

    untagged = b.ashr(b.shl(address, const(8)), const(8))
    ignored = b.trunc(b.lshr(tcr, of_half(38, 37)), I1)  # TBI1, TBI0
    address = b.select(ignored, untagged, address)
    unused = b.and_(b.lshr(tcr, of_half(16, 0)), const(63))  # T1SZ, T0SZ
    bits = b.sub(const(64), unused)
    _require(b, b.icmp_unsigned("!=", unused, const(0)), nothing)
    _require(b, b.icmp_signed("==", b.ashr(address, bits), of_half(-1, 0)), nothing)
    which = b.and_(b.lshr(tcr, of_half(30, 14)), const(3))
    granules = of_half(_TG1, _TG0)
    grain = b.and_(b.lshr(granules, b.shl(which, const(3))), const(0xFF))
    _require(b, b.icmp_unsigned("!=", grain, const(0)), nothing)
    stride = b.sub(grain, const(3))
    first = grain  # a division would take as long as all else
    for levels in (1, 2, 3):
        above = b.add(grain, b.mul(stride, const(levels)))
        first = b.select(b.icmp_unsigned("<", above, bits), above, first)
    root = of_half(word_at(b, control["ttbr1"]), word_at(b, control["ttbr0"]))
    root = b.and_(root, const(_ARM64_ADDRESS & ~1))
    offset = b.and_(address, b.lshr(const(-1), unused))
    largest = b.select(  # blocks: 1 GiB and 2 MiB, 32 MiB, or 512 MiB
        b.icmp_unsigned("==", grain, const(12)), const(30), b.add(grain, stride)
    )
    before = b.block
    b.branch(loop)

    b.position_at_end(loop)
    shift, table = b.phi(I64), b.phi(I64)
    shift.add_incoming(first, before)
    table.add_incoming(root, before)
    index = b.lshr(offset, shift)
    index = b.and_(index, b.sub(b.shl(const(1), stride), const(1)))
    entry = _entry(b, guest, table, index, nothing)
    _require(b, b.trunc(entry, I1), nothing)
    leads_on = b.icmp_unsigned("!=", b.and_(entry, const(_TABLE)), const(0))
    is_last = b.icmp_unsigned("==", shift, grain)
    below, leaf = function.append_basic_block("below"), function.append_basic_block("leaf")
    b.cbranch(b.and_(leads_on, b.not_(is_last)), below, leaf)

    b.position_at_end(below)
    frame = b.and_(const(_ARM64_ADDRESS), b.shl(const(-1), grain))
    table.add_incoming(b.and_(entry, frame), below)
    shift.add_incoming(b.sub(shift, stride), below)
    b.branch(loop)

    b.position_at_end(leaf)
    is_block = b.and_(b.not_(is_last), b.icmp_unsigned("<=", shift, largest))
    _require(b, b.or_(b.and_(is_last, leads_on), is_block), nothing)
    outside = b.shl(const(-1), shift)
    page = b.and_(b.and_(entry, const(_ARM64_ADDRESS)), outside)
    found.append((b.or_(page, b.and_(address, b.not_(outside))), b.block))
    b.branch(done)

    b.position_at_end(done)
    return _phi(b, found)


def _phi(b: ir.IRBuilder, values: list[tuple[ir.Value, ir.Block]]) -> ir.Value:
    phi = b.phi(I64)
    for value, block in values:
        phi.add_incoming(value, block)
    return phi


_WALKS: Mapping[str, Callable[[ir.IRBuilder, Guest, ir.Value, ir.Block], ir.Value]] = halves(
    x86_64=_walk_x86, arm64=_walk_arm64
)
