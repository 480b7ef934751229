"""The look-up of a key in a :class:`~kprobesim.programs.stores.table.Table`, as code."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from kprobesim.programs.compiler.emitter import I32, I64, word
from kprobesim.programs.stores.table import HASH_FACTOR, TABLE

__all__ = ["table_function"]

_WORD = I64.as_pointer()
_CALLBACK = ir.FunctionType(ir.VoidType(), []).as_pointer()


def table_function(module: ir.Module, key_words: int, cell_words: int) -> ir.Function:
    """``find(head, key)``: the cell for a key, made if there is none; NULL: there is no room.

    Made once a module for each size.
    """
    name = f"find_{key_words}_{cell_words}"
    if name in module.globals:
        return module.globals[name]
    function = ir.Function(module, ir.FunctionType(_WORD, [_WORD, _WORD]), name)
    function.linkage = "internal"
    _Body(function, key_words, key_words + cell_words).emit()
    return function


class _Body:
    """The blocks of such a function."""

    def __init__(self, function: ir.Function, key_words: int, entry_words: int) -> None:
        self._head, self._key = function.args
        self._key_words, self._entry_words = key_words, entry_words
        names = "start again look compare next absent grow insert found lost"
        self._blocks = {name: function.append_basic_block(name) for name in names.split()}
        self._b: Any = ir.IRBuilder()

    def _at(self, block: str) -> Any:
        self._b.position_at_end(self._blocks[block])
        return self._b

    def _field(self, name: str) -> Any:
        return self._b.gep(self._head, [word(TABLE.index(name))])

    def _key_word(self, key: Any, number: int) -> Any:
        return self._b.load(self._b.gep(key, [word(number)]))

    def _entry(self, number: Any) -> Any:
        entries = self._b.inttoptr(self._b.load(self._field("entries")), _WORD)
        return self._b.gep(entries, [self._b.mul(number, word(self._entry_words))])

    def emit(self) -> None:
        """Append the code of all blocks."""
        blocks = self._blocks
        b = self._at("start")
        value: Any = word(0)
        for number in range(self._key_words):
            value = b.mul(b.xor(value, self._key_word(self._key, number)), word(HASH_FACTOR))
            value = b.xor(value, b.lshr(value, word(32)))
        grown = b.alloca(I64)
        b.store(word(0), grown)
        b.branch(blocks["again"])

        b = self._at("again")
        mask = b.load(self._field("mask"))
        index = b.inttoptr(b.load(self._field("index")), I32.as_pointer())
        first = b.and_(value, mask)
        b.branch(blocks["look"])

        b = self._at("look")
        at = b.phi(I64)
        at.add_incoming(first, blocks["again"])
        number = b.zext(b.load(b.gep(index, [at])), I64)
        b.cbranch(b.icmp_unsigned("==", number, word(0)), blocks["absent"], blocks["compare"])

        b = self._at("compare")
        entry = self._entry(b.sub(number, word(1)))
        same: Any = None
        for n in range(self._key_words):
            one, other = self._key_word(entry, n), self._key_word(self._key, n)
            equal = b.icmp_unsigned("==", one, other)
            same = equal if same is None else b.and_(same, equal)
        b.cbranch(same, blocks["found"], blocks["next"])

        b = self._at("next")
        at.add_incoming(b.and_(b.add(at, word(1)), mask), blocks["next"])
        b.branch(blocks["look"])

        b = self._at("absent")
        used, room = b.load(self._field("used")), b.load(self._field("room"))
        b.cbranch(b.icmp_unsigned("<", used, room), blocks["insert"], blocks["grow"])

        b = self._at("grow")
        b.cbranch(
            b.icmp_unsigned("==", b.load(grown), word(0)), self._call_grow(grown), blocks["lost"]
        )

        b = self._at("insert")
        new = self._entry(used)
        for n in range(self._key_words):
            b.store(self._key_word(self._key, n), b.gep(new, [word(n)]))
        for n in range(self._key_words, self._entry_words):
            b.store(word(0), b.gep(new, [word(n)]))
        after = b.add(used, word(1))
        b.store(after, self._field("used"))
        b.store(b.trunc(after, I32), b.gep(index, [at]))
        b.branch(blocks["found"])

        b = self._at("found")
        cell = b.phi(_WORD)
        cell.add_incoming(entry, blocks["compare"])
        cell.add_incoming(new, blocks["insert"])
        b.ret(b.gep(cell, [word(self._key_words)]))

        b = self._at("lost")
        lost = self._field("lost")
        b.store(b.add(b.load(lost), word(1)), lost)
        b.ret(ir.Constant(_WORD, None))

    def _call_grow(self, grown: Any) -> Any:
        """A block that asks Python for room, once, and looks again."""
        block = self._blocks["start"].function.append_basic_block("make_room")
        b = ir.IRBuilder(block)
        b.store(word(1), grown)
        at = b.load(b.gep(self._head, [word(TABLE.index("grow"))]))
        b.call(b.inttoptr(at, _CALLBACK), [])
        b.branch(self._blocks["again"])
        return block
