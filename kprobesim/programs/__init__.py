"""Programs: what a probe fetches, tests, counts and records without a line of Python at its hits.

The words to write one, and what it consists of; kernels plant them by ``k.count`` and its siblings.
"""

from kprobesim.programs.actions import (
    Action,
    Count,
    Histogram,
    Linear,
    Log2,
    Maximum,
    Minimum,
    Record,
    Sum,
)
from kprobesim.programs.program import Program
from kprobesim.programs.spelling import (
    arg,
    caller,
    comm,
    const,
    cpu,
    duration,
    here,
    now,
    pid,
    reg,
    retval,
    stack_id,
    tgid,
)
from kprobesim.programs.values import Value

__all__ = [
    "Action",
    "Count",
    "Histogram",
    "Linear",
    "Log2",
    "Maximum",
    "Minimum",
    "Program",
    "Record",
    "Sum",
    "Value",
    "arg",
    "caller",
    "comm",
    "const",
    "cpu",
    "duration",
    "here",
    "now",
    "pid",
    "reg",
    "retval",
    "stack_id",
    "tgid",
]
