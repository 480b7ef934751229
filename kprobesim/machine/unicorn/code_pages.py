"""Which pages of RAM Unicorn holds translated code of: no store to them may go unseen.

Unicorn, as QEMU, translates guest code once, and watches the pages that it came from: stores to
them take a slow path, ``notdirty_write()``, which drops what was translated from the bytes that are
written. But where QEMU lets a page be written without notice only when no code of it is left, and
takes that back when there is some again, Unicorn 2.1.4 (accel/tcg/cputlb.c, translate-all.c)

* lets every page be written without notice after the first store to it through an address that is
  not executable, whatever else was translated from it, and
* takes it back for the address that the code was executed at, not for others of the same page.

So code that is written through one address and executed at another runs as it was before: any W^X
just-in-time compiler, text patched through an alias, a file's page written by the kernel, a page
freed and used again (Unicorn issues 820 and 2367 are of that kind).

And a page that may be executed it never lets be written without notice, whether there is code on it
or not: all of a kernel's data while that boots on x86-64.

Here QEMU's rule is put back. The places in Unicorn where it was left out are calls of public
functions, for which ours are put in (:mod:`~kprobesim.machine.unicorn.interposition`):

=========================================  =========================================================
``tb_invalidate_phys_page_fast()``          a store is seen: remember its address, and go on
``tlb_set_dirty()``                         not while the page holds code
``tlb_protect_code()``                      the page holds code now: all stores to it are seen again
``tlb_unprotect_code()``                    and now it holds none
``tlb_reset_dirty_by_vaddr()``              is left out: a search of all TLBs for each new block
``tlb_set_page_with_attrs()``               a page that may be written and executed, and holds no
                                            code, may be written without notice from the start
=========================================  =========================================================

Stores are then as exact as in QEMU: on x86-64 the running block is left at once if it has changed.
Where they cannot be put in (another kind of host, a libunicorn that binds its own calls), every
store takes the slow path, by a memory hook over everything: right, and a third of the speed.
"""

from __future__ import annotations

import ctypes
import logging
import struct
import threading
import weakref
from functools import cache
from typing import Any

from kprobesim.arch.architecture import halves
from kprobesim.errors import EngineError
from kprobesim.machine.unicorn.host_code import assemble, host_machine, put_code
from kprobesim.machine.unicorn.interposition import find_function, find_slots
from kprobesim.machine.unicorn.library import library
from kprobesim.machine.unicorn.raw_cpu import RawCpu
from kprobesim.machine.unicorn.store_code import CODE, ENTRY, WORDS

__all__ = ["SUFFIXES", "CodePages"]

_PAGE_SHIFT = 12
_MOST_ENGINES = 1024
SUFFIXES = halves(x86_64="x86_64", arm64="aarch64")
"""What ends the names of Unicorn's functions, by the guest's architecture."""

_FUNCTIONS = {
    "store_seen": "tb_invalidate_phys_page_fast",
    "set_dirty": "tlb_set_dirty",
    "protect": "tlb_protect_code",
    "unprotect": "tlb_unprotect_code",
    "new_block": "tlb_reset_dirty_by_vaddr",
    "fill": "tlb_set_page_with_attrs",
}
_FLUSHED = ctypes.CFUNCTYPE(None, ctypes.c_uint64)
_log = logging.getLogger("kprobesim")


class CodePages:
    """The pages of one engine's RAM that hold translated code.

    Attributes:
        code: A byte for each page of the RAM, 1 if something may have been translated from it.
        written: Whether the host has written to code since somebody last set this to ``False``: the
            block that is running may be another by now.
    """

    def __init__(self, uc: RawCpu, arch: str) -> None:
        """Watch the stores of the engine ``uc``, which has no RAM yet."""
        self._uc = uc
        self._handle = uc.handle
        self._suffix = SUFFIXES[arch]
        self._drop = _function(f"tb_invalidate_phys_range_{self._suffix}", 3)
        self._find_ram = _function(f"qemu_ram_addr_from_host_{self._suffix}", 2)
        self._ram = 0
        self.code = bytearray()
        self.written = False
        self._entry: Any = None
        interposed = _interposed(self._suffix)
        if interposed is not None:
            self._entry = interposed.add(uc)
        self.cpu: int = self._entry.cpu if self._entry is not None else 0
        """Where the CPU is inside Unicorn; 0 if that is not known."""
        self.exact = self._entry is not None
        """Whether stores to other pages cost nothing."""

    def cover(self, physical: int, size: int, host_address: int) -> None:
        """Watch ``size`` bytes of RAM at ``physical``, just mapped from ``host_address``."""
        self._ram = self._find_ram(self._handle, host_address)
        self.code = bytearray(size >> _PAGE_SHIFT)
        if not self.exact:
            self.code[:] = b"\1" * len(self.code)
            return
        unseen = bytearray(len(self.code))
        arrays = [(ctypes.c_char * len(each)).from_buffer(each) for each in (self.code, unseen)]
        self._entry.cover(physical, self._ram, size, host_address, arrays)

    def forget(self, offset: int, size: int) -> None:
        """Drop what was translated from ``size`` bytes at ``offset`` of the RAM.

        Wherever they are mapped. The host has written there, or something else that Unicorn does
        not see. The block that is running goes on to its end.
        """
        last = offset + size - 1
        if size > 0 and self.code.find(1, offset >> _PAGE_SHIFT, (last >> _PAGE_SHIFT) + 1) >= 0:
            self._drop(self._handle, self._ram + offset, self._ram + last + 1)
            self.written = True

    def reset_by(self, function: int) -> None:
        """Call ``function`` for ``tlb_reset_dirty()``, in all engines of this architecture."""
        interposed = _interposed(self._suffix)
        assert interposed is not None
        interposed.reset_by(function)

    def flushed(self) -> None:
        """All that was translated has been dropped."""
        if self.exact:
            self.code[:] = bytes(len(self.code))


def _function(name: str, arguments: int) -> Any:
    """A public function of Unicorn's; raises :class:`EngineError`."""
    lib = library()
    if not find_function(lib, name):
        raise EngineError(
            f"this build of Unicorn keeps {name}() to itself: kprobesim needs one as pip installs "
            "it (pip install --force-reinstall 'unicorn>=2.1.4,<2.2')"
        )
    function = getattr(lib, name)
    function.argtypes = (ctypes.c_uint64,) * arguments
    function.restype = ctypes.c_uint64
    return function


class _Entry:
    """One engine's place in the table."""

    def __init__(self, address: int) -> None:
        self._words = (ctypes.c_uint64 * 9).from_address(address)
        self._arrays: list[Any] = []

    @property
    def free(self) -> bool:
        return not self._words[1]

    @property
    def cpu(self) -> int:
        return int(self._words[1])

    def take(self, uc: int, cpu: int) -> None:
        self._words[2:9] = [0] * 7
        self._words[0], self._words[1] = uc, cpu

    def cover(self, physical: int, ram: int, size: int, host: int, arrays: list[Any]) -> None:
        self._arrays = arrays  # or they are freed while the host's code writes to them
        self._words[2:9] = [ram, 0, host, 0, *map(ctypes.addressof, arrays), physical]
        self._words[3] = size  # last: from now on they are used

    def leave(self) -> None:
        self._words[0] = self._words[1] = 0
        self._arrays = []


class _Interposed:
    """Our functions in the place of Unicorn's, for guests of one architecture."""

    def __init__(self, host: str, suffix: str, slots: dict[str, ctypes.c_uint64]) -> None:
        code, labels = assemble(CODE[host])
        self._lock = threading.Lock()
        self._flush_slot = slots[f"tlb_flush_{suffix}"]
        self._flush = _function(f"tlb_flush_{suffix}", 1)
        self._found: set[int] = set()
        self._finder = 0
        # One for ever: a thread that has come to it may be in it long after the slot has changed.
        self._seen = _FLUSHED(self._flushed)
        self._entries: list[_Entry] = []
        lib = library()
        reals = {f"real_{label}": f"{name}_{suffix}" for label, name in _FUNCTIONS.items()}
        reals["reset_dirty"] = f"tlb_reset_dirty_{suffix}"
        values = {name: find_function(lib, real) for name, real in reals.items()}
        placed = put_code(code, WORDS, values, "table", ENTRY.size * _MOST_ENGINES)
        self._table, self._words = placed.area, placed.words
        for label, name in _FUNCTIONS.items():
            slots[f"{name}_{suffix}"].value = placed.code + labels[label]

    def add(self, uc: RawCpu) -> _Entry | None:
        """A place in the table, until ``uc`` is closed; ``None`` if there is none left."""
        with self._lock:
            cpu = self._find_cpu(uc)
            entry = next((each for each in self._entries if each.free), None)
            if entry is None:
                if len(self._entries) == _MOST_ENGINES:
                    return None
                entry = _Entry(self._table + ENTRY.size * len(self._entries))
                self._entries.append(entry)
            entry.take(uc.handle, cpu)
            self._words[WORDS.index("count")] = len(self._entries)
        # Of several finalizers the last is called first: the CPU's own closes the engine.
        weakref.finalize(uc, entry.leave).atexit = False
        return entry

    def reset_by(self, function: int) -> None:
        self._words[WORDS.index("reset_dirty")] = function

    def _find_cpu(self, uc: RawCpu) -> int:
        """Where the engine's CPU is: what is given to ``tlb_flush()`` when its TLB is flushed."""
        before = self._flush_slot.value
        self._found, self._finder = set(), threading.get_ident()
        self._flush_slot.value = ctypes.cast(self._seen, ctypes.c_void_p).value or 0
        try:
            uc.flush_tlb()
        finally:
            self._flush_slot.value = before
        if len(self._found) != 1:
            raise EngineError("cannot find the CPU inside Unicorn; is this a new version of it?")
        return self._found.pop()

    def _flushed(self, cpu: int) -> None:
        """Some engine's TLB is flushed, in whichever thread."""
        self._flush(cpu)
        if threading.get_ident() == self._finder:
            self._found.add(cpu)


@cache
def _interposed(suffix: str) -> _Interposed | None:
    """Put our functions in, once a process; ``None`` where that cannot be."""
    host = host_machine()
    names = {f"{name}_{suffix}" for name in (*_FUNCTIONS.values(), "tlb_flush")}
    slots = find_slots(library(), names) if host in CODE and struct.calcsize("P") == 8 else {}
    if len(slots) == len(names) and find_function(library(), f"tlb_reset_dirty_{suffix}"):
        return _Interposed(host, suffix, slots)
    _log.warning(
        "this build of Unicorn, or this kind of computer (%s), does not let pages of code be told "
        "from others: guests are right, but run at a third of their speed",
        host,
    )
    return None
