"""``k.trace()``: events for the time of a block."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from makers.boots import Boots

from kprobesim import CalledKernel, Kernel, UsageError
from kprobesim.dynevent.error import ProbeEventError
from kprobesim.trace.wanted import Wanted

CRC = zlib.crc32(b"123456789") ^ 0xFFFFFFFF
EVENTS = "p crc32_le len=$arg3:u64", "r crc32_le ret=$retval:x32"


def _crc(k: Kernel) -> None:
    k.call("crc32_le", 0xFFFFFFFF, "123456789", 9)


def test_entries_are_there_during_and_behind_it(guest: CalledKernel) -> None:
    with guest.trace(*EVENTS) as trace:
        assert len(trace) == 0
        _crc(guest)
        assert [entry.event for entry in trace] == [
            "kprobes/p_crc32_le_0",
            "kprobes/r_crc32_le_0",
        ]
        _crc(guest)
    _crc(guest)  # nobody records any more
    assert [dict(entry.fields) for entry in trace] == [{"len": 9}, {"ret": CRC}] * 2
    assert [(row.event, row.hits) for row in trace.profile] == [
        ("kprobes/p_crc32_le_0", 2),
        ("kprobes/r_crc32_le_0", 2),
    ]
    assert str(trace).startswith("# tracer: nop\n#\n# ")
    assert str(trace[-1]) in str(trace)
    assert len(guest.kprobes) == len(guest.kprobe_events) == 0


def test_what_was_set_before_is_set_again(guest: CalledKernel) -> None:
    tracing = guest.tracing
    tracing.buffer.kb = 64
    with guest.trace("p gcd", stack=True):
        assert tracing.buffer.kb is None
        assert tracing.stacks
    assert (tracing.buffer.kb, tracing.stacks, tracing.on, tracing.on_notrace) == (
        *(64, False, True, False),
    )


def test_each_event_may_have_a_filter(guest: CalledKernel) -> None:
    pairs = ("p:one gcd a=$arg1:u64", "a == 1"), Wanted("p:other gcd a=$arg1:u64")
    with guest.trace(*pairs, filter="a == 2") as trace:
        for number in range(1, 4):
            guest.call("gcd", number, 3)
    assert [(entry.name, entry.fields["a"]) for entry in trace] == [("one", 1), ("other", 2)]


def test_a_place_that_is_not_there_is_told_with_names_like_it(guest: CalledKernel) -> None:
    with pytest.raises(ProbeEventError) as raised, guest.trace("p strlem+0"):
        pass
    assert str(raised.value).splitlines()[:2] == [
        "trace_kprobe: error: Invalid probed address or symbol",
        "  Command: p strlem+0",
    ]
    assert "did you mean strlen" in str(raised.value)


def test_nothing_is_left_of_what_is_refused(guest: CalledKernel) -> None:
    with pytest.raises(ProbeEventError) as raised, guest.trace("p gcd", "p gcd x=%nosuch"):
        pass
    assert raised.value.id == "BAD_REG_NAME"
    assert len(guest.kprobes) == len(guest.kprobe_events) == 0


def test_an_event_of_somebody_else_is_left_alone(guest: CalledKernel) -> None:
    guest.tracing.on_notrace = True
    guest.kprobe_events.command("p:kprobes/p_gcd_0 strlen")
    with pytest.raises(UsageError, match="p:mine gcd"), guest.trace("p gcd"):
        pass
    assert [len(event.probes) for event in guest.kprobe_events] == [1]


@pytest.mark.parametrize("events", [(), (1,), ("gcd",), ("p",), ("p gcd\np strlen",)])
def test_what_is_no_definition(guest: CalledKernel, events: tuple[str, ...]) -> None:
    with pytest.raises(UsageError), guest.trace(*events):
        pass


def test_a_limit_keeps_the_first_entries(guest: CalledKernel) -> None:
    with guest.trace("p gcd a=$arg1:u64", limit=2) as trace:
        for number in range(5):
            guest.call("gcd", number, 3)
    assert [entry.fields["a"] for entry in trace] == [0, 1]
    assert trace.lost == 3
    with guest.trace("p gcd", limit=0) as trace:
        guest.call("gcd", 1, 3)
    assert (len(trace), trace.profile[0].hits) == (0, 1)
    with pytest.raises(UsageError, match="limit"):
        guest.trace("p gcd", limit=-1)


def test_stacks_are_those_of_the_unwinder(guest: CalledKernel) -> None:
    seen: list[list[int]] = []

    def look(_p: object, _regs: object) -> None:
        seen.append([frame.address for frame in guest.stack_trace()[1:]])

    with (
        guest.trace("p recurse", "r recurse", stack=True) as trace,
        guest.probing("recurse", pre_handler=look),
    ):
        guest.call("recurse", 3)
    entered = [entry for entry in trace if entry.func is None]
    assert [list(entry.stack or ()) for entry in entered] == [
        stack[: len(entry.stack or ())] for stack, entry in zip(seen, entered, strict=True)
    ]
    assert [len(entry.stack or ()) for entry in entered] == sorted(
        len(entry.stack or ()) for entry in entered
    )
    returned = [entry.stack for entry in trace if entry.func is not None]
    assert returned == [entry.stack for entry in reversed(entered)]
    assert [frame.function for frame in trace.frames(entered[-1])][:4] == ["recurse"] * 4


def test_tables_share_their_memory(guest: CalledKernel) -> None:
    pa, pandas, polars = map(pytest.importorskip, ("pyarrow", "pandas", "polars"))
    with guest.trace(*EVENTS) as trace:
        _crc(guest)
    table = trace.to_arrow()
    assert trace.to_arrow() is table
    assert table.column("len").to_pylist() == [9, None]
    frame = trace.to_polars()
    assert isinstance(frame, polars.DataFrame)
    assert frame["ret"].to_list() == [None, CRC]
    assert str(frame.schema["len"]) == "UInt64"

    def buffers(array: object) -> list[int]:
        return [b.address for b in array.chunk(0).buffers() if b is not None]  # type: ignore[attr-defined]

    assert buffers(table.column("time")) == buffers(pa.chunked_array([frame["time"].to_arrow()]))
    other = trace.to_pandas()
    assert isinstance(other, pandas.DataFrame)
    assert other["len"].tolist()[0] == 9
    assert buffers(table.column("time")) == buffers(other["time"].array.__arrow_array__())


def test_records_of_one_event(guest: CalledKernel) -> None:
    pytest.importorskip("numpy")
    with guest.trace("p strlen text=+0($arg1):string first=+0($arg1):x8[2]", "p gcd") as trace:
        guest.call("strlen", "four")
        guest.call("strlen", "fifteen")
    records = trace.to_numpy("p_strlen_0")
    assert records["text"].tolist() == ["four", "fifteen"]
    assert records["first"].tolist() == [[0x66, 0x6F], [0x66, 0x69]]
    assert records["time"].dtype == "i8"
    assert trace.to_numpy("kprobes/p_strlen_0") is records
    with pytest.raises(UsageError, match="p_gcd_0"):
        trace.to_numpy()


def test_a_notebook_gets_a_table(guest: CalledKernel) -> None:
    with guest.trace(*EVENTS) as trace:
        _crc(guest)
    assert f"ret={CRC}" in trace._repr_html_()


def test_strict_kernels_refuse_what_ftrace_cannot_trace(sample: Path, tmp_path: Path) -> None:
    """The sample has no ftrace at all, so nothing there is refused; a flag of the rule shows it."""
    for strict in (True, False):
        k = Kernel.load(sample, strict=strict)
        with k.trace("p gcd"):
            assert k.tracing.on_notrace is not strict


@pytest.mark.real_kernel
def test_functions_of_lib_may_be_traced(real_kernel: CalledKernel) -> None:
    with real_kernel.trace("p crc32_le len=$arg3:u64") as trace:
        _crc(real_kernel)
    assert [entry.fields["len"] for entry in trace] == [9]
    with pytest.raises(ProbeEventError):
        real_kernel.kprobe_events.command("p crc32_le")


def test_stacks_of_a_booted_guest_go_to_user_space(boots: Boots, real_image: Path) -> None:
    k = boots.at_run_init(real_image)
    inside = next(n for n in range(12, 60) if k.check(f"vfs_write+{n}"))
    with k.trace("p:entry vfs_write", f"p:inside vfs_write+{inside}", stack=True) as trace:
        k.run(seconds=0.3)
    for event in ("entry", "inside"):
        first = next(entry for entry in trace if entry.name == event)
        functions = [frame.function for frame in trace.frames(first)]
        assert functions[:2] == ["vfs_write", "ksys_write"]
        assert len(functions) > 3
