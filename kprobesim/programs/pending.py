"""``Pending``: the calls that compiled return programs follow, in memory that their code shares.

A call is known by where its stack pointer is after the return, which no two calls share, of
whatever task (as in :mod:`kprobesim.kprobes.rethook`). No byte of the guest changes: at the entry
an instance gets the return address, that stack pointer and the time, and is put before the others
of the same stack; where the call returns to, a block starts, and there it is found again. The code
that does this is in :mod:`~kprobesim.programs.compiler.returns`.

- Calls of one stack are in one list, the newest first. A stack is taken for ``THREAD_SIZE`` bytes.
- A return takes the instances of that very call, of all programs, in that order, and gives back
  those of calls deeper in the same stack, which can never return.
- What a task had called when it died is given back when the CPU has left it for ever.
- Places that calls return to stay known until the last return program has gone.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from kprobesim.programs.stores.words import Words, address_of, new_words
from kprobesim.sizes import MASK64

__all__ = [
    "GOLDEN",
    "INSTANCE",
    "LISTS",
    "MOST_SITES",
    "SAVED",
    "SITES",
    "STACK_SHIFT",
    "STATE",
    "Call",
    "Pending",
    "Pool",
]

INSTANCE = ("next", "key", "ret_addr", "serial", "entered", "free", "block", "returned")
"""An instance's first words: the next older of its list, or the next free one; the stack pointer
after the return; where it returns to; its number; the time of the entry; where the program keeps
its first free one; the program's block, and its function."""
SAVED = len(INSTANCE)
"""Behind them what the program saves at the entry."""
STACK_SHIFT = 14
"""THREAD_SIZE is a multiple of that many bytes, and aligned to it."""
LISTS, SITES = 1 << 12, 1 << 17
"""How many lists there are, and room for how many return addresses; powers of two."""
MOST_SITES = SITES * 3 // 4
GOLDEN = 0x9E37_79B9_7F4A_7C15
"""2 ** 64 over the golden ratio: what is multiplied with it differs in its high bits."""
STATE = ("serial", "sites", "dead")
"""Words: how many calls were ever followed; how many return addresses are known; the stack pointer
of a task that has died, until the CPU has left it."""

_NEXT, _KEY, _SERIAL, _FREE, _BLOCK, _RETURNED = map(
    INSTANCE.index, ("next", "key", "serial", "free", "block", "returned")
)

_CALL = tuple(map(INSTANCE.index, ("serial", "key", "ret_addr", "entered")))
_SERIALS = STATE.index("serial")


class Call(NamedTuple):
    """A call that is followed, as plain data.

    Attributes:
        serial: Its number: of two, the newer has the larger.
        key: The stack pointer after the return.
        ret_addr: Where it returns to.
        entered: The time of the entry.
        saved: What the program keeps from it.
    """

    serial: int
    key: int
    ret_addr: int
    entered: int
    saved: tuple[int, ...]


class Pool:
    """The instances of one return probe: ``maxactive`` calls at a time."""

    def __init__(self, maxactive: int, saved: int, block: Words, at: int, free: int) -> None:
        """All are free.

        Args:
            maxactive: How many.
            saved: How many words each keeps from the entry.
            block: Words of which the program's block is a part.
            at: Where that begins.
            free: Which of the words is to have the first free instance.
        """
        self._size = SAVED + saved
        self._free = block, free
        self._words = words = new_words(maxactive * self._size)
        for number in reversed(range(maxactive)):
            one = number * self._size
            words[one + _FREE], words[one + _BLOCK] = address_of(block, free), address_of(block, at)
            words[one + _NEXT], block[free] = block[free], address_of(words, one)

    def return_to(self, function: int) -> None:
        """The address of the function that is called at a return."""
        for at in range(_RETURNED, len(self._words), self._size):
            self._words[at] = function

    def take(self, saved: Sequence[int]) -> Words | None:
        """A free instance with what is to be kept; ``None``: all are in use."""
        block, free = self._free
        if not block[free]:
            return None
        instance = _words_at(block[free], self._size)
        block[free] = instance[_NEXT]
        instance[SAVED:] = list(saved)
        return instance

    def call(self, instance: int) -> Call:
        """What an instance, by its address, says."""
        words = _words_at(instance, self._size)
        serial, key, ret_addr, entered = (words[at] for at in _CALL)
        return Call(serial, key, ret_addr, entered, tuple(words[SAVED:]))

    def in_use(self) -> list[int]:
        """The addresses of those that are not free."""
        block, free = self._free
        start, end = address_of(self._words), address_of(self._words) + ctypes.sizeof(self._words)
        idle, at = set(), block[free]
        while at:
            idle.add(at)
            at = self._words[(at - start) // 8 + _NEXT]
        if len(idle) * self._size == len(self._words):
            return []
        return [at for at in range(start, end, 8 * self._size) if at not in idle]


class Pending:
    """All calls that are followed in one guest."""

    def __init__(self) -> None:
        self.lists = new_words(LISTS)
        self.sites = new_words(SITES)
        self.state = new_words(len(STATE))

    def __len__(self) -> int:
        """How many instances there are, those that never return among them."""
        return sum(1 for _ in self._links())

    def _links(self) -> Iterator[tuple[Words, Words]]:
        """Each instance, behind the word that leads to it."""
        for number, first in enumerate(self.lists):
            if first:
                link = _words_at(address_of(self.lists, number), 1)
                while link[0]:
                    instance = _words_at(link[0], SAVED)
                    yield link, instance
                    if link[0] == ctypes.addressof(instance):  # it is still there
                        link = instance

    def _give_back(self, which: Callable[[Words], bool]) -> None:
        for link, instance in self._links():
            if which(instance):
                _give_back(link, instance)

    def drop(self, pool: Pool) -> None:
        """A program is gone: its calls are not followed any more."""
        for address in pool.in_use():
            key = _words_at(address, SAVED)[_KEY]
            link = _words_at(address_of(self.lists, _list_number(key)), 1)
            while link[0] not in (0, address):
                link = _words_at(link[0], SAVED)
            if link[0]:  # else it has just returned, and is given back when that is over
                _give_back(link, _words_at(address, SAVED))

    def give_back_all(self) -> None:
        """No call is followed any more."""
        self._give_back(lambda _: True)

    def calls(self, pool: Pool) -> list[Call]:
        """Those of a program."""
        return [pool.call(address) for address in pool.in_use()]

    def follow(self, calls: Iterable[tuple[Pool, Call]]) -> None:
        """Follow calls again that :meth:`calls` gave, of all programs.

        Raises:
            ValueError: They are more than can be followed, or keep something else.
        """
        for pool, call in sorted(calls, key=lambda each: each[1].serial):
            instance = pool.take(call.saved)
            if instance is None:
                raise ValueError("more calls than there are instances")
            for at, value in zip(_CALL, call[:4], strict=True):
                instance[at] = value
            number = _list_number(call.key)
            instance[_NEXT], self.lists[number] = self.lists[number], ctypes.addressof(instance)
            self._know_site(call.ret_addr)
            self.state[_SERIALS] = max(self.state[_SERIALS], call.serial)

    def _know_site(self, address: int) -> None:
        number = _slot(address, SITES)
        while self.sites[number] not in (0, address):
            number = (number + 1) % SITES
        if not self.sites[number]:
            self.sites[number] = address
            self.state[STATE.index("sites")] += 1

    def save(self) -> int:
        """How many calls have been followed, for :meth:`restore`."""
        return int(self.state[_SERIALS])

    def restore(self, serial: int) -> None:
        """The newer calls will never return."""
        if self.state[_SERIALS] != serial:
            self._give_back(lambda one: one[_SERIAL] > serial)

    def clear(self) -> None:
        """Nobody follows anything: forget also where calls return to."""
        ctypes.memset(self.lists, 0, ctypes.sizeof(self.lists))
        ctypes.memset(self.sites, 0, ctypes.sizeof(self.sites))
        self.state[STATE.index("sites")] = self.state[STATE.index("dead")] = 0


def _slot(value: int, size: int) -> int:
    """Where what has to do with ``value`` is looked for, of ``size`` places."""
    return (value * GOLDEN & MASK64) >> 65 - size.bit_length()


def _list_number(key: int) -> int:
    """Which list has the calls of a stack; the end of one is still its own."""
    return _slot((key - 1 & MASK64) >> STACK_SHIFT, LISTS)


def _give_back(link: Words, instance: Words) -> None:
    """Take an instance out, to which the word ``link`` leads."""
    link[0], free = instance[_NEXT], _words_at(instance[_FREE], 1)
    instance[_NEXT], free[0] = free[0], ctypes.addressof(instance)


def _words_at(address: int, count: int) -> Words:
    return (ctypes.c_uint64 * count).from_address(address)
