"""A window on the C structs in which Unicorn keeps the registers of the guest.

One register through Unicorn's C API costs 0.1-0.3 us from Python and a written program counter
makes it leave its loop; a word of memory costs a few hundredths and nothing else. The structs are
private to Unicorn, so nothing is assumed: distinct values are written through the API, and the
place where they appear is searched, reading through ``/proc/self/mem``, where a wrong pointer is
an error and not a crash. What can't be found is an :class:`EngineError`.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from kprobesim.arch.architecture import halves
from kprobesim.errors import EngineError
from kprobesim.late_dataclasses import dataclass, field
from kprobesim.machine.unicorn.interposition import base_of, is_code
from kprobesim.machine.unicorn.learned import learned, recall, remember
from kprobesim.machine.unicorn.library import library
from kprobesim.sizes import MASK64

if TYPE_CHECKING:
    from kprobesim.machine.unicorn.specimen import Specimen

__all__ = ["Layout", "Words", "find_counter", "find_fields", "find_words", "layout"]

Words: TypeAlias = "ctypes.Array[ctypes.c_uint64]"
"""The live register words of one engine."""

_UC_STRUCT_BYTES = 0x4000
_CPU_STRUCT_BYTES = 0x40000
_COUNT_MARK = 0x3ADE68B1  # an instruction limit that no other field has


@dataclass
class Layout:
    """Where things are: word numbers count from the first general register.

    ``pc`` and ``flags`` are word numbers (``flags``: the word that holds EFLAGS.IF and TF, or
    PSTATE.DAIF); the 32-bit and 64-bit fields are byte offsets from the first general register.
    ``counter`` is a byte offset in the engine's own struct, ``count_callback`` the address of the C
    function that Unicorn hooks in order to count (0 where it was not found).
    """

    arch: str
    words: int
    pc: int
    flags: int
    fields: dict[str, int] = field(default_factory=dict)
    cpu_pointer: tuple[int, int] | None = None
    counter: int = 0
    count_callback: int = 0


_layouts: dict[str, Layout] = {}


def layout(arch: str) -> Layout:
    """The layout for ``arch``, measured once a process."""
    if arch not in _layouts:
        facts = learned(f"layout of {arch}", lambda: _measure(arch), _is_layout)
        found = _layouts[arch] = Layout(**facts)
        found.count_callback = found.count_callback and found.count_callback + base_of(library())
        found.cpu_pointer = tuple(recall(f"pointer of {arch}") or ()) or None
    return _layouts[arch]


def _measure(arch: str) -> dict[str, Any]:
    """The fields of a layout, with an offset in the library instead of an address."""
    from kprobesim.machine.unicorn.specimen import Specimen

    found = vars(_MEASURES[arch](Specimen(arch)))
    callback = found["count_callback"]
    return {**found, "count_callback": callback and callback - base_of(library())}


def _is_layout(facts: dict[str, Any]) -> bool:
    """Whether they are this version's, and the function that is named in there can be one."""
    if facts.keys() != Layout.__annotations__.keys():
        return False
    callback = facts["count_callback"]
    return not callback or is_code(callback + base_of(library()))


def find_words(
    handle: int,
    found: Layout,
    gprs: Sequence[int],
    write_register: Callable[[int, int], None],
) -> Words:
    """The live words of the engine whose C handle is ``handle``; ``gprs`` are its API numbers."""
    values = [0x5AFE_0000_0000_0000 + n * 0x0001_2345_6789 + (handle & 0xFFFF) for n in range(16)]
    for number, value in zip(gprs, values, strict=False):
        write_register(number, value)
    pattern = struct.pack("<16Q", *values)
    # The pattern also lies in our own heap, which a pointer of Unicorn's may point close to.
    other = struct.pack("<Q", ~values[0] & MASK64)
    with _ProcessMemory() as memory:
        for at, address in _places(memory, handle, found, pattern):
            write_register(gprs[0], ~values[0] & MASK64)
            live = memory.read(address, 8) == other
            write_register(gprs[0], values[0])
            if live:
                found.cpu_pointer = at
                remember(f"pointer of {found.arch}", [*at])
                break
        else:
            raise EngineError("cannot find the registers inside Unicorn; is this a new version?")
    words: Words = (ctypes.c_uint64 * found.words).from_address(address)
    for number in gprs:
        write_register(number, 0)
    if any(words[:16]):
        raise EngineError("the register window of Unicorn is not live; is this a new version?")
    return words


def find_fields(words: Words, found: Layout) -> dict[str, Any]:
    """The fields of a fault, each a ctypes integer on the live struct."""
    base = ctypes.addressof(words)
    kinds = {"far": ctypes.c_uint64}
    return {
        name: kinds.get(name, ctypes.c_uint32).from_address(base + offset)
        for name, offset in found.fields.items()
    }


def find_counter(handle: int, found: Layout) -> Words:
    """Two words of the engine: instructions executed so far, and the limit of the counted run."""
    words: Words = (ctypes.c_uint64 * 2).from_address(handle + found.counter)
    return words


class _ProcessMemory:
    """Reads of this process' own memory that fail instead of crashing."""

    def __enter__(self) -> _ProcessMemory:
        try:
            self._fd = os.open("/proc/self/mem", os.O_RDONLY)
        except OSError as error:
            raise EngineError(
                f"kprobesim needs /proc/self/mem (Linux) to find Unicorn's registers: {error}"
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def read(self, address: int, size: int) -> bytes:
        try:
            return os.pread(self._fd, size, address)
        except (OSError, OverflowError):
            return b""


def _places(
    memory: _ProcessMemory, handle: int, found: Layout, pattern: bytes
) -> Iterator[tuple[tuple[int, int], int]]:
    """Where ``pattern`` is: (pointer's offset in the handle, offset behind it), and the address.

    Where an engine had it before comes first.
    """
    outer = memory.read(handle, _UC_STRUCT_BYTES)
    if found.cpu_pointer is not None:
        pointer_at, inner_at = found.cpu_pointer
        (pointer,) = struct.unpack_from("<Q", outer, pointer_at)
        if memory.read(pointer + inner_at, len(pattern)) == pattern:
            yield found.cpu_pointer, pointer + inner_at
    for pointer_at, pointer in _pointers(outer):
        block = memory.read(pointer, _CPU_STRUCT_BYTES)
        inner_at = block.find(pattern)
        while inner_at >= 0:
            yield (pointer_at, inner_at), pointer + inner_at
            inner_at = block.find(pattern, inner_at + 1)


def _pointers(block: bytes) -> Iterator[tuple[int, int]]:
    for at in range(0, len(block) - 7, 8):
        (value,) = struct.unpack_from("<Q", block, at)
        if 0x10000 <= value < 1 << 47 and value % 8 == 0:
            yield at, value


# -- measuring the layout ------------------------------------------------------------------------


def _measure_x86(cpu: Specimen) -> Layout:
    base = _first_gpr(cpu)
    fields: dict[str, int] = {}
    # mov ds, ax with a selector beyond every table: #GP(selector), kept as a pending exception
    selector = 0x5A38
    cpu.set_gpr(0, selector)
    before = cpu.context()
    cpu.execute(b"\x8e\xd8")
    after = cpu.context()
    fields["error_code"] = _only(_u32_became(before, after, selector), "error code") - base
    fields["old_exception"] = _only(_u32_became(before, after, 13, 0xFFFFFFFF), "#GP") - base
    cpu.set_flags(0x202)
    before = cpu.context()
    cpu.set_flags(0x2)
    flags = _only(_u32_became(before, cpu.context(), 0x2, 0x202), "eflags") - base
    found = Layout(cpu.arch, words=flags // 8 + 1, pc=16, flags=flags // 8, fields=fields)
    _measure_counter(found, cpu, b"\x90\x90\xf4", 2)
    return found


def _measure_arm64(cpu: Specimen) -> Layout:
    base = _first_gpr(cpu)
    fields: dict[str, int] = {}
    before = cpu.context()
    cpu.execute(struct.pack("<I", 0xD4200080 | 0x1234 << 5))
    esr = 0xF2000000 | 0x1234 | 4
    fields["esr"] = _only(_u32_became(before, cpu.context(), esr), "syndrome") - base
    address = 0x1803
    cpu.set_gpr(1, address)
    before = cpu.context()
    cpu.execute(struct.pack("<I", 0xC85F7C20))  # ldxr x0, [x1]: exclusive and unaligned
    fields["far"] = _only(_u64_became(before, cpu.context(), address), "fault address") - base
    cpu.set_flags(0x3C5)
    before = cpu.context()
    cpu.set_flags(0x5)
    daif = _only(_u64_became(before, cpu.context(), 0, 0x3C0), "DAIF") - base
    before = cpu.context()
    cpu.set_flags(0x5 | 1 << 21)
    pstate = _u32_became(before, cpu.context(), 0x5 | 1 << 21, 0x5)
    fields["pstate"] = _only([at for at in pstate if at == base + 8 * 33], "PSTATE") - base
    found = Layout(cpu.arch, words=max(34, daif // 8 + 1), pc=32, flags=daif // 8, fields=fields)
    _measure_counter(found, cpu, struct.pack("<3I", 0xD503201F, 0xD503201F, 0xD503207F), 2)
    return found


_MEASURES = halves(x86_64=_measure_x86, arm64=_measure_arm64)


def _first_gpr(cpu: Specimen) -> int:
    values = [0x1D_0000_0000_0000 + n * 0x10001 for n in range(4)]
    for number, value in enumerate(values):
        cpu.set_gpr(number, value)
    at = cpu.context().find(struct.pack("<4Q", *values))
    if at < 0:
        raise EngineError("cannot find the registers in a saved context of Unicorn")
    return at


def _measure_counter(found: Layout, cpu: Specimen, code: bytes, instructions: int) -> None:
    cpu.execute(code, count=_COUNT_MARK)
    with _ProcessMemory() as memory:
        block = memory.read(cpu.handle, _UC_STRUCT_BYTES)
    at = block.find(struct.pack("<Q", _COUNT_MARK), 8)
    if at < 0 or struct.unpack_from("<Q", block, at - 8)[0] not in (instructions, instructions + 1):
        raise EngineError("cannot find the instruction counter inside Unicorn")
    found.counter = at - 8
    (hook,) = struct.unpack_from("<Q", block, at - 16)
    found.count_callback = _count_callback(hook)


def _count_callback(hook: int) -> int:
    """The C function of the hook by which Unicorn counts instructions; 0 if that is not clear.

    ``struct hook`` (uc_priv.h, 2.1): five ints, a bool, begin, end, callback. The type is "code",
    the range 1..0 means everywhere, and the function must lie in the code of the library.
    """
    with _ProcessMemory() as memory:
        block = memory.read(hook, 48)
    if len(block) < 48:
        return 0
    kind, begin, end, callback = struct.unpack("<i20xQQQ", block)
    if (kind, begin, end) != (4, 1, 0):
        return 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        area, rights, *_, name = line.split(maxsplit=5)
        low, high = (int(part, 16) for part in area.split("-"))
        if "x" in rights and "unicorn" in name and low <= callback < high:
            return int(callback)
    return 0


def _u32_became(before: bytes, after: bytes, value: int, previous: int | None = None) -> list[int]:
    return _became("<I", before, after, value, previous)


def _u64_became(before: bytes, after: bytes, value: int, previous: int | None = None) -> list[int]:
    return _became("<Q", before, after, value, previous)


def _became(form: str, before: bytes, after: bytes, value: int, previous: int | None) -> list[int]:
    size = struct.calcsize(form)
    needle = struct.pack(form, value)
    places, at = [], after.find(needle)
    while at >= 0:
        old = before[at : at + size]
        if old != needle and (previous is None or old == struct.pack(form, previous)):
            places.append(at)
        at = after.find(needle, at + 1)
    return [at for at in places if at % size == 0]


def _only(places: Sequence[int], what: str) -> int:
    if len(places) != 1:
        raise EngineError(
            f"cannot tell where Unicorn keeps the {what} ({len(places)} candidates); "
            "is this a new version of it?"
        )
    return places[0]
