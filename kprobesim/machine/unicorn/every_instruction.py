"""The registers before each instruction that runs, for those who look at a run afterwards.

By machine code, some 10 ns an instruction, and 2 ns one of another task; by Python where there is
none for this computer, 3 us: the same records. All translated code is dropped when it begins and
when it ends, so it is for one function or one system call. The guest's time counts blocks and is
the same.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Callable
from functools import cache

import unicorn

from kprobesim.errors import UsageError
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.machine.unicorn.host_code import put_functions
from kprobesim.machine.unicorn.native import SIGNATURE
from kprobesim.machine.unicorn.recording_code import AREA, CODE
from kprobesim.sizes import MASK64

__all__ = ["EveryInstruction"]

_KERNEL = (1 << 63, MASK64)
"""The addresses of a kernel: where only they are noted, programs run as fast as ever."""

_STACK = 16 << 10
_SHIFT = 13
"""Records lie in pieces of so many, as a power of two."""
_IN_PIECE = (1 << _SHIFT) - 1
_LOW, _SPAN, _NEXT, _END, _FULL = map(AREA.index, ("low", "span", "next", "end", "full"))


class EveryInstruction:
    """Notes in memory what runs; as a context manager it does so until the end of the block.

    Attributes:
        full: Whether more ran than ``most``; those are not noted.
        enough: Is called once, in the guest's run, when it is full.
    """

    def __init__(
        self,
        engine: Engine,
        words: int,
        most: int,
        sp: int,
        *,
        native: bool = True,
        everywhere: bool = False,
    ) -> None:
        """Note the first ``words`` registers of ``engine`` before ``most`` instructions.

        ``sp`` is the number of the stack pointer among them; ``native``: by machine code, where
        there is some; ``everywhere``: programs in user space are noted, too.
        """
        self._where = (0, MASK64) if everywhere else _KERNEL
        self.full = False
        self.enough: Callable[[], object] = lambda: None
        self._engine = engine
        self._words = words
        self._record = words + 1  # with the address
        self._sp = sp
        self._most = most
        self._pieces: list[memoryview] = []
        self._start = 0  # of the last one
        self._known = array("Q")
        self._span = MASK64
        python = SIGNATURE(self._guarded)
        address = ctypes.cast(python, ctypes.c_void_p).value or 0
        self._area = (ctypes.c_uint64 * len(AREA))(
            ctypes.addressof(engine.words), 8 * sp, 0, MASK64, 0, 0, words, address
        )
        self._python = python  # lives as long as translated code may call it
        self._function = (_code() if native else 0) or address
        self._hook: int | None = None

    # -- noting ------------------------------------------------------------------------------------

    def _guarded(self, _uc: int, address: int, _size: int, _data: int) -> None:
        """What the machine code does, and what it cannot: make room."""
        try:
            if self.notes_now:
                self._note(address)
        except BaseException as error:  # nothing may leave a C callback
            self._engine.hooks.keep(error)

    def _note(self, address: int) -> None:
        if len(self) >= self._most:
            if not self.full:
                self.full = True
                self.enough()
            return
        piece, at = self._room()
        piece[at] = address
        piece[at + 1 : at + self._record] = self._engine.window[: self._words]
        self._area[_NEXT] += 8 * self._record

    def _room(self) -> tuple[memoryview, int]:
        """A piece, and where in it the next record goes."""
        at = len(self) & _IN_PIECE
        if at == 0:  # the last one is full
            bytes_of_one = 8 * self._record
            memory = bytearray(bytes_of_one << _SHIFT)
            start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
            records = min(1 << _SHIFT, self._most - len(self))
            self._pieces.append(memoryview(memory).cast("Q"))
            self._start = self._area[_NEXT] = start
            self._area[_END] = start + records * bytes_of_one
        return self._pieces[-1], at * self._record

    def __enter__(self) -> EveryInstruction:
        if self._engine.running:
            raise UsageError("the guest runs: record from outside of handlers")
        self._engine.forget_all_code()
        self._hook = self._engine.hooks.add(
            unicorn.UC_HOOK_CODE,
            self._function,
            self._where,
            data=ctypes.addressof(self._area),
            keep=self._python,
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self._hook is not None:
            self._engine.hooks.unhook(self._hook)
            self._engine.forget_all_code()
            self._engine.hooks.forget(self._hook)
            self._hook = None

    @property
    def on(self) -> bool:
        """Whether what runs now is noted, if it is of the right task."""
        return bool(self._area[_SPAN])

    @on.setter
    def on(self, on: bool) -> None:
        self._area[_SPAN] = self._span if on else 0

    def only_task_of(self, sp: int) -> None:
        """Note only what runs on the stack that ``sp`` points into: one task.

        It may be interrupted, and others may run meanwhile. For a stack pointer near the top, as a
        system call's first one is: ``THREAD_SIZE`` may be a multiple of what is taken for it.
        """
        self._area[_LOW] = (sp - 1) & -_STACK
        self._span = _STACK + 1  # an empty one's is in it, too
        self.on = self.on

    @property
    def notes_now(self) -> bool:
        """Whether the instruction that runs now is noted."""
        return self.on and self.is_of_task(self._engine.window[self._sp])

    def is_of_task(self, sp: int) -> bool:
        """Whether a stack pointer is of the task whose instructions are noted."""
        return sp - self._area[_LOW] & MASK64 < self._span

    def note(self, address: int) -> None:
        """Note the registers as they are before the instruction at ``address``, and end there."""
        self.on = False
        if not len(self) or self.address(len(self) - 1) != address:
            self._most += 1
            self._note(address)

    def drop_last(self, address: int) -> None:
        """Forget the last record if it is of ``address``: the instruction there did not run."""
        if len(self) and self.address(len(self) - 1) == address:
            self._area[_NEXT] -= 8 * self._record

    # -- what was noted ----------------------------------------------------------------------------

    def __len__(self) -> int:
        if not self._pieces:
            return 0
        used = (self._area[_NEXT] - self._start) // (8 * self._record)
        return (len(self._pieces) - 1 << _SHIFT) + used

    @property
    def addresses(self) -> array[int]:
        """Of the instructions, in the order in which they ran."""
        known, record = self._known, self._record
        if len(known) != len(self):
            self._known = known = array("Q")
            for piece in self._pieces:
                known.extend(piece[::record].tolist())
            del known[len(self) :]
        return known

    def addresses_of(self, first: int, end: int) -> list[int]:
        """Of the instructions with the numbers from ``first`` to ``end``, without that."""
        found: list[int] = []
        while first < end:
            at = first & _IN_PIECE
            count = min(end - first, _IN_PIECE + 1 - at)
            record = self._record
            piece = self._pieces[first >> _SHIFT]
            found += piece[at * record : (at + count) * record : record].tolist()
            first += count
        return found

    def clear(self) -> None:
        """Forget what was noted."""
        self._pieces, self._known = [], array("Q")
        self._area[_NEXT] = self._area[_END] = self._start = 0
        self.full = False

    def address(self, number: int) -> int:
        """Where instruction ``number`` lies."""
        return self._pieces[number >> _SHIFT][self._record * (number & _IN_PIECE)]

    def register(self, number: int, word: int) -> int:
        """Register ``word`` before instruction ``number`` ran."""
        at = self._record * (number & _IN_PIECE) + 1 + word
        return self._pieces[number >> _SHIFT][at]


@cache
def _code() -> int:
    """Where the machine code is, once a process; 0 where there is none for this computer."""
    functions = put_functions(CODE)
    return functions["recorded"] if functions else 0
