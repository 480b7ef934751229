"""What a run has left of a guest, to the last bit: a checksum of each part, by its name.

For runs that are made twice: whatever is not the same afterwards is a fault of ours.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from kprobesim.machine.cpu_state import lasting, save_cpu

if TYPE_CHECKING:
    from kprobesim.boot.board import Board
    from kprobesim.machine.ram_image import RamImage
    from kprobesim.machine.system import System

__all__ = ["left_of_board", "left_of_system"]


def left_of_system(system: System, ram: RamImage) -> dict[str, int]:
    """That of a guest whose functions are called: registers, time and memory.

    Args:
        system: The guest, between two runs.
        ram: Its memory as it was before.
    """
    running, registers = system.vcpu.number, []
    for vcpu in system.vcpus:
        system.switch_to(vcpu.number)
        registers.append(lasting(system.engine, save_cpu(system.engine)["registers"]))
    system.switch_to(running)
    return {
        "the registers": _check(registers),
        "the time": system.clock.now(),
        "the memory": ram.changes(),
    }


def left_of_board(board: Board, ram: RamImage) -> dict[str, int]:
    """That of a guest that has booted: registers, memory and each device of its board."""
    state, engine = board.save_state(), board.machine.engine
    return {
        "the registers": _check([lasting(engine, cpu["registers"]) for cpu in state["cpus"]]),
        "the memory": ram.changes(),
        "the board": _check(state["board"]),
        **{f"the {name}": _check(part) for name, part in state["parts"].items()},
    }


def _check(plain: Any) -> int:
    return zlib.crc32(repr(plain).encode())
