"""What the kernel's own tests ask of kprobe events, as steps for one face of tracing.

The behaviour is that of tools/testing/selftests/ftrace/test.d/kprobe and test.d/dynevent (Linux
7.2), told in our own words. Each yields outcomes, which two faces in one boot must agree about.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from tracefs_faces import Face, Run

Steps = Callable[[Face], Iterator[object]]

EVENTS, ALL, TRACE = "kprobe_events", "events/kprobes/enable", "trace"
TUN_USED = Run("cat /dev/net/tun > /dev/null 2>&1")
FORKED = Run("(echo forked) > /dev/null")
FUNCTIONS = {
    "FORK": ("kernel_clone", "_do_fork"),
    "FOLDER": ("eventfs_create_dir", "eventfs_add_dir", "tracefs_create_dir"),
    "OPEN": ("do_sys_openat2", "do_sys_open"),
}
"""What the kernel calls a function, by what it is here; the first that it has."""
GOOD_ARGUMENTS = (
    "%REG", "@SYM", "@0xADDR", "@SYM+10", "@SYM-10", "$stack", "$stack0", "$stack1", "$comm",
    "+0(%REG)", "-0(%REG)", "+10($stack)", "+0($stack1)", "+10(@SYM-10)", "+0(+10(+20($stack)))",
    "name=%REG", "%REG:x16", "$comm:string", "+0($stack):string",
)  # fmt: skip
BAD_ARGUMENTS = (
    "%ex", "@", "@BADSYM", "@SYM*10", "/10", "%10", "&10", "|10", "$stackp", "$stack0+10",
    "$stack1-10", "$retval", "+(%REG)", "(%REG+10)", "-(%REG)", "(%REG)", "+10($comm)",
    "+0(%REG)+10", "varname=varname2=%REG", "%REG::x16", "%REG:y16", "x16:%REG", "$comm:x64",
    "$stack:string", "%REG:string",
)  # fmt: skip
SYNTAX_ERRORS = (
    "p100 vfs_read", "r1a111 vfs_read", "r100000 vfs_read", "p non_exist_func", "p hoge-fuga",
    "p hoge+1000-1000", "r vfs_read+10", "p:/bar vfs_read", f"p:{65 * 'a'}/bar vfs_read",
    "p:foo.1/bar vfs_read", "p: vfs_read", f"p:foo/{65 * 'a'} vfs_read", "p:foo/bar.1 vfs_read",
    "p vfs_read $retval", "p vfs_read $stack10000", "p vfs_read $arg10000",
    "p vfs_read $none_var", "p vfs_read %none_reg", "p vfs_read @12345678abcde",
    "p vfs_read @+10", "p vfs_read arg1=\\x", 'p vfs_read arg1=\\"abcd', "p vfs_read +0@0)",
    "p vfs_read +0ab1(@0)", "p vfs_read +0(+0(@0)", "p vfs_read +0($comm)", "p vfs_read &1",
    "p vfs_read " + "+0(" * 14 + "@0" + ")" * 14, "p vfs_read +0(@11):u8[10",
    "p vfs_read +0(@11):u8[10]a", "p vfs_read +0(@11):u8[10a]", "p vfs_read +0(@11):u8[256]",
    "p vfs_read @11:unknown_type", "p vfs_read $stack0:string", "p vfs_read @11:b10@a/16",
    f"p vfs_read arg{34 * '1'}=@11", "p vfs_read =@11", "p vfs_read var.1=@11",
    "p vfs_read var1=@11 var1=@12", f"p vfs_read +1234567({60 * 'a'})", "p vfs_read arg1=",
    "p vfs_read+3", "p vfs_read%hoge", "p vfs_read+10%return", "p vfs_read args=$arg*",
    "p vfs_read +0($arg*)", "p vfs_read $arg* $arg*", "p vfs_read+20 $arg*", "p vfs_read hoge",
    "p kfree $arg10", "r kfree $retval", "a:probe vfs_read", "p", "x vfs_read", "-:nosuch", "-",
)  # fmt: skip


def add_and_remove(face: Face) -> Iterator[object]:
    """One event comes, with its folder, and goes when the file is written anew."""
    yield face.append(EVENTS, "p:myevent FORK"), face.read(EVENTS)
    yield face.exists("events/kprobes/myevent"), face.read("events/kprobes/myevent/format")
    yield face.write(EVENTS, ""), face.read(EVENTS), face.exists("events/kprobes/myevent")


def busy_check(face: Face) -> Iterator[object]:
    """While one is enabled none goes."""
    yield face.append(EVENTS, "p:one FORK", "p:two FORK+4")
    yield face.write("events/kprobes/two/enable", "1"), face.write(EVENTS, "")
    yield face.read(EVENTS), face.append(EVENTS, "-:two"), face.append(EVENTS, "-:one")
    yield face.write("events/kprobes/two/enable", "0"), face.write(EVENTS, ""), face.read(EVENTS)


def arguments(face: Face) -> Iterator[object]:
    """Stack words and comm, in the listing and in the trace; deleted by name."""
    yield face.append(EVENTS, "p:testprobe FORK $stack $stack0 +0($stack) comm=$comm $comm")
    yield face.read(EVENTS)
    yield face.write("events/kprobes/testprobe/enable", "1")
    yield FORKED
    yield face.write("events/kprobes/testprobe/enable", "0")
    yield face.read(TRACE), face.read("kprobe_profile")
    yield face.append(EVENTS, "-:testprobe"), face.exists("events/kprobes/testprobe")


def strings(face: Face) -> Iterator[object]:
    """Characters and strings of an argument in kernel memory, two in one event."""
    made = "+0($arg1)"
    yield face.append(
        EVENTS,
        f"p:chars FOLDER arg1={made}:char arg2={made}:char[4]",
        f"p:texts FOLDER arg1={made}:string arg2={made}:string",
    )
    yield face.read("events/kprobes/texts/format")
    yield face.write(ALL, "1")
    yield Run(
        "cd /sys/kernel/tracing; echo p:test kernel_clone >> kprobe_events; "
        "echo p:test _do_fork >> kprobe_events; echo -:test >> kprobe_events; cd /"
    )
    yield face.write(ALL, "0"), face.read(TRACE)


def symbols(face: Face) -> Iterator[object]:
    """The kernel's banner in every type."""
    types = "u64 u32 u16 u8 s64 s32 s16 s8 x64 x32 x16 x8 b8@4/32 string char char[8]".split()
    yield face.append(EVENTS, *(f"p:kind{n} FORK @BANNER:{kind}" for n, kind in enumerate(types)))
    yield face.write(ALL, "1")
    yield FORKED
    yield face.write(ALL, "0"), face.read(TRACE)


def widths(face: Face) -> Iterator[object]:
    """One word as a signed, an unsigned and a hexadecimal number, and a part of it."""
    for w in (64, 32, 16, 8):
        kinds = " ".join(f"$stack0:{kind}" for kind in (f"s{w}", f"u{w}", f"x{w}", f"b4@4/{w}"))
        yield face.append(EVENTS, f"p:width{w} FORK {kinds}")
    yield face.read(EVENTS)
    yield face.write(ALL, "1")
    yield FORKED
    yield face.write(ALL, "0"), face.read(TRACE)


def user_strings(face: Face) -> Iterator[object]:
    """A path in user memory, and kernel memory that is no user's."""
    yield face.append(
        EVENTS,
        "p:path OPEN +0($arg2):ustring +u0($arg2):string +0($arg2):string",
        "p:kernels OPEN +0($stack):ustring +u0($stack):string",
    )
    yield face.write(ALL, "1")
    yield Run(": < /dev/null")
    yield face.write(ALL, "0"), _of(face.read(TRACE), '"/dev/null"'), "kernels:" in face.read(TRACE)


def _of(trace: str, word: str) -> list[str]:
    """The lines with ``word``."""
    return [line for line in trace.splitlines() if word in line]


def argument_syntax(face: Face) -> Iterator[object]:
    """What may stand for an argument, and what not."""
    yield face.append(EVENTS, *(f"p FORK {text}" for text in GOOD_ARGUMENTS))
    yield face.read(EVENTS), face.write(EVENTS, "")
    yield face.append(EVENTS, "r FORK $retval", *(f"p FORK {text}" for text in BAD_ARGUMENTS))
    yield face.read(EVENTS)


def names(face: Face) -> Iterator[object]:
    """Names that are given, and that are made."""
    yield face.append(EVENTS, "p FORK", "p:event1 FORK", "p:kprobes2/event2 FORK", "p:k3/ FORK")
    yield face.append(EVENTS, "r FORK", "p FORK+4", "p:vfs.read2 vfs_read")
    yield face.read(EVENTS), [face.exists(f"events/{name}") for name in ("kprobes2", "k3")]
    yield face.append(EVENTS, "-:k3/"), face.read(EVENTS)


def boundaries(face: Face) -> Iterator[object]:
    """A probe on every instruction of a function, and nowhere else."""
    yield face.append(EVENTS, *(f"p FORK+{offset}" for offset in range(256)))
    yield face.read(EVENTS)
    yield face.write(ALL, "1")
    yield FORKED
    yield face.write(ALL, "0"), face.read("kprobe_profile")


def absent_module(face: Face) -> Iterator[object]:
    """Events on a module that is not loaded: there, enabled, without a hit, and deleted."""
    yield face.append(EVENTS, "p:named nosuch:open $stack", "r nosuch:open", "p nosuch:open+4")
    yield face.append(EVENTS, "p:one 1", "p:named nosuch:close $stack"), face.read(EVENTS)
    yield face.write(ALL, "1"), face.read(ALL)
    yield face.write(ALL, "0"), face.read("kprobe_profile"), face.append(EVENTS, "-:named", "-:one")
    yield face.read(EVENTS), face.exists("events/kprobes/named")


def module(face: Face) -> Iterator[object]:
    """Events on functions of a module before it is there, while it is, and after it has gone.

    They are disabled when it comes: a breakpoint of the guest's own would be there before ours.
    """
    yield face.append(EVENTS, "p:early tun:tun_chr_open who=$comm", "p:nosuch tun:nosuch")
    yield Run("modprobe tun")
    yield (
        face.read(EVENTS),
        face.append(
            EVENTS,
            "p tun_chr_open",
            "p:late tun:tun_chr_open $arg1:u8",
            "r:back tun:tun_chr_open ret=$retval",
            "p tun:nosuch",
            "p tun:vfs_read",
        ),
    )
    yield face.read(EVENTS), face.read("error_log")
    yield face.write(ALL, "1")
    yield TUN_USED
    yield face.write(ALL, "0"), _of(face.read(TRACE), "tun_"), face.read("kprobe_profile")
    yield Run("rmmod tun")
    yield face.read(EVENTS), face.write(ALL, "1"), face.read(ALL), face.write(ALL, "0")
    yield face.write(TRACE, "")
    yield Run("modprobe tun")
    yield face.write(ALL, "1")
    yield TUN_USED
    yield face.write(ALL, "0"), _of(face.read(TRACE), "tun_"), face.read("kprobe_profile")
    yield face.write(EVENTS, ""), face.read(EVENTS)
    yield Run("rmmod tun")


def several_probes(face: Face) -> Iterator[object]:
    """Two functions, one event."""
    yield face.append(EVENTS, "p:both FORK", "p:both vfs_read", "p:both vfs_read")
    yield face.append(EVENTS, "p:both vfs_write $stack", "r:both vfs_write"), face.read(EVENTS)
    yield face.append(EVENTS, "-:both"), face.read(EVENTS)
    yield face.append(EVENTS, "p:both FORK", "p:both OPEN", "-:both OPEN"), face.read(EVENTS)
    yield face.append(EVENTS, "p:both OPEN"), face.write("events/kprobes/both/enable", "1")
    yield FORKED
    yield face.append(EVENTS, "-:both OPEN", "-:both FORK")
    yield face.write(ALL, "0"), face.read(EVENTS)
    yield len(_of(face.read(TRACE), "both:")) > 0


def no_unique_symbol(face: Face) -> Iterator[object]:
    """A name that several functions have."""
    yield face.append(EVENTS, "p TWICE"), face.read(EVENTS)


def syntax_errors(face: Face) -> Iterator[object]:
    """Each refusal, with where the caret is."""
    for text in SYNTAX_ERRORS:
        yield face.append(EVENTS, text), face.read("error_log"), face.write("error_log", "")
        yield face.write(EVENTS, "")
    yield face.append(EVENTS, "p:kprobes/testevent FORK abcd=\\1")
    for text in ("bcd=\\1", "abcd=\\1:u8", 'abcd=\\"foo"', "abcd=\\1", "abcd=\\1 efg=\\2"):
        yield face.append(EVENTS, f"p:kprobes/testevent FORK {text}"), face.read("error_log")
    yield face.append(EVENTS, "r:kprobes/testevent vfs_read"), face.read("error_log")


def returns(face: Face) -> Iterator[object]:
    """Returned values, how many calls are followed, and the other way to say so."""
    yield face.append(EVENTS, "r1000000 FORK", "r10fuzz FORK", "r:N1 FORK", "r5:N2 FORK", "r7 OPEN")
    yield face.append(EVENTS, "p:N3 FORK%return", "r:N4 OPEN%return"), face.read(EVENTS)
    yield face.write(EVENTS, "r:back FORK $retval comm=$comm"), face.read(EVENTS)
    yield face.read("events/kprobes/back/format")
    yield face.write(ALL, "1")
    yield FORKED
    yield face.write(ALL, "0"), _of(face.read(TRACE), "back:")


def entry_arguments(face: Face) -> Iterator[object]:
    """What an argument was at the entry, told at the return."""
    yield face.append(EVENTS, "p:enter FORK arg=$arg1", "r:leave FORK arg=$arg1")
    yield face.read(EVENTS)
    yield face.write(ALL, "1")
    yield FORKED
    yield face.write(ALL, "0"), face.read(TRACE)


def places(face: Face) -> Iterator[object]:
    """Symbols and offsets that are too much."""
    huge = "FORK+4294967296"
    yield face.append(EVENTS, "p:a FORK", "p:b FORK+0", "p:c FORK-1", f"p:d {huge}", "p:e 0")
    yield (
        face.append(EVENTS, "p:f FORK+0x4", "p:g FORK+010", "p:h FORK+4294967295"),
        face.read(EVENTS),
    )


def profile(face: Face) -> Iterator[object]:
    """Hits are counted, also of events that are disabled then."""
    yield (
        face.read("kprobe_profile"),
        face.append(EVENTS, "p:counted FORK"),
        face.read("kprobe_profile"),
    )
    yield face.write(ALL, "1")
    yield FORKED
    yield FORKED
    yield face.write(ALL, "0"), face.read("kprobe_profile")
    yield face.write(EVENTS, ""), face.read("kprobe_profile")


def dynamic_events(face: Face) -> Iterator[object]:
    """The list of all kinds, from which one goes by its name or by its definition."""
    dynamic = "dynamic_events"
    yield face.append(dynamic, "p:one FORK", "r:two FORK", "p:three OPEN"), face.read(dynamic)
    yield face.append(dynamic, "-:one", "-:kprobes/nosuch"), face.read(EVENTS)
    yield face.append(dynamic, "!p:three OPEN", "!r:two FORK", "!p:three OPEN"), face.read(dynamic)
    yield face.append(dynamic, "p:one FORK"), face.write(dynamic, ""), face.read(dynamic)


def many_arguments(face: Face) -> Iterator[object]:
    """As many as there may be, and one more."""
    yield face.append(EVENTS, *("p:much FORK " + " ".join(["\\1"] * count) for count in (128, 129)))
    yield len(face.read(EVENTS))


def duplicates(face: Face) -> Iterator[object]:
    """One definition twice, and the name of an event that the kernel has."""
    yield face.append(EVENTS, "p:same FORK", "p:same FORK", "p:same FORK $stack"), face.read(EVENTS)
    yield face.append(EVENTS, "p:sched/sched_switch FORK", "p:sched/nosuch FORK", "p:task/x FORK")
    yield face.read(EVENTS), face.read("error_log")


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
        _of(face.read("available_events"), "kprobes:"),
        _of(face.read("available_events"), "other:"),
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


FILTERS = (
    "count > 0", "count == 1 && common_pid == 1", "name == nosuch", "count ~ 1", "nosuch == 1",
    "(count > 0", "count > 0)", "count >", 'comm == "init"', 'comm ~ "in*"', "!(count < 1)", "",
    "count & 3 || count == 0x10", "common_pid != 1", "comm == init && count", "0", "x",
)  # fmt: skip


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


def kernel_symbols(steps: Steps, known: Callable[[str], bool], values: dict[str, str]) -> Steps:
    """``steps`` with the names of this kernel for those in capitals.

    Args:
        steps: A case.
        known: Whether the kernel has a function of that name.
        values: What else stands for what.
    """
    chosen = dict(values)
    for word, candidates in FUNCTIONS.items():
        chosen[word] = next(filter(known, candidates), candidates[0])
    pattern = re.compile("|".join(sorted(chosen, key=len, reverse=True)))

    def here(text: str) -> str:
        return pattern.sub(lambda match: chosen[match[0]], text)

    return lambda face: steps(_Named(face, here))


class _Named:
    """A face that is told names in capitals."""

    def __init__(self, face: Face, here: Callable[[str], str]) -> None:
        self._face = face
        self._here = here

    def write(self, path: str, text: str) -> str:
        return self._face.write(path, self._here(text))

    def append(self, path: str, *texts: str) -> str:
        return self._face.append(path, *map(self._here, texts))

    def read(self, path: str) -> str:
        return self._face.read(path)

    def exists(self, path: str) -> bool:
        return self._face.exists(path)


CASES: tuple[Steps, ...] = (
    add_and_remove, busy_check, arguments, strings, symbols, widths, user_strings,
    argument_syntax, names, boundaries, absent_module, several_probes, no_unique_symbol,
    syntax_errors, returns, entry_arguments, places, profile, dynamic_events, many_arguments,
    duplicates, lines, switches, control, filters, snapshots, histograms,
)  # fmt: skip
WITH_MODULES: tuple[Steps, ...] = (module,)
"""For guests that have the file of the module tun."""
