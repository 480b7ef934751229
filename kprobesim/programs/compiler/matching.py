"""The code that holds a text against a pattern (:mod:`kprobesim.programs.patterns`).

The states of the pattern are bits of one number, as wide as the pattern is long, and what a byte
does to them is a word of a table.
"""

from __future__ import annotations

from llvmlite import ir

from kprobesim.programs.compiler.walk import I64, const
from kprobesim.programs.patterns import Pattern

__all__ = ["emit_matches"]

_I8 = ir.IntType(8)
_MOST = 512  # states: a filter's texts have at most 255 characters


def emit_matches(b: ir.IRBuilder, pattern: Pattern, text: ir.Value, length: ir.Value) -> ir.Value:
    """Whether a text is like ``pattern``: 1 or 0, ``i64``.

    Args:
        b: Where code is being made.
        pattern: It.
        text: ``i8*``.
        length: ``i64``; a NUL may end it before that.
    """
    return b.call(_matcher(b.module, pattern), [text, length])


def _matcher(module: ir.Module, pattern: Pattern) -> ir.Function:
    """A function of a text and its length, which a NUL may make shorter: 1 or 0."""
    states = ir.IntType(next(n for n in (64, 128, 256, _MOST) if n > len(pattern.sets)))
    number = sum(1 for name in module.globals if name.startswith("matcher"))
    function = ir.Function(
        module, ir.FunctionType(I64, [_I8.as_pointer(), I64]), f"matcher{number}"
    )
    function.linkage = "internal"
    kind = ir.ArrayType(states, 256)
    table = ir.GlobalVariable(module, kind, f"pattern{number}")
    table.initializer, table.global_constant = ir.Constant(kind, [*pattern.table]), True
    table.linkage = "internal"
    text, length = function.args
    entry, more, byte, step, end = (
        function.append_basic_block(name) for name in ("entry", "more", "byte", "step", "end")
    )
    b = ir.IRBuilder(entry)
    b.branch(more)
    b.position_at_end(more)
    at, now = b.phi(I64), b.phi(states)
    b.cbranch(b.icmp_unsigned("<", at, length), byte, end)
    b.position_at_end(byte)
    character = b.load(b.gep(text, [at]))
    b.cbranch(b.icmp_unsigned("==", character, ir.Constant(_I8, 0)), end, step)
    b.position_at_end(step)
    accepted = b.load(b.gep(table, [const(0), b.zext(character, I64)]))
    one = ir.Constant(states, 1)
    moved = b.shl(b.and_(now, accepted), one)
    stayed = b.and_(now, ir.Constant(states, pattern.stars))
    for phi, first, then in (
        (at, const(0), b.add(at, const(1))),
        (now, one, b.or_(moved, stayed)),
    ):
        phi.add_incoming(first, entry)
        phi.add_incoming(then, step)
    b.branch(more)
    b.position_at_end(end)
    last = b.lshr(now, ir.Constant(states, len(pattern.sets)))
    b.ret(b.zext(b.trunc(last, ir.IntType(1)), I64))
    return function
