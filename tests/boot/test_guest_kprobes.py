"""The guest's own kprobes fire under ours, and neither sees the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from makers.boots import SHELL_APPEND, Boots
from shell_example import PROMPT

from kprobesim import BootedKernel, Kernel, Kprobe, Stop
from kprobesim.disasm import disassemble

pytestmark = pytest.mark.real_kernel

FUNCTION = "vfs_read"


def boundary(k: BootedKernel) -> int:
    """The offset of an instruction of ``FUNCTION`` some way in, where execution comes by."""
    start = k.symbols[FUNCTION].address
    instructions = list(disassemble(k.arch, k.read(start, 40), start))
    return next(i.address - start for i in instructions if i.address - start >= 8)


def session(k: BootedKernel, offset: int) -> str:
    """Let the guest probe the function's entry, that place and its return, and show its trace."""
    commands = (
        "mount -t tracefs tracefs /sys/kernel/tracing; cd /sys/kernel/tracing",
        f"echo 'p:entry {FUNCTION} who=$comm' >> kprobe_events",
        f"echo 'p:inside {FUNCTION}+{offset}' >> kprobe_events",
        f"echo 'r:back {FUNCTION} got=$retval:s64' >> kprobe_events",
        "echo 1 > events/kprobes/enable; wc /proc/version; echo 0 > events/kprobes/enable",
        "grep -w wc trace; cat kprobe_profile",
    )
    for command in commands:
        k.console.send(command + "\n")
        assert k.run(PROMPT).kind is Stop.TEXT
    return k.console.text


def test_guests_kprobes_and_ours_on_one_function(
    real_image: Path, shell_initrd: bytes, boots: Boots
) -> None:
    plain = Kernel.resume(boots.at_prompt(real_image, shell_initrd))
    offset = boundary(plain)
    expected = session(plain, offset)
    for event in ("entry: (vfs_read+0x0", f"inside: (vfs_read+{offset:#x}", "back: ("):
        assert event in expected
    assert 'who="wc"' in expected

    hits = {"entry": 0, "inside": 0, "post": 0}

    def count(name: str) -> Any:
        def handler(*_: object) -> None:
            hits[name] += 1

        return handler

    probes = [
        Kprobe(FUNCTION, pre_handler=count("entry")),
        Kprobe(FUNCTION, offset=offset, pre_handler=count("inside"), post_handler=count("post")),
    ]
    probed = Kernel.boot(real_image, initrd=shell_initrd, append=SHELL_APPEND, probes=probes)
    assert probed.run(PROMPT).kind is Stop.TEXT
    before = dict(hits)
    assert before["inside"] == before["post"] > 0
    assert session(probed, offset) == expected
    assert probed.time == plain.time
    assert hits["entry"] - before["entry"] >= 10
    assert hits["inside"] - before["inside"] >= 10
    # Where the guest's own breakpoint is, the guest executes the instruction.
    assert hits["post"] <= hits["inside"]
