"""Why a function that works in a kernel that has booted meets NULL here: boot sets it up.

What a NULL pointer was is found in the code: the register that held it, in the function that
faulted or as an argument of one that called it, was loaded from a variable of the kernel that is
still 0, as in the image. Registers are followed along the instructions, not along the branches, so
it is a guess, if a good one: a running kernel reads no NULL from there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property

from kprobesim.arch.architecture import halves
from kprobesim.arch.arm64.insn import branch26, matches
from kprobesim.image import KernelImage
from kprobesim.machine.machine import Machine
from kprobesim.machine.registers import PtRegs
from kprobesim.machine.trap import Trap, TrapKind
from kprobesim.sizes import MASK64
from kprobesim.stack.walk import StackWalker
from kprobesim.unbooted.environment import percpu_offset
from kprobesim.unbooted.origins import Origins, Place, Reader, find_origins
from kprobesim.unbooted.origins_arm64 import Arm64Reader
from kprobesim.unbooted.origins_x86 import X86Reader

__all__ = ["NotSetUp"]

_NEAR_NULL = 1 << 16
# What stands for a pointer until runtime_const_init() (asm/runtime-const.h, since 6.11).
_RUNTIME_CONST = 0x0123_4567_89AB_CDEF
_FRAMES = 6  # the pointer was passed through as many functions at most
_MOST_CODE = 16 << 10  # bytes of a function
_X86_CALL = 0xE8

# What a variable of such a name belongs to (5.10 to 7.3); where an image names no variables, whose
# the function is that met the NULL.
_SUBSYSTEMS = (
    (
        r"kmalloc_(caches|buckets)|slab_state|kmem_cache.*|.*_cachep?|.*_slab",
        r"(__)?(kmem_cache|kmalloc|kvmalloc|slab)_?.*",
        "the allocator is",
    ),
    (
        r"system_.*wq|.*_wq|.*workqueue.*|wq_.*",
        r"(__)?(queue|flush|mod)_.*work.*",
        "workqueues are",
    ),
    (r"tk_core|timekeeper.*|tick_.*|clocksource.*", r"(ktime|tick|timekeeping)_.*", "the time is"),
    (r"rcu_.*|srcu_.*", r".*rcu_.*", "RCU is"),
    (r"pcpu_.*|__per_cpu_.*", r"(pcpu|__alloc_percpu).*", "the allocator of per-CPU memory is"),
    (r"vmap_.*|free_vmap_.*|vmalloc_.*|vmlist", r".*(vmap|vmalloc).*", "vmalloc() is"),
    (
        r"contig_page_data|node_data|mem_section|mem_map",
        r".*alloc_pages.*",
        "the page allocator is",
    ),
    (r"runqueues|.*_rq|sched_.*|root_task_group", r"__?schedule.*|sched_.*", "the scheduler is"),
    (r"irq_.*|ioapic.*|gic_.*", r"(__)?(irq|request_irq).*", "interrupts are"),
    (
        r".*_mnt|mount_.*|sysfs_.*|kernfs_.*|.*_kset|.*_root|.*_kobj",
        r"(sysfs|kernfs|mnt|vfs|proc)_.*",
        "the file systems are",
    ),
)
# Named as exports where the image has no other symbols of data.
_EXPORTED = ("kmalloc_caches", "system_wq", "system_unbound_wq", "system_percpu_wq", "mem_section")
_EXPORTED_BYTES = 512


_READERS: Mapping[str, Callable[[], Reader]] = halves(x86_64=X86Reader, arm64=Arm64Reader)


def _x86_called(behind: int, code: bytes) -> int | None:
    distance = int.from_bytes(code[1:], "little", signed=True)
    return behind + distance & MASK64 if code[0] == _X86_CALL else None


def _arm64_called(behind: int, code: bytes) -> int | None:
    word = int.from_bytes(code[1:], "little")
    return behind - 4 + branch26(word) & MASK64 if matches(word, "bl") else None


# What a call whose last five bytes are ``code`` calls, if it says so itself.
_CALLED = halves(x86_64=_x86_called, arm64=_arm64_called)


class NotSetUp:
    """Explains faults of ``machine``, which runs functions of ``image``."""

    def __init__(self, machine: Machine, image: KernelImage) -> None:
        self._machine = machine
        self._image = image
        self._stack = StackWalker(machine, image)

    def explain(self, trap: Trap, regs: PtRegs) -> str:
        """What is not set up, if the trap is of a pointer that it would have set; else ""."""
        if trap.kind in (TrapKind.PROTECTION, TrapKind.PAGE_FAULT) and any(
            abs(value - _RUNTIME_CONST) < _NEAR_NULL for value in regs.as_dict().values()
        ):
            return "a pointer that boot writes into the code is missing: boot it (Kernel.boot)"
        if trap.kind is not TrapKind.PAGE_FAULT or not 0 <= (trap.address or -1) + 1 <= _NEAR_NULL:
            return ""
        guesses = []
        for variable, sure in self._sources(regs, trap):
            name = self._name(variable)
            whose = self._whose(name, regs.ip)
            if not sure and not whose:
                continue
            needs = f"{whose} not set up" if whose else "nothing has set it up"
            named = name or f"the variable at {variable:#x}"
            hint = f"{named} is still NULL: {needs}: boot it (Kernel.boot)"
            if sure:
                return hint
            guesses.append(hint)
        return guesses[0] if guesses else ""

    def _whose(self, variable: str, ip: int) -> str:
        found = self._image.symbols.at(ip)
        function = found.symbol.name if found is not None else ""
        for variables, functions, whose in _SUBSYSTEMS:
            if re.fullmatch(variables, variable) or (
                not variable and re.fullmatch(functions, function)
            ):
                return whose
        return ""

    def _sources(self, regs: PtRegs, trap: Trap) -> Iterator[tuple[int, bool]]:
        """Follow the pointer from what faulted to the callers that passed it."""
        wanted: set[int] | None = set() if trap.access == "execute" else None
        callee = None
        for at in self._places(regs, trap):
            called = self._called(at) if wanted is not None else None
            if wanted and called not in (None, callee):
                # It ended with a jump to the callee, and so has no frame of its own.
                known = self._trace(called, Place(0, callee), wanted)
                yield from (origin for origin in known if origin[0] >= 0)
                wanted = {~origin for origin, _ in known if origin < 0}
                if not wanted:
                    return
            found = self._image.symbols.at(at - (wanted is not None))
            if found is None:
                return
            callee = found.symbol.address
            known = self._trace(callee, Place(at), wanted)
            yield from (origin for origin in known if origin[0] >= 0)
            wanted = {~origin for origin, _ in known if origin < 0}
            if not wanted:
                return

    def _trace(
        self, start: int | None, place: Place, wanted: set[int] | None
    ) -> list[tuple[int, bool]]:
        """What is known of pointers at a place in the function at ``start``."""
        found = None if start is None else self._image.symbols.at(start)
        if start is None or found is None:
            return []
        size = min(found.size, _MOST_CODE)
        code = self._machine.read_code(start, size)
        origins = Origins(self._unset, self._machine.memory.read_u64, self._per_cpu)
        return list(find_origins(self._reader, code, start, place, wanted, origins))

    def _called(self, behind: int) -> int | None:
        """What the call before ``behind`` calls, if it is told."""
        machine = self._machine
        if behind == machine.return_address:
            return machine.target
        return _CALLED[machine.arch](behind, machine.read_code(behind - 5, 5))

    def _places(self, regs: PtRegs, trap: Trap) -> Iterator[int]:
        """What faulted, and where the functions that called it go on."""
        for number, frame in enumerate(self._stack.frames(regs)):
            if number == _FRAMES:
                break
            if frame.address != self._machine.return_address and (
                number or trap.access != "execute"
            ):
                yield frame.address
        yield self._machine.return_address

    def _unset(self, address: int) -> int | None:
        memory = self._machine.memory
        region = memory.region(address)
        if region is None or not region.name.startswith("kernel"):
            return None
        if self._image.is_kernel_text(address):
            return None
        return None if memory.read_u64(address) else address

    @cached_property
    def _reader(self) -> Reader:
        return _READERS[self._machine.arch]()

    @cached_property
    def _per_cpu(self) -> int:
        return percpu_offset(self._image)

    def _name(self, address: int) -> str:
        symbols = self._image.symbols
        found = symbols.at(address)
        end = symbols.candidates("__per_cpu_end")
        variable = address - self._per_cpu & MASK64
        if self._per_cpu and end and variable < end[0].address:
            below = (s for s in symbols if s.address <= variable)
            return max(below, key=lambda symbol: symbol.address).name
        is_near = found is not None and found.offset < max(found.size, 8)
        # (Where variables have no symbols, what is found is the mark at the end of the code.)
        if found is not None and is_near and not self._image.is_code(found.symbol.address - 1):
            return "" if found.symbol.type in "tTwW" else found.symbol.name
        for name in _EXPORTED:
            start = self._image.exported(name)
            if start is not None and start <= address < start + _EXPORTED_BYTES:
                return name
        return ""
