"""The guest's debug registers, for which Unicorn keeps breakpoints and watchpoints of its own.

Unicorn makes and drops these only when the guest writes a control register. So that is what is
executed here, on an otherwise bare CPU.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Protocol

from kprobesim.arch.architecture import halves
from kprobesim.errors import EngineError
from kprobesim.machine.unicorn.engine import Engine

__all__ = ["DEBUG_REGISTERS", "DebugRegisters"]

_MARK = 0x5AFE_0DB6_7000


class DebugRegisters(Protocol):
    """Those of one architecture.

    Attributes:
        LIVE_POINTERS: How many pointers there are from the first one on, also beyond what is saved.
    """

    LIVE_POINTERS: int

    def pointers(self, engine: Engine) -> tuple[int, int, int]:
        """What of a saved context means nothing to another process.

        Args:
            engine: One that has done nothing yet.

        Returns:
            Where Unicorn's pointers are, how many, and how many bytes at its end.
        """

    def host_times(self, engine: Engine) -> list[tuple[int, int]]:
        """Where in a saved context there are times of this computer's: from where to where.

        Args:
            engine: One that has done nothing yet.
        """

    def in_use(self, engine: Engine) -> bool:
        """Whether the guest has any switched on."""

    def values(self, engine: Engine) -> list[int]:
        """All of them, the addresses before their controls."""

    def set(self, engine: Engine, values: Sequence[int]) -> None:
        """Set them for the guest alone: Unicorn's breakpoints stay."""

    def remake(self, engine: Engine, values: Sequence[int]) -> None:
        """Let Unicorn drop its breakpoints, and make those that ``values`` ask for."""


class _X86:
    """DR0 to DR3, and DR7. Unicorn's pointers follow ``dr[8]`` in QEMU's CPUX86State."""

    NAMES = ("dr0", "dr1", "dr2", "dr3", "dr7")
    ENABLED, OFF = 0xFF, 0x400  # DR7: L0..G3; the bit that is always set
    POINTERS = LIVE_POINTERS = 4
    LAST = 8  # bytes: CPUX86State.retaddr, where in Unicorn's code the last fault was raised
    CODE = bytes.fromhex("0f23f8 f4")  # mov dr7, rax; hlt

    def pointers(self, engine: Engine) -> tuple[int, int, int]:
        engine.write_register("dr0", _MARK)
        at = engine.read_registers().find(struct.pack("<Q", _MARK))
        engine.write_register("dr7", _MARK)
        again = engine.read_registers().find(struct.pack("<Q", _MARK), at + 8)
        if at < 0 or again != at + 56:
            raise EngineError(
                "cannot find the debug registers inside Unicorn; is this a new version?"
            )
        return at + 64, self.POINTERS, self.LAST

    def host_times(self, engine: Engine) -> list[tuple[int, int]]:
        return []

    def in_use(self, engine: Engine) -> bool:
        return bool(engine.read_register("dr7") & self.ENABLED)

    def values(self, engine: Engine) -> list[int]:
        return [engine.read_register(name) for name in self.NAMES]

    def set(self, engine: Engine, values: Sequence[int]) -> None:
        for name, value in zip(self.NAMES, values, strict=True):
            engine.write_register(name, value)

    def remake(self, engine: Engine, values: Sequence[int]) -> None:
        engine.execute(self.CODE, [self.OFF])
        self.set(engine, [*values[:-1], self.OFF])
        engine.execute(self.CODE, [values[-1]])


class _Arm64:
    """A Cortex-A72's six breakpoints and four watchpoints: DBG[BW]VR<n>_EL1, DBG[BW]CR<n>_EL1.

    Unicorn's pointers to them are the end of what is saved of CPUARMState; those for watchpoints
    follow behind it.
    """

    REGISTERS = tuple((n, op2) for count, pair in ((6, (4, 5)), (4, (6, 7))) for n in range(count)
                      for op2 in pair)  # fmt: skip
    CONTROLS = REGISTERS[1::2]
    ENABLED = 1
    POINTERS = 16
    LIVE_POINTERS = 2 * POINTERS
    WFI = 0xD503_207F
    PMCCNTR = 9, 13, 3, 3, 0

    def pointers(self, engine: Engine) -> tuple[int, int, int]:
        return len(engine.read_registers()) - 8 * self.POINTERS, self.POINTERS, 0

    def host_times(self, engine: Engine) -> list[tuple[int, int]]:
        """CPUARMState's c15_ccnt_delta, behind c15_ccnt: set at each exception."""
        engine.write_system(*self.PMCCNTR, _MARK)
        at = engine.read_registers().find(struct.pack("<Q", _MARK))
        if at < 0:
            raise EngineError("cannot find PMCCNTR inside Unicorn; is this a new version of it?")
        engine.write_system(*self.PMCCNTR, 0)
        return [(at + 8, at + 16)]

    def in_use(self, engine: Engine) -> bool:
        controls = (engine.read_system(0, n, 2, 0, op2) for n, op2 in self.CONTROLS)
        return any(control & self.ENABLED for control in controls)

    def values(self, engine: Engine) -> list[int]:
        return [engine.read_system(0, n, 2, 0, op2) for n, op2 in self.REGISTERS]

    def set(self, engine: Engine, values: Sequence[int]) -> None:
        for (n, op2), value in zip(self.REGISTERS, values, strict=True):
            engine.write_system(0, n, 2, 0, op2, value)

    def remake(self, engine: Engine, values: Sequence[int]) -> None:
        for index, (n, control) in enumerate(self.CONTROLS):
            write = 0xD510_0000 | n << 8 | control << 5  # msr dbg<b,w>cr<n>_el1, x0
            code = struct.pack("<2I", write, self.WFI)
            engine.execute(code, [0])
            engine.write_system(0, n, 2, 0, control - 1, values[2 * index])
            engine.execute(code, [values[2 * index + 1]])


DEBUG_REGISTERS: Mapping[str, DebugRegisters] = halves(x86_64=_X86(), arm64=_Arm64())
