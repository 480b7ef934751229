"""What an instruction says of the accesses that it makes: whether others can come in between.

A marked access (``READ_ONCE()``, ``smp_store_release()``, ``atomic_read()``) is a load or a store
as any other where a processor's are atomic anyway, so an instruction only tells what is *not*
marked: what is read, changed and written without being atomic, what a copy, a string instruction
or a vector moves, and what lies across words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from typing import Any

from kprobesim.arch.architecture import ARM64, halves
from kprobesim.arch.arm64.ordering import ordering
from kprobesim.arch.ordering import Ordering
from kprobesim.races.lanes.freeing import FREES
from kprobesim.why.decode import Code
from kprobesim.why.instruction import Insn, Kind, Memory, Register

__all__ = ["BITS", "AccessKinds", "How", "Update"]


class How:
    """What is known of an access: bits, as plain numbers, since each access is asked for them."""

    PLAIN = 0
    """A load or a store that may be marked."""
    ATOMIC = 1
    """Read, changed and written in one: LOCK, XCHG, LDXR and STXR, the instructions of LSE."""
    UPDATE = 2
    """Read, changed and written by one instruction, but not atomically."""
    MANY = 4
    """Of a copy, a string, a vector, or across words: nobody makes a marked access so."""
    OWN = 8
    """Of this CPU's area, by its segment: only it changes what is there."""
    LOCKS = 16
    """Of a lock's own function: what it does is what orders others."""
    FREES = 32
    """Of what frees memory: nobody may use meanwhile what it stores to."""
    RELEASE = 64
    """A store that is seen behind all that its CPU has stored before: on x86-64 each is."""
    ACQUIRE = 128
    """A load that all behind it waits for, by itself or by a barrier for loads alone: it is meant
    to, which a full barrier does not say, as most atomics have one beside them."""
    FENCE = 256
    """A barrier between earlier and later stores."""


class Update(Enum):
    """What became of a value between a load and a store."""

    NONE = 0
    """What is stored is not made of it."""
    BITS = 1
    """Bits of it were set or cleared: done twice, the result is the same."""
    NUMBER = 2
    """It was counted, or changed in some other way."""
    FAR = 3
    """Both are too far from each other for their code alone to tell."""


BITS = frozenset(("or", "orr", "and", "bic", "bfi", "bfxil", "bfc", "bts", "btr"))
_LOCK, _DS = 0xF0, 0x3E
_STRINGS = re.compile(r"(?:rep\w* )?(?:movs|stos|lods|cmps|scas)[bwdq]$")
_EXCLUSIVE = re.compile(r"(?:ld|st)a?l?xp?r?[bh]?$|(?:ld|st)[al]?x[rp][bh]?$")
_LSE = re.compile(r"(?:cas|swp|(?:ld|st)(?:add|clr|set|eor|[su]max|[su]min))p?a?l?[bh]?$")
_LOCK_FUNCTIONS = re.compile(
    r"_*(?:(?:raw_|native_|pv_)*(?:queued_|do_raw_|raw_)?(?:spin|read|write)_(?:un|try)?lock"
    r"|queued_(?:spin|read|write)|mutex_|ww_mutex_|rt_mutex|rtmutex|rt_spin|rt_read|rt_write"
    r"|rwsem_|(?:down|up)(?:_read|_write|_timeout|_interruptible|_killable|_trylock)?(?:_|$|\.)"
    r"|downgrade_write|osq_|mcs_|percpu_(?:up|down|rwsem|is)|rwbase_|slowlock|try_to_take_rt)"
)
_COPIES = re.compile(
    r"_*(?:pi_|kasan_|asan_|msan_)*(?:mem(?:cpy|move|set|cmp|chr|scan)|str[a-z]|"
    r"(?:raw_|arch_|rep_)*(?:copy|clear)_(?:to|from|in|user|page|mc))"
)
_NEAR = 512  # bytes of code between a load and the store of what became of it


class AccessKinds:
    """The instructions of one guest, each looked at once.

    Attributes:
        weak: Whether others may see two stores in another order than that in which they were made.
        code: The instructions.
    """

    def __init__(
        self,
        arch: str,
        read: Callable[[int, int], bytes],
        function_at: Callable[[int], str],
    ) -> None:
        """Know none yet.

        Args:
            arch: The guest's.
            read: Its memory, by virtual address and size.
            function_at: The name of the function at an address.
        """
        self.weak = arch == ARM64.name
        self.code = Code(arch, read)
        self._kind = _KIND[arch]
        self._read, self._function_at = read, cache(function_at)
        self._known: dict[int, int] = {}
        self._names: dict[int, str] = {}
        self._updates: dict[tuple[int, int], Update] = {}

    def at(self, pc: int) -> int:
        """How the instruction at ``pc`` accesses memory: bits of :class:`How`."""
        known = self._known.get(pc)
        if known is None:
            insn = self.code.at(pc)
            known = How.PLAIN if insn is None else self._kind(insn, self._read(pc, insn.size))
            name = self._function_at(pc)
            if _LOCK_FUNCTIONS.match(name):
                known |= How.LOCKS | How.RELEASE
            elif _COPIES.match(name):
                known |= How.MANY
            elif name.partition(".")[0] in FREES:
                known |= How.FREES
            self._known[pc] = known
        return known

    def are_in_one_function(self, one: int, other: int) -> bool:
        """Whether the instructions at two addresses are of the same function."""
        names = self._names
        for pc in one, other:
            if pc not in names:
                names[pc] = self._function_at(pc)
        return names[one] == names[other]

    def update(self, load: int, store: int) -> Update:
        """Whether what is stored at ``store`` is made of what was loaded at ``load``, just before.

        Args:
            load: The address of an instruction.
            store: The address of the instruction that stores.
        """
        found = self._updates.get((load, store))
        if found is None:
            found = self._updates[load, store] = self._follow(load, store)
        return found

    def _follow(self, load: int, store: int) -> Update:
        if not load < store < load + _NEAR or not self.are_in_one_function(load, store):
            return Update.FAR
        at, found, made = load, Update.BITS, set[int]()
        while at <= store:
            insn = self.code.at(at)
            if insn is None:
                return Update.NONE
            for move in insn.moves:
                of_it = (at == load and any(isinstance(s, Memory) for s in move.sources)) or any(
                    isinstance(s, Register) and s.number in made for s in move.sources
                )
                if of_it and move.kind is not Kind.COPY and insn.mnemonic not in BITS:
                    found = Update.NUMBER
                if at == store and isinstance(move.target, Memory):
                    return found if of_it else Update.NONE
                if isinstance(move.target, Register):
                    (made.add if of_it else made.discard)(move.target.number)
            at = insn.end
        return Update.NONE


def _kind_x86(insn: Insn, raw: bytes) -> int:
    words = insn.text.split(" ")
    how = How.PLAIN
    memory = [m for move in insn.moves for m in (move.target, *move.sources)]
    places = [place for place in memory if isinstance(place, Memory)]
    if any(place.segment for place in places) or "gs:" in insn.text:
        how |= How.OWN
    updates = any(
        isinstance(move.target, Memory) and move.target in move.sources for move in insn.moves
    ) or (insn.mnemonic in _UPDATES and "[" in insn.text.partition(",")[0])
    if insn.mnemonic == "xchg" and "[" in insn.text:
        return how | How.ATOMIC
    # One CPU alone has DS prefixes where LOCK was (alternatives_smp_unlock()); GCC makes none.
    locked = words[0] == "lock" or _LOCK in raw[:2] or _DS in raw[:2]
    if updates:
        return how | (How.ATOMIC if locked else How.UPDATE)
    if _STRINGS.match(" ".join(words[:2]) if words[0].startswith("rep") else words[0]):
        how |= How.MANY
    if re.search(r"\b[xyz]mm\d", insn.text):
        how |= How.MANY
    return how


_UPDATES = frozenset(
    "add sub and or xor inc dec not neg adc sbb bts btr btc shl shr sar rol ror xadd cmpxchg "
    "cmpxchg8b cmpxchg16b".split()
)


_ORDERS = (
    (Ordering.RELEASE | Ordering.FULL, How.RELEASE),
    (Ordering.ACQUIRE | Ordering.ACQUIRE_PC | Ordering.LOADS, How.ACQUIRE),
    (Ordering.STORES | Ordering.FULL, How.FENCE),
)


def _kind_arm64(insn: Insn, raw: bytes) -> int:
    name, order = insn.mnemonic, ordering(raw)
    how = sum(bit for orderings, bit in _ORDERS if order & orderings)
    if order & Ordering.FULL:
        how &= ~How.ACQUIRE
    if _EXCLUSIVE.match(name) or _LSE.match(name):
        return how | How.ATOMIC
    operand = insn.text.partition(" ")[2].lstrip("{ ")
    return how | How.MANY if re.match(r"[vqd]\d", operand) and name[:2] in ("ld", "st") else how


_KIND: Mapping[str, Callable[[Any, bytes], int]] = halves(x86_64=_kind_x86, arm64=_kind_arm64)
