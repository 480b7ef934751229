"""Guest memory in compiled code: numbers and strings by virtual address, or the fault marker."""

from __future__ import annotations

from llvmlite import ir

from kprobesim.programs.compiler.walk import I1, I64, const, host_address
from kprobesim.programs.guest import Guest
from kprobesim.sizes import PAGE

__all__ = ["GuestMemoryCode"]

_I8 = ir.IntType(8)
_READ = ir.LiteralStructType([I64, I1])
_ONES, _HIGHS = 0x0101_0101_0101_0101, 0x8080_8080_8080_8080


class GuestMemoryCode:
    """What one module needs of the memory of ``guest``: functions that are made when first used."""

    def __init__(self, module: ir.Module, guest: Guest) -> None:
        self._module = module
        self._guest = guest

    def read(
        self, b: ir.IRBuilder, address: ir.Value, size: int, *, user: bool = False
    ) -> tuple[ir.Value, ir.Value]:
        """The unsigned number of ``size`` bytes (1, 2, 4 or 8) at a virtual address.

        Args:
            b: Where code is being made.
            address: ``i64``.
            size: It may cross from a page into the next.
            user: As ``copy_from_user()``, which takes no address of the kernel's.

        Returns:
            ``i64``, and ``i1``: it is a fault, and the number 0.
        """
        result = b.call(self._reader(size, user), [address])
        return b.extract_value(result, 0), b.extract_value(result, 1)

    def read_string(
        self,
        b: ir.IRBuilder,
        address: ir.Value,
        out: ir.Value,
        bound: int,
        *,
        user: bool = False,
        pad: bool = True,
    ) -> ir.Value:
        """Copy the string at a virtual address, without its NUL, and fill the rest with zeroes.

        Args:
            b: Where code is being made.
            address: ``i64``.
            out: ``i8*``, room for ``bound`` bytes.
            bound: The string is cut there.
            user: As ``strncpy_from_user()``, which takes no address of the kernel's.
            pad: Whether the rest is filled with zeroes.

        Returns:
            ``i64``: how many bytes it has, -1 for a fault.
        """
        return b.call(self._string_reader(user, pad), [address, out, const(bound)])

    # -- functions ---------------------------------------------------------------------------------

    def _new(self, name: str, kind: ir.FunctionType) -> tuple[ir.Function, ir.IRBuilder]:
        function = ir.Function(self._module, kind, name)
        function.linkage = "internal"
        return function, ir.IRBuilder(function.append_basic_block("entry"))

    def _host(self, b: ir.IRBuilder, address: ir.Value, fault: ir.Block) -> ir.Value:
        """The host's address; a fault if there is none."""
        at = b.call(host_address(self._module, self._guest), [address])
        on = b.function.append_basic_block()
        b.cbranch(b.icmp_unsigned("!=", at, const(0)), on, fault)
        b.position_at_end(on)
        return at

    def _refuse_kernel(self, b: ir.IRBuilder, address: ir.Value, fault: ir.Block) -> None:
        """``access_ok()``: bit 55 says which half it is, whatever a tag makes of bit 63."""
        on = b.function.append_basic_block()
        b.cbranch(b.trunc(b.lshr(address, const(55)), I1), fault, on)
        b.position_at_end(on)

    def _reader(self, size: int, user: bool) -> ir.Function:
        name = f"read_{'user_' if user else ''}{size}"
        found = self._module.globals.get(name)
        if found is not None:
            return found
        function, b = self._new(name, ir.FunctionType(_READ, [I64]))
        address = function.args[0]
        fault = function.append_basic_block("fault")
        if user:
            self._refuse_kernel(b, address, fault)
        if size > 1:
            across, within = function.append_basic_block(), function.append_basic_block()
            offset = b.and_(address, const(PAGE - 1))
            b.cbranch(b.icmp_unsigned(">", offset, const(PAGE - size)), across, within)
            b.position_at_end(across)
            b.ret(b.call(self._reader_across(), [address, const(size)]))
            b.position_at_end(within)
        number = ir.IntType(8 * size)
        place = b.inttoptr(self._host(b, address, fault), number.as_pointer())
        value = b.load(place, align=1)
        b.ret(_result(b, value if size == 8 else b.zext(value, I64), 0))
        b.position_at_end(fault)
        b.ret(_result(b, const(0), 1))
        return function

    def _reader_across(self) -> ir.Function:
        """Byte by byte, which a page's end is rare enough for."""
        found = self._module.globals.get("read_across")
        if found is not None:
            return found
        function, b = self._new("read_across", ir.FunctionType(_READ, [I64, I64]))
        address, size = function.args
        fault, loop = function.append_basic_block("fault"), function.append_basic_block("byte")
        before = b.block
        b.branch(loop)
        b.position_at_end(loop)
        done, value = b.phi(I64), b.phi(I64)
        done.add_incoming(const(0), before)
        value.add_incoming(const(0), before)
        at = self._host(b, b.add(address, done), fault)
        byte = b.zext(b.load(b.inttoptr(at, _I8.as_pointer())), I64)
        more = b.or_(value, b.shl(byte, b.shl(done, const(3))))
        next_ = b.add(done, const(1))
        value.add_incoming(more, b.block)
        done.add_incoming(next_, b.block)
        end = function.append_basic_block("end")
        b.cbranch(b.icmp_unsigned("<", next_, size), loop, end)
        b.position_at_end(end)
        b.ret(_result(b, more, 0))
        b.position_at_end(fault)
        b.ret(_result(b, const(0), 1))
        return function

    def _string_reader(self, user: bool, pad: bool) -> ir.Function:
        """Page by page, in it by words, and what is left by bytes."""
        name = f"read_{'user_' if user else ''}string{'_padded' if pad else ''}"
        found = self._module.globals.get(name)
        if found is not None:
            return found
        kind = ir.FunctionType(I64, [I64, _I8.as_pointer(), I64])
        function, b = self._new(name, kind)
        address, out, bound = function.args
        page, words, word, bytes_, byte, ended, cut, fault = (
            function.append_basic_block(each)
            for each in ("page", "words", "word", "bytes", "byte", "ended", "cut", "fault")
        )
        if user:
            self._refuse_kernel(b, address, fault)
        before = b.block
        b.branch(page)

        b.position_at_end(page)  # `done` bytes are copied, and a page begins
        done = b.phi(I64)
        done.add_incoming(const(0), before)
        virtual = b.add(address, done)
        source = b.sub(self._host(b, virtual, fault), done)
        left = b.sub(const(PAGE), b.and_(virtual, const(PAGE - 1)))
        end = b.add(done, left)
        end = b.select(b.icmp_unsigned("<", end, bound), end, bound)
        translated = b.block
        b.branch(words)

        b.position_at_end(words)
        at = b.phi(I64)
        at.add_incoming(done, translated)
        b.cbranch(b.icmp_unsigned("<=", b.add(at, const(8)), end), word, bytes_)
        b.position_at_end(word)
        value = b.load(b.inttoptr(b.add(source, at), I64.as_pointer()), align=1)
        zeroes = b.and_(b.and_(b.sub(value, const(_ONES)), b.not_(value)), const(_HIGHS))
        has_no_nul = b.icmp_unsigned("==", zeroes, const(0))
        copy = function.append_basic_block("copy")
        b.cbranch(has_no_nul, copy, bytes_)
        b.position_at_end(copy)
        b.store(value, b.bitcast(b.gep(out, [at]), I64.as_pointer()), align=1)
        at.add_incoming(b.add(at, const(8)), copy)
        b.branch(words)

        b.position_at_end(bytes_)
        single = b.phi(I64)
        single.add_incoming(at, words)
        single.add_incoming(at, word)
        here, over = function.append_basic_block("here"), function.append_basic_block("over")
        b.cbranch(b.icmp_unsigned("<", single, end), here, over)
        b.position_at_end(here)
        character = b.load(b.inttoptr(b.add(source, single), _I8.as_pointer()))
        b.cbranch(b.icmp_unsigned("==", character, ir.Constant(_I8, 0)), ended, byte)
        b.position_at_end(byte)
        b.store(character, b.gep(out, [single]))
        single.add_incoming(b.add(single, const(1)), byte)
        b.branch(bytes_)
        b.position_at_end(over)
        done.add_incoming(single, over)
        b.cbranch(b.icmp_unsigned("<", single, bound), page, cut)

        b.position_at_end(cut)
        b.ret(bound)
        b.position_at_end(ended)
        if pad:
            self._clear(b, out, single, bound)
        b.ret(single)
        b.position_at_end(fault)
        if pad:
            self._clear(b, out, const(0), bound)
        b.ret(const(-1))
        return function

    def _clear(self, b: ir.IRBuilder, out: ir.Value, start: ir.Value, end: ir.Value) -> None:
        fill = self._module.declare_intrinsic("llvm.memset", [_I8.as_pointer(), I64])
        place, size = b.gep(out, [start]), b.sub(end, start)
        b.call(fill, [place, ir.Constant(_I8, 0), size, ir.Constant(I1, 0)])


def _result(b: ir.IRBuilder, value: ir.Value, fault: int) -> ir.Value:
    whole = b.insert_value(ir.Constant(_READ, ir.Undefined), value, 0)
    return b.insert_value(whole, ir.Constant(I1, fault), 1)
