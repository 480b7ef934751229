"""What a booted kernel has when somebody asks for it: probes, symbols, call traces."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from kprobesim.image import KernelImage
from kprobesim.machine.system import System

if TYPE_CHECKING:
    from kprobesim.kprobes.manager import KprobesManager
    from kprobesim.kprobes.model import Model
    from kprobesim.machine.registers import PtRegs
    from kprobesim.stack.unwind import Unwinder

__all__ = ["LateNames", "make_manager"]


def make_manager(
    image: KernelImage,
    machine: System,
    call: Callable[..., int],
    model: Model | None,
    *,
    strict: bool,
) -> KprobesManager:
    """The kprobes of a guest that runs by itself.

    Args:
        image: The guest's kernel.
        machine: What it runs on.
        call: Calls a function of the guest.
        model: The kernel to imitate; by default the guest's own.
        strict: Imitate it also where it is wrong.
    """
    from kprobesim.inside.insn_pages import InsnPages
    from kprobesim.kprobes.manager import KprobesManager
    from kprobesim.kprobes.rules.own_code import own_model

    model = model or own_model(image)
    return KprobesManager(
        machine,
        image,
        model.of(image.arch).stepping,
        "hook",
        InsnPages(image, call),
        model=model,
        strict=strict,
        jumps=False,
        guest_has_traps=True,
    )


class LateNames:
    """Symbols and call traces."""

    def __init__(self, machine: System, image: KernelImage) -> None:
        self._machine, self._image = machine, image

    @cached_property
    def _unwinder(self) -> Unwinder:
        from kprobesim.stack.unwind import Unwinder

        return Unwinder(self._machine, self._image)

    def symbolize(self, address: int) -> str:
        """``symbol+offset/size``, or the number."""
        return self._unwinder.symbolize(address)

    def trace(self, regs: PtRegs) -> list[str]:
        """The callers of where ``regs`` stand."""
        return self._unwinder.trace(regs)
