"""Who is called before an instruction, and at each block: one hook of each kind, for any number.

Unicorn walks a list of all its hooks at each hit, and at each instruction that it translates. Here
each engine has one hook of code and one of blocks, so that Unicorn bakes the call into what it
translates, without a list (``gen_uc_tracecode()``, 2.1.4). Which instructions are hooked is decided
when a block is translated (:mod:`~kprobesim.machine.unicorn.translate_code`): those that are armed
then. So what is armed costs nothing where it is not, however much there is, and is exact wherever
blocks begin: an instruction is translated anew in each block that it is part of.

Unicorn lets each block look for a stop by one more call at its start. The call of blocks looks,
too, so that other one is left out where both would be: a tenth of a boot's time.

Arming needs what was translated from there to be forgotten, as with any hook.

Where functions of Unicorn's cannot be replaced (:mod:`.interposition`), each armed address has a
hook of its own (:mod:`.single_hooks`): as exact, and slow where there are many.
"""

from __future__ import annotations

import ctypes
import struct
import threading
import weakref
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Protocol, TypeAlias

from kprobesim.arch.architecture import halves
from kprobesim.errors import EngineError
from kprobesim.machine.unicorn import numbers
from kprobesim.machine.unicorn.armed_table import ArmedTable
from kprobesim.machine.unicorn.code_pages import SUFFIXES
from kprobesim.machine.unicorn.dispatch_code import BOARD, BOARD_BYTES, CODE, MAY_LEAVE, WORDS
from kprobesim.machine.unicorn.engine_entries import MOST_ENGINES, EngineEntries
from kprobesim.machine.unicorn.host_code import assemble, host_machine, put_code
from kprobesim.machine.unicorn.interposition import find_function, find_slots
from kprobesim.machine.unicorn.library import library
from kprobesim.machine.unicorn.native import Native
from kprobesim.machine.unicorn.raw_cpu import RawCpu
from kprobesim.machine.unicorn.single_hooks import SingleHooks
from kprobesim.machine.unicorn.stop_points import exit_request, find_switch
from kprobesim.machine.unicorn.struct_layout import Words
from kprobesim.sizes import MASK64

if TYPE_CHECKING:
    from kprobesim.machine.unicorn.engine import Engine

__all__ = ["Dispatch", "Dispatcher", "make_dispatch"]

_STEPS = halves(x86_64=1, arm64=4)
_NOWHERE = 1 << 63 | 1  # canonical nowhere, and aligned nowhere
_HOOK_BEGIN = 24  # of struct hook: five ints and a bool before it, then end and callback
_TB = struct.Struct("<Q12xHH")  # TranslationBlock: pc, size and icount
_FUNC_START = ctypes.CFUNCTYPE(None, ctypes.c_uint64)
_u64 = ctypes.c_uint64
_Board: TypeAlias = "ctypes.Array[ctypes.c_uint64]"

AddHook = Callable[..., int]
"""``add(kind, function, (low, high), data=0)``: as :meth:`.hooks.Hooks.add`."""


class Dispatch(Protocol):
    """One engine's."""

    retired: list[object]
    """What was kept for those who are armed no more, and may be running: for who runs the engine
    to clear when it has stopped."""
    live: bool
    """Whether who is armed in another's place is called at once, also by what was translated
    before; and whether there is :meth:`chain`."""
    block_end: Words | None
    """One word: the address behind the last instruction of the block that was entered last; a
    block that has been left may go on in a shorter one. ``None``: it is not known."""

    def arm(self, address: int, native: Native, *, leaves: bool) -> None:
        """Call ``native`` before the instruction at ``address``, which nobody else is armed at.

        Args:
            address: Virtual; what was translated from there is to be forgotten by the caller.
            native: What is called.
            leaves: Whether it may move the CPU, or stop the engine: then the block is left at once.
        """

    def disarm(self, address: int) -> None:
        """Call nobody there any more; from now on, also in what was translated before."""

    def chain(self, natives: Sequence[Native]) -> Native:
        """What calls each of ``natives`` in order."""

    def every_block(self, native: Native) -> None:
        """Call ``native`` at the start of each block, before it runs.

        Where blocks are counted not for one that is over the limit, nor if a stop has been asked
        for; else it is called once more when such a block does run.
        """

    def no_longer(self, native: Native) -> None:
        """Call it no more; nothing happens if nobody did."""

    def look_everywhere(self, on: bool) -> None:
        """In blocks that are translated from now on: the guest may be stopped at any instruction.

        If not: where a block starts, and where somebody is armed who may leave.
        """

    def look_in_next(self) -> None:
        """As :meth:`look_everywhere`, in the next block that is translated: it will be left."""

    def count_blocks(self, on: bool) -> int:
        """Count blocks where Unicorn counts, and stop where its limit is; the handle of the hook.

        Raises:
            EngineError: It cannot be done with this Unicorn.
        """

    def count_instructions(self, on: bool) -> None:
        """Whether Unicorn counts instructions: its own hook is on each then."""


class Dispatcher:
    """The dispatch of the engine ``uc``, by machine code."""

    live = True

    def __init__(self, placed: _Placed, board: _Board, uc: RawCpu, cpu: int, arch: str) -> None:
        self._placed = placed
        self._board = board
        self.retired: list[object] = []
        self._keep: dict[int, object] = {}
        self._every: list[Native] = []
        self._chained: Native | None = None
        self._uncounted = (_u64 * 2)(0, MASK64)
        self._never = _u64()  # what is not found: a wish to stop, or the switch
        self._dummy = ctypes.addressof(self._never)
        self.block_end: Words | None = (_u64 * 1).from_address(
            ctypes.addressof(board) + 8 * BOARD.index("block_end")
        )
        offset = find_switch()
        values = {
            "counter": ctypes.addressof(self._uncounted),
            "exit": self._dummy,
            "switch": uc.handle + offset if offset else self._dummy,
            "step": _STEPS[arch],
        }
        for name, value in values.items():
            self._set(name, value)
        self._table = ArmedTable(self._place_table)
        self._set("cpu", cpu)  # from now on `translate` knows it
        weakref.finalize(uc, placed.boards.give_back, board).atexit = False

    def _set(self, name: str, value: int) -> None:
        self._board[BOARD.index(name)] = value

    def _place_table(self, address: int, mask: int) -> None:
        self._set("armed", address)
        self._set("mask", mask)

    def begin(
        self, add: AddHook, counter: int, run: Callable[[], int], stop: Callable[[], int]
    ) -> None:
        """Hook the engine, which has no RAM.

        Args:
            add: Adds a hook.
            counter: The address of the counter and, behind it, the limit.
            run: Runs a block of one instruction; returns where that is.
            stop: Stops it; returns the address of the word by which that was asked for, or 0.

        Raises:
            EngineError: This is another Unicorn.
        """
        board, arrival = ctypes.addressof(self._board), self._placed.address("arrival")
        block = self._placed.address("block")
        self._counter = counter
        self._block_hook = add(numbers.UC_HOOK_BLOCK, block, (1, 0), data=board)
        hook = add(numbers.UC_HOOK_CODE, arrival, (_NOWHERE, _NOWHERE), data=board)
        found = (_u64 * 3).from_address(hook + _HOOK_BEGIN)
        if list(found) != [_NOWHERE, _NOWHERE, arrival]:
            raise EngineError("cannot find the range of a hook; is this a new version of Unicorn?")
        self._set("hook", hook + _HOOK_BEGIN)
        with self._placed.boards.lock:
            context, request, place = self._placed.observe(run, stop)
        last = self._board[BOARD.index("last_block")]
        pc, _, instructions = _TB.unpack(ctypes.string_at(last, _TB.size)) if last else (0, 0, 0)
        if (pc, instructions) != (place, 1):
            raise EngineError("cannot find the block that is translated inside Unicorn")
        self._set("context", context)
        self._set("exit", request or self._dummy)
        if not request:
            self._placed.look_twice()

    # -- who is called -----------------------------------------------------------------------------

    def arm(self, address: int, native: Native, *, leaves: bool) -> None:
        """Put it into the table that the machine code reads."""
        if address in self._keep:
            self.retired.append(self._keep[address])
        self._keep[address] = native.keep
        self._table.put(address, native.function, native.data, MAY_LEAVE if leaves else 0)

    def disarm(self, address: int) -> None:
        """Take it out: what is translated finds nobody there."""
        self._table.remove(address)
        self.retired.append(self._keep.pop(address, None))

    def chain(self, natives: Sequence[Native]) -> Native:
        """What calls each of ``natives`` in order: its data is the list."""
        pairs = [word for native in natives for word in (native.function, native.data)]
        words = (_u64 * (len(pairs) + 2))(*pairs)
        keep = words, tuple(natives)
        return Native(self._placed.address("chain"), ctypes.addressof(words), keep)

    def every_block(self, native: Native) -> None:
        """Call ``native`` at each block, if they are counted; nothing is translated anew."""
        self._every.append(native)
        self._call_at_blocks()

    def no_longer(self, native: Native) -> None:
        """Call it no more."""
        self.retired.append(native)
        self._every = [each for each in self._every if each is not native]
        self._call_at_blocks()

    def _call_at_blocks(self) -> None:
        every = self._every
        called = every[0] if len(every) == 1 else self.chain(every)
        self._set("every", 0)
        self._set("every_data", called.data)
        self._set("every", called.function if every else 0)
        self.retired.append(self._chained)
        self._chained = called

    # -- how blocks are translated -----------------------------------------------------------------

    def look_everywhere(self, on: bool) -> None:
        """The value of the switch for most blocks."""
        self._set("quick", not on)

    def look_in_next(self) -> None:
        """The switch is off for one block."""
        self._board[_LOOK_IN_NEXT] = 1

    def count_blocks(self, on: bool) -> int:
        """The hook is always there, and counts somewhere."""
        self._set("counter", self._counter if on else ctypes.addressof(self._uncounted))
        return self._block_hook

    def count_instructions(self, on: bool) -> None:
        """Unicorn then walks its list, and looks at the range of a hook when it would call it."""
        self._set("wide", on)


_LOOK_IN_NEXT = BOARD.index("look_in_next")
_COUNTS = WORDS.index("counts")


class _Placed:
    """The machine code, once a process and kind of guest, in the place of Unicorn's."""

    def __init__(self, host: str, slots: dict[str, ctypes.c_uint64], suffix: str) -> None:
        code, self._labels = assemble(CODE[host])
        lib = library()
        self._start_slot = slots[f"tcg_func_start_{suffix}"]
        start = find_function(lib, f"tcg_func_start_{suffix}")
        self._real_start = _FUNC_START(start)
        self._contexts: set[int] = set()
        self._requests: list[int] = []
        self._observer = 0
        self._stop: Callable[[], int] = lambda: 0
        # One for ever: a thread that has come to it may be in it long after the slot has changed.
        self._seen = _FUNC_START(self._started)
        values = {
            "nowhere": _NOWHERE,
            "stop": find_function(lib, "uc_emu_stop"),
            "real": find_function(lib, f"gen_intermediate_code_{suffix}"),
            "func_start": start,
            "leave": find_function(lib, f"helper_check_exit_request_{suffix}"),
            "real_write_call": find_function(lib, f"tcg_gen_callN_{suffix}"),
        }
        placed = put_code(code, WORDS, values, "table", BOARD_BYTES * MOST_ENGINES)
        self._code, self._words = placed.code, placed.words
        self.boards = EngineEntries(placed, BOARD_BYTES, BOARD.index("cpu"), WORDS.index("count"))
        self._words[_COUNTS] = self.address("block")
        slots[f"gen_intermediate_code_{suffix}"].value = self.address("translate")
        slots[f"tcg_gen_callN_{suffix}"].value = self.address("write_call")

    def address(self, label: str) -> int:
        """Where a function is."""
        return self._code + self._labels[label]

    def look_twice(self) -> None:
        """In some engine ``block`` does not know of a wish to stop: let Unicorn look behind it."""
        self._words[_COUNTS] = 0

    def observe(self, run: Callable[[], int], stop: Callable[[], int]) -> tuple[int, int, int]:
        """The translator that ``run()`` uses; what ``stop()`` returns meanwhile; and ``run()``."""
        before = self._start_slot.value
        self._contexts, self._requests = set(), []
        self._stop, self._observer = stop, threading.get_ident()
        self._start_slot.value = ctypes.cast(self._seen, ctypes.c_void_p).value or 0
        try:
            place = run()
        finally:
            self._start_slot.value = before
            self._stop = lambda: 0  # and no engine is kept
        if len(self._contexts) != 1:
            raise EngineError("cannot find the translator inside Unicorn; is this a new version?")
        return self._contexts.pop(), self._requests[0], place

    def _started(self, context: int) -> None:
        """Some engine translates a block, in whichever thread."""
        if threading.get_ident() == self._observer:
            self._contexts.add(context)
            self._requests.append(self._stop())
        self._real_start(context)


@cache
def _placed(suffix: str) -> _Placed | None:
    """Put our functions in, once a process; ``None`` where that cannot be."""
    host = host_machine()
    functions = ("gen_intermediate_code", "tcg_func_start", "tcg_gen_callN")
    names = {f"{function}_{suffix}" for function in functions}
    slots = find_slots(library(), names) if host in CODE and struct.calcsize("P") == 8 else {}
    return _Placed(host, slots, suffix) if len(slots) == len(names) else None


def make_dispatch(engine: Engine, uc: RawCpu, run: Callable[[], int]) -> Dispatch:
    """The dispatch of an engine that has no RAM yet, and looks for a stop everywhere.

    Args:
        engine: The engine.
        uc: It, as the binding knows it.
        run: Runs a block of one instruction; returns where that is.
    """
    placed, cpu, add = _placed(SUFFIXES[engine.arch]), engine.code_pages.cpu, engine.hooks.add
    board = placed.boards.take() if placed is not None and cpu else None
    if placed is None or board is None:
        return SingleHooks(add, engine.hooks.unhook, engine.layout.count_callback)
    dispatcher = Dispatcher(placed, board, uc, cpu, engine.arch)
    counter, stop = ctypes.addressof(engine.counter_words), engine.stop
    dispatcher.begin(add, counter, run, lambda: exit_request(engine.words, stop))
    return dispatcher
