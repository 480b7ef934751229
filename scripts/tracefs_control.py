"""More cases for two faces of tracing: the files that switch, filter and show what is recorded."""

from __future__ import annotations

from collections.abc import Iterator

from tracefs_faces import ALL, EVENTS, FORKED, TRACE, Face, lines_with
from tracefs_texts import FILTERS


def lines(face: Face) -> Iterator[object]:
    """Several commands in one write, comments, blank lines, the first that is refused."""
    yield (
        face.append(EVENTS, "p:one FORK\n\n# a comment\np:two OPEN # another\n"),
        face.read(EVENTS),
    )
    yield face.append(EVENTS, "p:three FORK\np:four nosuch\np:five FORK\n"), face.read(EVENTS)
    yield face.write(EVENTS, "p:six FORK\n-:six\np:seven FORK"), face.read(EVENTS)


def switches(face: Face) -> Iterator[object]:
    """Files that say whether events are enabled, and by which words they are."""
    yield face.append(EVENTS, "p:one FORK", "p:two OPEN", "p:other/three FORK")
    for path, text in (
        ("events/kprobes/one/enable", "1"),
        ("events/kprobes/one/enable", "2"),
        ("events/kprobes/one/enable", "x"),
        ("events/kprobes/two/enable", "1\n"),
        (ALL, "0"),
        ("set_event", "kprobes:one"),
    ):
        yield face.write(path, text), face.read("set_event")
        yield (
            face.read("events/kprobes/one/enable"),
            face.read(ALL),
            face.read("events/other/enable"),
        )
    for text in ("other:", "!three", "*:two", "kprobes:nosuch", "nosuch", "!kprobes"):
        yield face.append("set_event", text), face.read("set_event")
    yield face.write("set_event", ""), face.read("set_event")
    yield (
        lines_with(face.read("available_events"), "kprobes:"),
        lines_with(face.read("available_events"), "other:"),
    )


def control(face: Face) -> Iterator[object]:
    """Switching the buffer off, emptying it, markers, sizes, options and clocks."""
    yield face.append(EVENTS, "p:one FORK"), face.write(ALL, "1"), face.write("tracing_on", "0")
    yield FORKED
    yield face.read("tracing_on"), face.read(TRACE)
    yield face.write("tracing_on", "1")
    yield FORKED
    yield face.write(ALL, "0"), face.append(TRACE, "x"), face.read(TRACE)
    yield face.write(TRACE, "x"), face.read(TRACE), face.read("per_cpu/cpu0/trace")
    for path, text in (
        ("current_tracer", "nop"),
        ("current_tracer", "nosuch"),
        ("trace_clock", "global"),
        ("trace_clock", "nosuch"),
        ("trace_clock", "local"),
        ("trace_options", "noirq-info"),
        ("trace_options", "nosuch"),
        ("trace_options", "test_nop_refuse"),
        ("options/irq-info", "1"),
        ("options/overwrite", "3"),
        ("buffer_size_kb", "0"),
        ("buffer_size_kb", "12"),
        ("tracing_on", "x"),
        ("kprobes/enabled", "maybe"),
        ("kprobe_profile", "x"),
        ("README", "x"),
    ):
        yield path, face.write(path, text)
        if path.partition("_")[0] in ("trace", "buffer"):
            yield face.read(path)
    yield face.read("trace_options")
    yield face.write("buffer_size_kb", "1408"), face.read("buffer_size_kb")


def filters(face: Face) -> Iterator[object]:
    """Filters of an event and of a group, good and bad, and what they let through."""
    yield face.append(EVENTS, "p:one FORK count=\\1:u32 comm=$comm", "p:two FORK count=\\7:u8")
    for text in FILTERS:
        yield text, face.write("events/kprobes/one/filter", text)
        yield face.read("events/kprobes/one/filter"), face.read("error_log")
    for text in ("count == 1", 'comm == "init"', "nosuch > 1"):
        yield face.write("error_log", ""), face.write("events/kprobes/filter", text)
        yield face.read("events/kprobes/filter"), face.read("error_log")
        yield [face.read(f"events/kprobes/{name}/filter") for name in ("one", "two")]
    for text in ("count == 1", "count > 1", "common_pid == 1", "0"):
        yield face.write("events/kprobes/filter", text)
        yield face.write(ALL, "1")
        yield FORKED
        yield face.write(ALL, "0"), face.read(TRACE), face.read("kprobe_profile")


def snapshots(face: Face) -> Iterator[object]:
    """The buffer's entries set aside, by the file and by a trigger."""
    yield face.append(EVENTS, "p:one FORK", "p:two FOLDER"), face.read("snapshot")
    yield face.write(ALL, "1")
    yield FORKED
    yield face.write(ALL, "0"), face.write("snapshot", "1")
    yield face.read("snapshot"), face.read(TRACE), face.write("snapshot", "x")
    yield face.write("snapshot", "2"), face.read("snapshot")
    yield face.append("events/kprobes/one/trigger", "snapshot:1", "traceoff:1 if common_pid > 0")
    yield FORKED
    yield face.read("events/kprobes/one/trigger"), face.read("tracing_on"), face.read("snapshot")
    yield face.append("events/kprobes/one/trigger", "!snapshot", "!traceoff", "nosuch")
    yield face.write("tracing_on", "1"), face.write("snapshot", "0"), face.read("snapshot")


def histograms(face: Face) -> Iterator[object]:
    """A histogram of tasks, one of values, and what is wrong with others."""
    path, hist = "events/kprobes/one/", "hist:keys=common_pid.execname:vals=count:sort=hitcount"
    yield face.append(EVENTS, "p:one FORK count=\\1:u32 who=$comm"), face.read(path + "trigger")
    yield face.append(path + "trigger", hist)
    yield FORKED
    yield face.append(path + "trigger", f"{hist}:pause")  # reading forks, too
    yield face.read(path + "hist"), face.read(path + "trigger"), face.read(path + "enable")
    yield (
        face.append(path + "trigger", "hist:keys=nosuch", "hist:vals=count"),
        face.read("error_log"),
    )
    yield face.append(path + "trigger", f"!{hist}")
    yield face.read(path + "trigger"), face.read(path + "enable"), face.read(path + "hist")
