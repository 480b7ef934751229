"""What became of a loaded value in a store: through registers, memory and arithmetic."""

from __future__ import annotations

import pytest

from kprobesim.races.conflicts.access_kinds import Update
from kprobesim.races.conflicts.value_flow import Touch, follow
from kprobesim.why.decode import Code

AT = 0xFFFF_8000_0000_0000
COUNT, STACK = 0x1000, 0x2000
# Instructions of both architectures, each with what it accesses.
LOADS: dict[str, tuple[str, str, tuple[Touch, ...]]] = {
    "load": ("488b07", "200040f9", ((COUNT, 8, False),)),  # a = [count]
    "store": ("488907", "200000f9", ((COUNT, 8, True),)),  # [count] = a
    "add": ("4883c001", "00040091", ()),
    "or": ("4883c801", "000040b2", ()),
    "push": ("50", "e00f1ff8", ((STACK, 8, True),)),  # [--sp] = a
    "pop": ("58", "e00741f8", ((STACK, 8, False),)),
    "constant": ("b805000000", "a00080d2", ()),
}
CASES = {
    "load store": Update.BITS,
    "load or store": Update.BITS,
    "load add store": Update.NUMBER,
    "load add push constant pop store": Update.NUMBER,
    "load constant store": Update.NONE,
    "load push constant push pop store": Update.NONE,
}


@pytest.mark.parametrize(("steps", "found"), CASES.items())
def test_a_value_is_followed(arch: str, steps: str, found: Update) -> None:
    code, path, touched = b"", [], {}
    for number, step in enumerate(steps.split()):
        x86, arm, touches = LOADS[step]
        path.append(AT + len(code))
        code += bytes.fromhex(x86 if arch == "x86_64" else arm)
        touched[number] = touches
    decoded = Code(arch, lambda address, size: code[address - AT : address - AT + size])
    assert follow(path, touched, decoded) is found
