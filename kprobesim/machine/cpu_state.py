"""All registers of a CPU as plain data, for an engine of the same kind in any process.

Unicorn's saved context is the registers' C struct as it lies in memory, so it means nothing to
another version, architecture or CPU model. Of what is outside it, or holds pointers in it, only the
debug registers matter: they are switched off around the copy and written again behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kprobesim.errors import UsageError
from kprobesim.machine.engine import Engine

__all__ = ["parse_cpu", "save_cpu"]

_X86_OFF, _X86_ENABLED = 0x400, 0xFF  # DR7: the bit that is always set; L0..G3
_ARM64_ENABLED = 1
# (CRn, CRm, op0, op1, op2) of DBGBCR<n>_EL1 and DBGWCR<n>_EL1 of a Cortex-A72
_ARM64_CONTROLS = (
    *((0, n, 2, 0, 5) for n in range(6)),
    *((0, n, 2, 0, 7) for n in range(4)),
)


def save_cpu(engine: Engine) -> dict[str, Any]:
    """The state as a dict of numbers, texts, bytes and a list; no pointer of this process."""
    controls = _controls(engine)
    _write_controls(engine, _off(engine, controls))
    try:
        registers = engine.read_registers()
    finally:
        _write_controls(engine, controls)
    return {
        "unicorn": engine.version,
        "arch": engine.arch,
        "model": engine.model,
        "registers": registers,
        "debug": controls,
    }


def parse_cpu(engine: Engine, state: object) -> Callable[[], None]:
    """Check ``state``; what is returned puts it in force, and forgets all address translations.

    Raises :class:`UsageError` for what did not come from an engine like this one.
    """
    own = save_cpu(engine)
    if type(state) is not dict or set(state) != set(own):
        raise UsageError("this is no state of a CPU")
    for key in ("unicorn", "arch", "model"):
        if state[key] != own[key]:
            raise UsageError(
                f"the state comes from another emulator: {key} {str(state[key])[:40]!r}, "
                f"here {own[key]!r}"
            )
    registers, controls = state["registers"], state["debug"]
    if type(registers) is not bytes or len(registers) != len(own["registers"]):
        raise UsageError(
            f"the registers are no {len(own['registers'])} bytes: the state is damaged"
        )
    if (
        type(controls) is not list
        or len(controls) != len(own["debug"])
        or not all(type(value) is int and 0 <= value < 1 << 32 for value in controls)
    ):
        raise UsageError("the debug registers are no list of numbers: the state is damaged")

    def put() -> None:
        _write_controls(engine, _off(engine, _controls(engine)))
        engine.write_registers(registers)
        _write_controls(engine, controls)
        engine.flush_tlb()

    return put


def _controls(engine: Engine) -> list[int]:
    if engine.arch == "x86_64":
        return [engine.read_register("dr7")]
    return [engine.read_system(*register) & 0xFFFF_FFFF for register in _ARM64_CONTROLS]


def _off(engine: Engine, controls: list[int]) -> list[int]:
    if engine.arch == "x86_64":
        return [_X86_OFF if value & _X86_ENABLED else value for value in controls]
    return [value & ~_ARM64_ENABLED for value in controls]


def _write_controls(engine: Engine, controls: list[int]) -> None:
    """Write those that differ: Unicorn drops all translations that a breakpoint may be in."""
    if engine.arch == "x86_64":
        if engine.read_register("dr7") != controls[0]:
            engine.write_register("dr7", controls[0])
        return
    for register, value in zip(_ARM64_CONTROLS, controls, strict=True):
        if engine.read_system(*register) & 0xFFFF_FFFF != value:
            engine.write_system(*register, value)
