"""What one writes in an afternoon with the official binding: a hook, and a slow, correct kprobe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kprobesim.bench.cost import handled_cost
from kprobesim.bench.plain import Plain

__all__ = ["NaiveKprobe", "hook_cost"]

_BRK_KPROBE, _BRK_STEP = (0xD4200080).to_bytes(4, "little"), (0xD42000C0).to_bytes(4, "little")
_X86_IF, _ARM64_DAIF = 0x200, 0x3C0


def hook_cost(
    plain: Plain, address: int, call: Callable[[int], object], hits: int, *, reads: bool
) -> Callable[[], float]:
    """Measures ``UC_HOOK_CODE`` on ``address`` with an empty handler or one register read.

    Args:
        plain: Whose hook it is.
        address: What ``call(turns)`` comes to once a turn.
        call: Runs the guest.
        hits: How many are timed.
        reads: Whether the handler reads a register.
    """
    register = plain.arguments[0]

    def empty(uc: Any, address: int, size: int, data: Any) -> None:
        pass

    def read(uc: Any, address: int, size: int, data: Any) -> None:
        uc.reg_read(register)

    def plant(handler: Callable[..., Any]) -> Callable[[], None]:
        return plain.hook_code(address, handler)

    return lambda: handled_cost(call, plant, [read if reads else empty], hits)


class NaiveKprobe:
    """Breakpoint, out-of-line copy with a breakpoint behind it, interrupts masked meanwhile.

    Does what ours does when it steps: ``pre(read)`` before and ``post(read)`` behind the
    instruction, where ``read(register)`` is the binding's ``reg_read``.
    """

    def __init__(
        self,
        plain: Plain,
        address: int,
        size: int,
        pre: Callable[[Callable[[int], int]], None],
        post: Callable[[Callable[[int], int]], None],
    ) -> None:
        self._plain = plain
        self._address, self._size = address, size
        self.pre, self.post = pre, post
        self._back = 1 if plain.x86 else 0
        self._original = plain.kernel.read(address, size)
        self._slot = plain.kernel.alloc(32, executable=True)
        plain.patch(self._slot, self._original + (b"\xcc" if plain.x86 else _BRK_STEP))
        breakpoint_ = b"\xcc" if plain.x86 else _BRK_KPROBE
        plain.patch(address, breakpoint_ + self._original[len(breakpoint_) :])
        self._unhook = plain.hook_interrupt(self._on_trap)
        self._saved = 0

    def remove(self) -> None:
        """Restore the instruction."""
        self._unhook()
        self._plain.patch(self._address, self._original)
        self._plain.kernel.free(self._slot)

    def _on_trap(self, uc: Any, _number: int, _data: Any) -> None:
        plain = self._plain
        place = uc.reg_read(plain.pc) - self._back
        if place == self._address:
            self.pre(uc.reg_read)
            flags = uc.reg_read(plain.flags)
            self._saved = flags & (_X86_IF if plain.x86 else _ARM64_DAIF)
            masked = flags & ~_X86_IF if plain.x86 else flags | _ARM64_DAIF
            uc.reg_write(plain.flags, masked)
            uc.reg_write(plain.pc, self._slot)
        elif place == self._slot + self._size:
            flags = uc.reg_read(plain.flags)
            unmasked = flags & ~(_X86_IF if plain.x86 else _ARM64_DAIF) | self._saved
            uc.reg_write(plain.flags, unmasked)
            uc.reg_write(plain.pc, self._address + self._size)
            self.post(uc.reg_read)
        else:
            uc.emu_stop()
