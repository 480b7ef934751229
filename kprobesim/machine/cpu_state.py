"""All registers of a CPU as plain data, for an engine of the same kind in any process.

Unicorn's saved context is the registers' C struct as it lies in memory, so it means nothing to
another version, architecture or CPU model. A few words of it are left out: one that means nothing
between two runs, and those that are pointers while the guest has debug registers in use, for which
Unicorn keeps breakpoints of its own. These are made anew.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from kprobesim.errors import EngineError, UsageError
from kprobesim.machine.unicorn.engine import Engine

__all__ = ["parse_cpu", "save_cpu"]

_MARK = 0x5AFE_0DB6_7000
_X86_DRS = ("dr0", "dr1", "dr2", "dr3", "dr7")
_X86_ENABLED, _X86_OFF = 0xFF, 0x400  # DR7: L0..G3; the bit that is always set
_X86_POINTERS = 4
_X86_LAST = 8  # bytes: CPUX86State.retaddr, where in Unicorn's code the last fault was raised
_X86_CODE = bytes.fromhex("0f23f8 f4")  # mov dr7, rax; hlt

# A Cortex-A72 has six breakpoints and four watchpoints: DBGB<V,C>R<n>_EL1, DBGW<V,C>R<n>_EL1.
_ARM64_DEBUG = (*((n, 4, 5) for n in range(6)), *((n, 6, 7) for n in range(4)))
_ARM64_ENABLED = 1
_ARM64_POINTERS = 16  # the last words of the context; those for watchpoints follow behind it
_WFI = 0xD503_207F


def save_cpu(engine: Engine) -> dict[str, Any]:
    """The state as a dict of texts and bytes; no pointer of this process is in it."""
    registers = bytearray(engine.read_registers())
    for start, end in _left_out(engine):
        registers[start:end] = bytes(end - start)
    return {
        "unicorn": engine.version,
        "arch": engine.arch,
        "model": engine.model,
        "registers": bytes(registers),
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
    registers = state["registers"]
    if type(registers) is not bytes or len(registers) != len(own["registers"]):
        raise UsageError(
            f"the registers are no {len(own['registers'])} bytes: the state is damaged"
        )
    if any(any(registers[start:end]) for start, end in _left_out(engine)):
        raise UsageError("the registers hold pointers of another process: the state is damaged")

    def put() -> None:
        old = engine.read_registers() if _in_use(engine) else b""
        engine.write_registers(registers)
        if old or _in_use(engine):
            _remake(engine, old or registers, registers)
        engine.flush_tlb()

    return put


@cache
def _bare(arch: str, model: str) -> tuple[bytes, int, int]:
    """The registers of a CPU that has done nothing; where Unicorn's pointers are; how many.

    They follow ``dr[8]`` in QEMU's CPUX86State; in CPUARMState they are the end of what is saved.
    """
    engine = Engine(arch, model)
    bare = engine.read_registers()
    if arch != "x86_64":
        return bare, len(bare) - 8 * _ARM64_POINTERS, _ARM64_POINTERS
    engine.write_register("dr0", _MARK)
    at = engine.read_registers().find(struct.pack("<Q", _MARK))
    engine.write_register("dr7", _MARK)
    if at < 0 or engine.read_registers().find(struct.pack("<Q", _MARK), at + 8) != at + 56:
        raise EngineError("cannot find the debug registers inside Unicorn; is this a new version?")
    return bare, at + 64, _X86_POINTERS


def _left_out(engine: Engine) -> list[tuple[int, int]]:
    bare, at, count = _bare(engine.arch, engine.model)
    pointers = (at, at + 8 * count)
    return [pointers, (len(bare) - _X86_LAST, len(bare))] if engine.arch == "x86_64" else [pointers]


def _in_use(engine: Engine) -> bool:
    if engine.arch == "x86_64":
        return bool(engine.read_register("dr7") & _X86_ENABLED)
    return any(
        engine.read_system(0, n, 2, 0, control) & _ARM64_ENABLED for n, _, control in _ARM64_DEBUG
    )


def _remake(engine: Engine, old: bytes, new: bytes) -> None:
    """Let Unicorn drop its breakpoints for the registers ``old``, and make those for ``new``.

    It does that only when the guest writes a control register: so an otherwise bare CPU does.
    """
    bare, at, count = _bare(engine.arch, engine.model)
    end = at + 8 * count
    engine.write_registers(old)
    old_values = _values(engine)
    engine.write_registers(new)
    values = _values(engine)
    engine.write_registers(bare[:at] + old[at:end] + bare[end:])
    _set(engine, old_values)
    engine.flush_tlb()
    if engine.arch == "x86_64":
        engine.execute(_X86_CODE, [_X86_OFF])
        _set(engine, [*values[:-1], _X86_OFF])
        engine.execute(_X86_CODE, [values[-1]])
    else:
        for index, (n, _, control) in enumerate(_ARM64_DEBUG):
            write = 0xD510_0000 | n << 8 | control << 5  # msr dbg<b,w>cr<n>_el1, x0
            code = struct.pack("<2I", write, _WFI)
            engine.execute(code, [0])
            engine.write_system(0, n, 2, 0, control - 1, values[2 * index])
            engine.execute(code, [values[2 * index + 1]])
    made = engine.read_registers()[at:end]
    engine.write_registers(new[:at] + made + new[end:])


def _values(engine: Engine) -> list[int]:
    """The debug registers, the addresses before their controls."""
    if engine.arch == "x86_64":
        return [engine.read_register(name) for name in _X86_DRS]
    return [
        engine.read_system(0, n, 2, 0, op2) for n, *pair in _ARM64_DEBUG for op2 in pair
    ]  # fmt: skip


def _set(engine: Engine, values: Sequence[int]) -> None:
    """Set them for the guest alone: Unicorn's breakpoints stay."""
    if engine.arch == "x86_64":
        for name, value in zip(_X86_DRS, values, strict=True):
            engine.write_register(name, value)
        return
    numbers = [(n, op2) for n, *pair in _ARM64_DEBUG for op2 in pair]
    for (n, op2), value in zip(numbers, values, strict=True):
        engine.write_system(0, n, 2, 0, op2, value)
