"""A search for the pc that is left out: nothing is told otherwise without it."""

from __future__ import annotations

from pathlib import Path

import pytest
from makers.host_cpu import HostCpu

from kprobesim import GuestFault, Kernel
from kprobesim.machine.trap import Trap
from kprobesim.machine.unicorn import access_log
from kprobesim.machine.unicorn.access_log import AccessLog
from kprobesim.machine.unicorn.restore_code import CODE, ENTRY, WORDS

TABLE, LIMIT = 0x5000, 0x5100


def told(sample: Path, *, counts: bool = True) -> tuple[bytes, dict[str, int], Trap]:
    """What is noted of some calls; registers and the trap where one faults."""
    kernel = Kernel.load(sample)
    engine, memory = kernel.machine.engine, kernel.alloc(64)
    if counts:
        engine.count_instructions()
    with AccessLog(engine) as log:
        for _ in range(2):
            kernel.call("do_fork", 0, 0, max_instructions=100_000)
        kernel.call("memcpy", memory, memory + 8, 32, max_instructions=100_000)
        records = log.records()
        with pytest.raises(GuestFault) as caught:
            kernel.call("memcpy", memory, 0x10, 32, max_instructions=100_000)
    return records, caught.value.regs.as_dict(), caught.value.trap


def test_records_and_faults_are_those_of_a_search(
    sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = told(sample)
    monkeypatch.setattr(access_log, "trust_the_pc", lambda _engine: lambda: None)
    assert quick == told(sample)


def test_where_blocks_are_counted_it_is_searched_for(
    sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = told(sample, counts=False)
    monkeypatch.setattr(access_log, "trust_the_pc", lambda _engine: lambda: None)
    assert quick == told(sample, counts=False)


@pytest.mark.parametrize("kind", sorted(CODE))
@pytest.mark.parametrize(
    "cpu, limit, leaves, searched",
    [(7, 5, 0, False), (7, 5, 1, True), (7, 0, 0, True), (8, 5, 0, True)],
)
def test_who_counts_and_goes_on_needs_no_search(
    kind: str, cpu: int, limit: int, leaves: int, searched: bool
) -> None:
    host = HostCpu(kind, CODE[kind], WORDS[2:])
    host.put_words(WORDS, {"table": TABLE, "count": 2})
    other, entry = {"cpu": 9, "limit": LIMIT + 8}, {"cpu": 7, "limit": LIMIT}
    for number, name in enumerate(ENTRY):
        host.put(TABLE + 8 * number, other[name])
        host.put(TABLE + 8 * (len(ENTRY) + number), entry[name])
    host.put(LIMIT, limit)
    where, _ = host.call("restore", cpu, 0x1234, leaves)
    assert where == ("real_restore" if searched else "")
    assert searched or host.result == 1
