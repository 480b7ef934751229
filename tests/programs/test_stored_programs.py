"""Programs as plain data: the same again, and nothing that is none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from makers.random_programs import programs

from kprobesim import UsageError
from kprobesim.programs import Count, Program, arg, comm, duration, reg, retval
from kprobesim.programs.as_data import program_from_data, program_to_data
from kprobesim.snapshot.packing import pack_value, unpack_value


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs([arg(0), reg("sp"), retval], [duration, retval], [comm]))
def test_a_program_comes_back_as_it_was(program: Program) -> None:
    back = program_from_data(unpack_value(pack_value(program_to_data(program))))
    assert back.shape == program.shape
    assert repr(back) == repr(program)


BAD: dict[str, Any] = {
    "nothing": None,
    "no actions": {"actions": [], "when": None},
    "an unknown action": {
        "actions": [{"action": "Exec", "key": [], "max_keys": 1, "value": ["result"]}]
    },
    "an unknown value": {"when": ["system", "rm"]},
    "an unknown fact": {"when": ["fact", "root"]},
    "an unknown operator": {"when": ["operation", "**", ["result"], ["result"]]},
    "types that do not fit": {"when": ["operation", "+", ["fact", "comm"], ["result"]]},
    "an unknown width": {"when": ["cast", ["result"], "__class__"]},
    "an endless string": {"when": ["text", ["result"], 1 << 40, False]},
    "a value of wrong length": {"when": ["load", ["result"]]},
    "a long number": {"when": ["const", 1 << 80]},
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_program_is_refused(what: str) -> None:
    good = program_to_data(Program(Count()))
    data = {**good, **BAD[what]} if BAD[what] is not None else None
    with pytest.raises(UsageError):
        program_from_data(data)
