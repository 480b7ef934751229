"""Values as LLVM's intermediate form: the code that computes each of them at a hit.

A value becomes a word of 64 bits (a signed one is sign-extended, a string the address of its
zero-padded bytes) and whether it is a fault, which is ``None`` where it never is. What was computed
once is not computed again where that is known to have happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

from llvmlite import ir

from kprobesim.arch.architecture import architecture
from kprobesim.programs.by_python import ByPython
from kprobesim.programs.choices import OrElse, Select, or_else
from kprobesim.programs.compiler.context import emit_context
from kprobesim.programs.compiler.matching import emit_matches
from kprobesim.programs.compiler.memory import GuestMemoryCode
from kprobesim.programs.compiler.refusal import NotCompiledError
from kprobesim.programs.compiler.task import TaskCode
from kprobesim.programs.guest import Guest
from kprobesim.programs.leaves import Argument, Fact, Register, Result, StackArgument
from kprobesim.programs.matching import Length, Matches
from kprobesim.programs.types import ALWAYS_KNOWN, AT_PLACE, Int, Str
from kprobesim.programs.values import Cast, Const, Load, Operation, Text, TextConst, Value
from kprobesim.sizes import MASK64

__all__ = ["I1", "I8", "I32", "I64", "Emitted", "Emitter", "word"]

I1, I8, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 32, 64))
IrValue: TypeAlias = Any  # llvmlite has no types


class Emitted(NamedTuple):
    """A value in code: its word, and whether it is a fault; ``None``: it never is."""

    word: IrValue
    fault: IrValue


def word(number: int) -> IrValue:
    """A constant of 64 bits."""
    return ir.Constant(I64, number & MASK64)


class Emitter:
    """Emits the values of one function.

    Attributes:
        builder: Where code is appended.
        here: The address of the probe, in code.
        saved: In the second half of a return program: the words of the call, in code.
        task: Emits facts.
        guest: Where in the host all that is read of the guest is.
    """

    def __init__(self, builder: Any, guest: Guest, here: IrValue) -> None:
        """Begin.

        Args:
            builder: Stands in the first block of the function.
            guest: Where in the host all that is read of the guest is.
            here: The address of the probe, in code.
        """
        self.builder = builder
        self.here = here
        self.saved: dict[tuple[Any, ...], IrValue] = {}
        self._abi = architecture(guest.arch).abi
        self.guest = guest
        self._registers = guest.window
        self._memory = GuestMemoryCode(builder.module, guest)
        self.task = TaskCode(guest, self._memory, self._abi)
        self._entry = builder.block
        self._known: dict[tuple[Any, ...], Emitted] = {}
        self._emit: dict[type[Value], Callable[[Any], Emitted]] = {
            Argument: self._argument,
            ByPython: self._by_python,
            Cast: self._cast,
            Const: lambda value: Emitted(word(value.number), None),
            Fact: self._fact,
            Length: lambda value: Emitted(self._read_text(value.text)[1], None),
            Load: self._load,
            Matches: self._matches,
            Operation: self._operation,
            OrElse: self._or_else,
            Register: self._named_register,
            Result: lambda _: self._register(self._abi.number(self._abi.result)),
            Select: self._select,
            StackArgument: self._stack_argument,
            Text: self._text,
            TextConst: self._text_const,
        }

    def value(self, value: Value) -> Emitted:
        """The code that computes ``value``."""
        known = self._known.get(value.shape)
        if known is None:
            known = self._known[value.shape] = self._emit[type(value)](value)
        return known

    @contextmanager
    def sometimes(self) -> Iterator[None]:
        """What is emitted within is not always executed, so nothing behind may rely on it."""
        before = dict(self._known)
        yield
        self._known = before

    # -- building blocks ---------------------------------------------------------------------------

    def pointer(self, address: int | IrValue, kind: Any = I64) -> IrValue:
        """The word or what else is at an address of the host's."""
        constant = ir.Constant(I64, address) if isinstance(address, int) else address
        return self.builder.inttoptr(constant, kind.as_pointer())

    def read(self, address: int | IrValue) -> IrValue:
        """The word at an address of the host's."""
        return self.builder.load(self.pointer(address))

    def buffer(self, size: int) -> IrValue:
        """The address of ``size`` zeroed bytes on the stack, whole words; a pointer to words."""
        with self.builder.goto_entry_block():
            space = self.builder.alloca(I64, size // 8)
        for at in range(size // 8):
            self.builder.store(word(0), self.builder.gep(space, [word(at)]))
        return space

    def either(self, one: IrValue, other: IrValue) -> IrValue:
        """Whether one of two is a fault."""
        if one is None or other is None:
            return one if other is None else other
        return self.builder.or_(one, other)

    def widen(self, value: IrValue, kind: Int) -> IrValue:
        """The word for the low bits of ``value``."""
        if kind.bits == 64:
            return value
        low = self.builder.trunc(value, ir.IntType(kind.bits))
        return (self.builder.sext if kind.signed else self.builder.zext)(low, I64)

    def truth(self, emitted: Emitted) -> IrValue:
        """Whether a value is neither 0 nor a fault."""
        true = self.builder.icmp_unsigned("!=", emitted.word, word(0))
        if emitted.fault is None:
            return true
        return self.builder.and_(true, self.builder.not_(emitted.fault))

    # -- the kinds of values -----------------------------------------------------------------------

    def _register(self, number: int) -> Emitted:
        return Emitted(self.read(self._registers + 8 * number), None)

    def _named_register(self, value: Register) -> Emitted:
        if value.name not in self._abi.registers:
            raise NotCompiledError(f"{value} is put together by Python")
        return self._register(self._abi.number(value.name))

    def _argument(self, value: Argument) -> Emitted:
        saved = self.saved.get(value.shape)
        if saved is not None:
            return Emitted(saved, None)
        return self._register(self._abi.number(self._abi.arguments[value.n]))

    def _stack_argument(self, value: StackArgument) -> Emitted:
        saved = self.saved.get(value.shape)
        if saved is not None:
            return Emitted(saved, None)
        abi = self._abi
        at = abi.return_bytes + 8 * (value.n - len(abi.arguments))
        return self.value(or_else(Register(abi.stack_pointer).deref(at), 0))

    def _by_python(self, value: ByPython) -> Emitted:
        raise NotCompiledError(f"{value} needs Python")

    def _cast(self, value: Cast) -> Emitted:
        of = self.value(value.value)
        return Emitted(self.widen(of.word, value.kind), of.fault)

    def _fact(self, value: Fact) -> Emitted:
        saved = self.saved.get(value.shape)
        if saved is not None:
            return Emitted(saved, None)
        if value.name == "here":
            return Emitted(self.here, None)
        if isinstance(value.type, Str):
            space = self.buffer(value.type.size)
            fault = self.task.comm(self.builder, self.builder.bitcast(space, I8.as_pointer()))
            return Emitted(self.builder.ptrtoint(space, I64), fault)
        if value.name in ("context", "ids"):
            words = emit_context(self.builder, self.guest, self._memory, self.task)
            for name, found in zip(("context", "ids"), words, strict=True):
                self._known[Fact(name).shape] = Emitted(found, None)
            return self._known[value.shape]
        if value.name in AT_PLACE:
            caller = self.saved.get(Fact("caller").shape)
            known_caller = None if caller is None else (caller, ir.Constant(I1, 0))
            emit = getattr(self.task, value.name)
            return Emitted(*emit(self.builder, self.here, known_caller))
        known, fault = self.task.facts[value.name](self.builder)
        return Emitted(known, None if value.name in ALWAYS_KNOWN else fault)

    def _load(self, value: Load) -> Emitted:
        address = self.value(value.address)
        at = self.builder.add(address.word, word(value.offset))
        number, fault = self._memory.read(self.builder, at, value.kind.size, user=value.user)
        return Emitted(self.widen(number, value.kind), self.either(address.fault, fault))

    def _text(self, value: Text) -> Emitted:
        b, address, space = self.builder, self.value(value.address), self.buffer(value.type.size)
        out = b.bitcast(space, I8.as_pointer())
        length = self._memory.read_string(b, address.word, out, value.bound - 1, user=value.user)
        length = self._no_empty(value, address.word, length)
        fault = b.icmp_signed("<", length, word(0))
        return Emitted(b.ptrtoint(space, I64), self.either(address.fault, fault))

    def text_length(self, value: Text, out: IrValue) -> IrValue:
        """Write a string to ``out``, with nothing behind it: its length, -1 for a fault."""
        b, address = self.builder, self.value(value.address)
        at = address.word
        if address.fault is not None:
            at = b.select(address.fault, word(0), at)
        size = value.bound - 1
        length = self._memory.read_string(b, at, out, size, user=value.user, pad=False)
        length = self._no_empty(value, at, length)
        return length if address.fault is None else b.select(address.fault, word(-1), length)

    def _no_empty(self, value: Text, at: IrValue, length: IrValue) -> IrValue:
        """The length of a string, or -1 where an empty one is a fault."""
        if not value.nonempty:
            return length
        b = self.builder
        is_users = b.icmp_unsigned("==", b.and_(b.lshr(at, word(55)), word(1)), word(0))
        is_fault = b.and_(is_users, b.icmp_unsigned("==", length, word(0)))
        return b.select(is_fault, word(-1), length)

    def _read_text(self, text: Text) -> tuple[IrValue, IrValue]:
        """A copy of a text, and how long it is; of one that cannot be read 0."""
        b = self.builder
        with b.goto_entry_block():
            space = b.alloca(I8, text.type.size)
        length = self.text_length(text, space)
        return space, b.select(b.icmp_signed("<", length, word(0)), word(0), length)

    def _matches(self, value: Matches) -> Emitted:
        """A text that cannot be read is an empty one."""
        b, text = self.builder, value.text
        assert isinstance(text.type, Str)
        if isinstance(text, Text):
            space, length = self._read_text(text)
        else:
            emitted, length = self.value(text), word(text.type.size)
            space = b.inttoptr(emitted.word, I8.as_pointer())
            if emitted.fault is not None:
                length = b.select(emitted.fault, word(0), length)
        return Emitted(emit_matches(b, value.pattern, space, length), None)

    def _text_const(self, value: TextConst) -> Emitted:
        size = value.type.size
        data = value.data.ljust(size, b"\0")
        space = self.buffer(size)
        for at in range(0, size, 8):
            number = int.from_bytes(data[at : at + 8], "little")
            self.builder.store(word(number), self.builder.gep(space, [word(at // 8)]))
        return Emitted(self.builder.ptrtoint(space, I64), None)

    # -- operations --------------------------------------------------------------------------------

    def _operation(self, value: Operation) -> Emitted:
        if value.is_lazy:
            return self._lazy(value)
        left, right = self.value(value.left), self.value(value.right)
        fault = self.either(left.fault, right.fault)
        if isinstance(value.left.type, Str):
            return Emitted(self._same_text(value, left.word, right.word), fault)
        if value.operator in ("//", "%"):
            return self._divide(value, left.word, right.word, fault)
        return Emitted(self._compute(value, left.word, right.word), fault)

    def _lazy(self, value: Operation) -> Emitted:
        """``&`` and ``|`` of truths: the right side is computed only if the left one is open."""
        b, left = self.builder, self.value(value.left)
        zero = word(0)
        compare = "!=" if value.operator == "&" else "=="
        is_open = b.icmp_unsigned(compare, left.word, zero)
        if left.fault is not None:
            is_open = b.and_(is_open, b.not_(left.fault))
        before = b.block
        with b.if_then(is_open), self.sometimes():
            right = self.value(value.right)
            right_fault = ir.Constant(I1, 0) if right.fault is None else right.fault
            inside = b.block
        result = b.phi(I64)
        result.add_incoming(left.word, before)
        result.add_incoming(right.word, inside)
        if left.fault is None and right.fault is None:
            return Emitted(result, None)
        fault = b.phi(I1)
        fault.add_incoming(ir.Constant(I1, 0) if left.fault is None else left.fault, before)
        fault.add_incoming(right_fault, inside)
        return Emitted(result, fault)

    def _or_else(self, value: OrElse) -> Emitted:
        of = self.value(value.value)
        if of.fault is None:
            return of
        return Emitted(self.builder.select(of.fault, word(value.number), of.word), None)

    def _select(self, value: Select) -> Emitted:
        b, condition = self.builder, self.value(value.condition)
        met = self.truth(condition)
        made: list[tuple[Emitted, Any]] = []
        end = b.append_basic_block("chosen")
        blocks = [b.append_basic_block(name) for name in ("yes", "no")]
        b.cbranch(met, *blocks)
        for block, side in zip(blocks, (value.yes, value.no), strict=True):
            b.position_at_end(block)
            with self.sometimes():
                made.append((self.value(side), b.block))
            b.branch(end)
        b.position_at_end(end)
        result = b.phi(I64)
        for one, block in made:
            result.add_incoming(one.word, block)
        if all(one.fault is None for one, _ in made):
            return Emitted(self.widen(result, value.kind), condition.fault)
        fault = b.phi(I1)
        for one, block in made:
            fault.add_incoming(ir.Constant(I1, 0) if one.fault is None else one.fault, block)
        return Emitted(self.widen(result, value.kind), self.either(condition.fault, fault))

    def _same_text(self, value: Operation, left: IrValue, right: IrValue) -> IrValue:
        b = self.builder
        sizes = value.left.type.size, value.right.type.size
        same = ir.Constant(I1, 1)
        for at in range(0, max(sizes), 8):
            one, other = (
                self.read(b.add(text, word(at))) if at < size else word(0)
                for text, size in zip((left, right), sizes, strict=True)
            )
            same = b.and_(same, b.icmp_unsigned("==", one, other))
        if value.operator == "!=":
            same = b.not_(same)
        return b.zext(same, I64)

    def _compute(self, value: Operation, left: IrValue, right: IrValue) -> IrValue:
        b, operator = self.builder, value.operator
        if operator in ("==", "!=", "<", "<=", ">", ">="):
            compare = b.icmp_signed if value.compares_signed else b.icmp_unsigned
            return b.zext(compare(operator, left, right), I64)
        if operator in ("<<", ">>"):
            return self._shift(value, left, right)
        instruction = {"+": b.add, "-": b.sub, "*": b.mul, "&": b.and_, "|": b.or_, "^": b.xor}
        return instruction[operator](left, right)

    def _shift(self, value: Operation, left: IrValue, right: IrValue) -> IrValue:
        """By 64 bits and more nothing is left, but of a negative number its sign."""
        b, signed = self.builder, value.kind.signed
        far = b.icmp_unsigned(">", right, word(63))
        by = b.select(far, word(63), right)
        if value.operator == "<<":
            return b.select(far, word(0), b.shl(left, by))
        if signed:
            return b.ashr(left, by)
        return b.select(far, word(0), b.lshr(left, by))

    def _divide(self, value: Operation, left: IrValue, right: IrValue, fault: IrValue) -> Emitted:
        """As Python's; what the processor would trap for is done without dividing."""
        b = self.builder
        zero = b.icmp_unsigned("==", right, word(0))
        fault, wants_rest = self.either(fault, zero), value.operator == "%"
        if not value.kind.signed:
            by = b.select(zero, word(1), right)
            return Emitted((b.urem if wants_rest else b.udiv)(left, by), fault)
        minus = b.icmp_signed("==", right, word(-1))
        by = b.select(b.or_(zero, minus), word(1), right)
        quotient, rest = b.sdiv(left, by), b.srem(left, by)
        other_sign = b.icmp_signed("<", b.xor(rest, by), word(0))
        down = b.and_(b.icmp_signed("!=", rest, word(0)), other_sign)
        if wants_rest:  # of a division by 1 or -1 it is 0
            return Emitted(b.select(down, b.add(rest, by), rest), fault)
        quotient = b.select(down, b.sub(quotient, word(1)), quotient)
        return Emitted(b.select(minus, b.neg(left), quotient), fault)
