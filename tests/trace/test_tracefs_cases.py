"""tracefs beside the guest's own, in one boot of a real kernel: what the kernel's own tests ask."""

from __future__ import annotations

import hashlib
from pathlib import Path

import compare_traces
import pytest
from compare_tracefs import Comparison
from tracefs_cases import arguments, busy_check, dynamic_events
from tracefs_control import control, lines

from kprobesim.asking.booted import booted_kernel

pytestmark = pytest.mark.real_kernel

CASES = (arguments, busy_check, control, dynamic_events, lines)
"""Those that say most; the others are done by scripts/compare_tracefs.py."""


def test_both_agree(real_image: Path) -> None:
    comparison = Comparison(booted_kernel(real_image))
    for path in ("README", "available_filter_functions", "kprobes/blacklist", "kprobes/list"):
        folder = "/sys/kernel/" + ("debug" if "/" in path else "tracing")
        _, said = comparison.shell.run(f"md5sum < {folder}/{path}", 60)
        ours = comparison.kernel.tracefs[path].read_bytes()
        assert said.split()[0] == hashlib.md5(ours).hexdigest(), path
    found = {case.__name__: comparison.differences(case) for case in CASES}
    assert {name: different for name, different in found.items() if different} == {}
    traces = compare_traces.Comparison(comparison.kernel)
    definitions = compare_traces.sections()["types"]
    count, different = traces.compare([*map(traces.filled, definitions)])
    assert count > 5
    assert different == []
    assert traces.profiles() == []
