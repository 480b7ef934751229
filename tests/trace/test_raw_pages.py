"""``trace_pipe_raw``: what the guest's own files say of pages and records is how they lie."""

from __future__ import annotations

import re
import struct
from typing import Any

import pytest

from kprobesim import CalledKernel
from kprobesim.trace.raw.pages import RawPage

_FIELD = re.compile(r"field:(.*) (\w+)(\[\w*\])?;\toffset:(\d+);\tsize:(\d+);\tsigned:(\d)")


def events_of(page: bytes) -> list[tuple[int, bytes]]:
    """Times and records of a page, read as include/linux/ring_buffer.h says."""
    time, commit = struct.unpack_from("<QQ", page)
    at, end, found = 16, 16 + (commit & 0xFFFFF), []
    while at < end:
        (word,) = struct.unpack_from("<I", page, at)
        kind, delta = word & 31, word >> 5
        at += 4
        if kind == 30:
            (high,) = struct.unpack_from("<I", page, at)
            time, at = time + delta + (high << 27), at + 4
            continue
        size = 4 * kind
        if not kind:
            size = struct.unpack_from("<I", page, at)[0] - 4
            at += 4
        time += delta
        found.append((time, page[at : at + size]))
        at += size
    assert at == end
    return found


def fields_of(format: str, record: bytes) -> dict[str, Any]:
    """A record's values, as a ``format`` file says."""
    values: dict[str, Any] = {}
    for kind, name, _, offset, size, signed in _FIELD.findall(format):
        part = record[int(offset) : int(offset) + int(size)]
        number = int.from_bytes(part, "little", signed=signed == "1")
        values[name] = number
        if kind.startswith("__data_loc"):
            start, length = number & 0xFFFF, number >> 16 & 0xFFFF
            values[name] = record[start : start + length].rstrip(b"\0").decode()
    return values


def test_records_lie_as_their_format_says(guest: CalledKernel) -> None:
    t = guest.tracefs
    t["kprobe_events"].append("p:one crc32_le text=+0($arg2):string n=$arg2:x64 s=$arg2:s16\n")
    t["kprobe_events"].append("r:back crc32_le ret=$retval:u32\n")
    t["events/enable"].write("1")
    crc = guest.call("crc32_le", 0, "a text", 6)
    t["trace_marker"].write("marked")
    entries = list(guest.tracing.buffer)
    page = t["per_cpu/cpu0/trace_pipe_raw"].read_bytes()
    assert len(page) == 4096 and "one" not in t["trace"].read()
    one, back, mark = events_of(page)
    assert [time for time, _ in (one, back, mark)] == [entry.time for entry in entries]
    formats = [t[f"events/{name}/format"].read() for name in ("kprobes/one", "kprobes/back")]
    values = fields_of(formats[0], one[1])
    assert values["common_type"] == int(t["events/kprobes/one/id"].read())
    assert (values["text"], values["n"]) == ("a text", entries[0].fields["n"])
    assert values["s"] == entries[0].fields["s"] and values["__probe_ip"] == entries[0].ip
    values = fields_of(formats[1], back[1])
    assert (values["ret"], values["__probe_func"]) == (crc, entries[1].func)
    format = t["events/ftrace/print/format"].read()
    values = fields_of(format, mark[1])
    assert values["common_type"] == 5 and f"ID: {values['common_type']}\n" in format
    assert mark[1][16:].rstrip(b"\0") == b"marked\n"
    assert t["per_cpu/cpu0/trace_pipe_raw"].read_bytes() == b""


def test_entries_that_were_given_up_are_told(guest: CalledKernel) -> None:
    t = guest.tracefs
    t["kprobe_events"].append("p:one hweight64 $arg1:u64")
    t["events/enable"].write("1")
    t["buffer_size_kb"].write("1")
    for number in range(1000):
        guest.call("hweight64", number)
    left = len(guest.tracing.buffer)
    data = t["per_cpu/cpu0/trace_pipe_raw"].read_bytes()
    pages = [data[at : at + 4096] for at in range(0, len(data), 4096)]
    assert sum(len(events_of(page)) for page in pages) == left < 1000
    commits = [struct.unpack_from("<QQ", page)[1] for page in pages]
    assert [commit >> 31 & 1 for commit in commits] == [1] + [0] * (len(pages) - 1)
    if commits[0] >> 30 & 1:
        behind = 16 + (commits[0] & 0xFFFFF)
        assert struct.unpack_from("<Q", pages[0], behind) == (1000 - left,)
    for number in range(1000):
        guest.call("hweight64", number)
    assert f"CPU:0 [LOST {1000 - len(guest.tracing.buffer)} EVENTS]" in t["trace_pipe"].read()


@pytest.mark.parametrize("size", [1, 111, 112, 113, 3000])
def test_long_records_and_long_waits(size: int) -> None:
    page = RawPage()
    record = bytes(range(1, 250)) * 20
    assert page.add(record[:size], 1 << 40) and page.add(record[:8], (1 << 40) + (1 << 30))
    first, second = events_of(bytes(page))
    assert first[0] == 1 << 40 and first[1].startswith(record[:size])
    assert second == ((1 << 40) + (1 << 30), record[:8])


def test_tasks_by_number(guest: CalledKernel) -> None:
    t = guest.tracefs
    t["kprobe_events"].append("p:one hweight64 $arg1:u64")
    t["events/enable"].write("1")
    guest.call("hweight64", 1)
    (entry,) = guest.tracing.buffer
    t["set_event_pid"].write(f"{entry.pid + 1} {entry.pid + 7}")
    guest.call("hweight64", 2)
    t["set_event_pid"].append(str(entry.pid))
    assert t["set_event_pid"].read().split() == [str(entry.pid + n) for n in (0, 1, 7)]
    guest.call("hweight64", 3)
    t["set_event_notrace_pid"].write(str(entry.pid))
    guest.call("hweight64", 4)
    t["set_event_pid"].write("")
    t["set_event_notrace_pid"].write("")
    guest.call("hweight64", 5)
    assert [entry.fields["arg1"] for entry in guest.tracing.buffer] == [1, 3, 5]
    with pytest.raises(OSError, match="no number"):
        t["set_event_pid"].write("me")


def test_what_is_said_of_the_buffer(guest: CalledKernel) -> None:
    t = guest.tracefs
    t["kprobe_events"].append("p:one hweight64 $arg1:u64")
    t["events/enable"].write("1")
    t["tracing_cpumask"].write("0")
    guest.call("hweight64", 1)
    assert (t["tracing_cpumask"].read(), t["tracing_on"].read()) == ("0\n", "1\n")
    t["tracing_cpumask"].write("1")
    guest.call("hweight64", 2)
    assert [entry.fields["arg1"] for entry in guest.tracing.buffer] == [2]
    t["options/disable_on_free"].write("1")
    t["free_buffer"].append("x")
    assert t["tracing_on"].read() == "0\n" and len(guest.tracing.buffer) == 0
    assert t["timestamp_mode"].read() == "[delta] absolute\n"
    sizes = []
    for size in ("2", "6553", "32768"):  # as a 6.1 says behind each
        t["saved_cmdlines_size"].write(size)
        sizes.append(t["saved_cmdlines_size"].read())
    assert sizes == ["6552\n", "19659\n", "45874\n"]
    with pytest.raises(OSError, match="mask"):
        t["tracing_cpumask"].write("all")
