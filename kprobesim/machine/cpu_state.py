"""All registers of a CPU as plain data, for an engine of the same kind in any process.

Unicorn's saved context is the registers' C struct as it lies in memory, so it means nothing to
another version, architecture or CPU model. A few words of it are left out: one that means nothing
between two runs, a time of this computer's, and those that are pointers while the guest has debug
registers in use, for which Unicorn keeps breakpoints of its own. These are made anew.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

from kprobesim.errors import UsageError
from kprobesim.machine.debug_registers import DEBUG_REGISTERS
from kprobesim.machine.unicorn.engine import Engine

__all__ = ["breakpoints_of", "lasting", "parse_cpu", "remake_breakpoints", "save_cpu"]

_OF_FAULTS = {"error_code", "old_exception", "esr", "far"}  # of Engine.fields


def save_cpu(engine: Engine) -> dict[str, Any]:
    """The state as a dict of texts and bytes; no pointer of this process is in it."""
    registers = bytearray(engine.read_registers())
    for start, end in (*_left_out(engine), *_host_times(engine.arch, engine.model)):
        registers[start:end] = bytes(end - start)
    return {
        "unicorn": engine.version,
        "arch": engine.arch,
        "model": engine.model,
        "registers": bytes(registers),
    }


def lasting(engine: Engine, registers: bytes) -> bytes:
    """``registers``, as :func:`save_cpu` gives them, without what is left of faults.

    That means something only while one is delivered, and Unicorn writes to it at other times, too.
    """
    kept, first = bytearray(registers), ctypes.addressof(engine.words) - engine.registers_address
    for name in _OF_FAULTS & engine.fields.keys():
        at = first + engine.layout.fields[name]
        size = ctypes.sizeof(engine.fields[name])
        kept[at : at + size] = bytes(size)
    return bytes(kept)


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
    registers = state["registers"]
    if type(registers) is not bytes or len(registers) != len(own["registers"]):
        raise UsageError(
            f"the registers are no {len(own['registers'])} bytes: the state is damaged"
        )
    if any(any(registers[start:end]) for start, end in _left_out(engine)):
        raise UsageError("the registers hold pointers of another process: the state is damaged")

    in_use: bool | None = None  # looked at once: it takes as long as all else

    def put() -> None:
        nonlocal in_use
        old = engine.read_registers() if any(breakpoints_of(engine).raw) else b""
        engine.write_registers(registers)
        if in_use is None:
            in_use = DEBUG_REGISTERS[engine.arch].in_use(engine)
        if old or in_use:
            remake_breakpoints(engine, old or registers, registers)
        engine.flush_tlb()

    return put


@cache
def _bare(arch: str, model: str) -> tuple[bytes, int, int, int]:
    """The registers of a CPU that has done nothing, and what of them is left out.

    That is from where to where Unicorn's pointers are, and from where on the rest means nothing.
    """
    engine = Engine(arch, model)
    bare = engine.read_registers()
    at, count, last = DEBUG_REGISTERS[arch].pointers(engine)
    return bare, at, at + 8 * count, len(bare) - last


@cache
def _host_times(arch: str, model: str) -> list[tuple[int, int]]:
    return DEBUG_REGISTERS[arch].host_times(Engine(arch, model))


def _left_out(engine: Engine) -> list[tuple[int, int]]:
    bare, at, end, last = _bare(engine.arch, engine.model)
    return [(at, end), (last, len(bare))]


def breakpoints_of(engine: Engine) -> Any:
    """Unicorn's pointers to the breakpoints that it keeps for the guest; all 0: there are none.

    They are bytes, live.
    """
    at, size = _bare(engine.arch, engine.model)[1], 8 * DEBUG_REGISTERS[engine.arch].LIVE_POINTERS
    return (ctypes.c_char * size).from_address(engine.registers_address + at)


def remake_breakpoints(engine: Engine, old: bytes, new: bytes) -> None:
    """Let Unicorn drop its breakpoints for the registers ``old``, and make those for ``new``."""
    bare, at, end, _ = _bare(engine.arch, engine.model)
    debug = DEBUG_REGISTERS[engine.arch]
    engine.write_registers(old)
    old_values = debug.values(engine)
    engine.write_registers(new)
    values = debug.values(engine)
    engine.write_registers(bare[:at] + old[at:end] + bare[end:])
    debug.set(engine, old_values)
    engine.flush_tlb()
    debug.remake(engine, values)
    made = engine.read_registers()[at:end]
    engine.write_registers(new[:at] + made + new[end:])
