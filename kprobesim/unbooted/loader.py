"""Puts an image into a machine's memory, as a running kernel has it mapped."""

from __future__ import annotations

from kprobesim.errors import ImageError, UsageError
from kprobesim.image import KernelImage
from kprobesim.image.placement import virtual_minus_ram
from kprobesim.machine.machine import Machine
from kprobesim.machine.memory import Prot
from kprobesim.sizes import PAGE, page_up

__all__ = ["load_into_machine"]

_ROOM = 96 << 20  # beyond the image: page tables, stacks, heap

_PROT = {"text": Prot.RX, "mixed": Prot.RW | Prot.X, "rodata": Prot.R, "data": Prot.RW}


def load_into_machine(image: KernelImage, memory_size: int) -> Machine:
    """A machine whose RAM holds ``image`` at its link addresses.

    ``memory_size`` is in bytes; 0 takes what the image needs. Code is executable and read-only,
    constants are read-only, and nothing else is executable.
    """
    if not image.segments:
        raise ImageError(image.path, "has nothing to load: it is no kernel")
    first = image.segments[0].vaddr
    end = page_up(max(segment.end for segment in image.segments))
    base = image.isa.ram_base
    delta = virtual_minus_ram(image) - base
    needed = end - delta - base + _ROOM
    size = memory_size or max(256 << 20, needed)
    if size < needed or size % PAGE:
        raise UsageError(
            f"{size} bytes of memory will not do for this kernel: "
            f"give a multiple of {PAGE}, at least {needed >> 20} MiB"
        )
    if first - delta < base:
        raise ImageError(
            image.path,
            f"its first segment {first:#x} lies below all RAM: it is no kernel, or "
            "one that is linked where no memory is",
        )
    machine = Machine(image.arch, size, image_end=end - delta)
    ram = machine.memory.ram
    for segment in image.segments:
        at = segment.vaddr - delta - base
        ram[at : at + len(segment.data)] = segment.data
    for region in image.regions:
        machine.memory.map(
            region.start,
            region.start - delta,
            region.end - region.start,
            _PROT[region.kind],
            f"kernel {region.kind}",
        )
        if region.kind in ("text", "mixed"):
            at = region.start - delta - base
            code = memoryview(ram)[at : at + region.end - region.start]
            machine.see_code(region.start, code)
    return machine
