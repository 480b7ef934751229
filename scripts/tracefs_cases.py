"""What the kernel's own tests ask of kprobe events, as steps for one face of tracing.

The behaviour is that of tools/testing/selftests/ftrace/test.d/kprobe and test.d/dynevent (Linux
7.2), told in our own words. Each yields outcomes, which two faces in one boot must agree about.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from tracefs_control import control, filters, histograms, lines, snapshots, switches
from tracefs_faces import ALL, EVENTS, FORKED, TRACE, Face, Run, lines_with
from tracefs_texts import BAD_ARGUMENTS, GOOD_ARGUMENTS, SYNTAX_ERRORS

Steps = Callable[[Face], Iterator[object]]

TUN_USED = Run("cat /dev/net/tun > /dev/null 2>&1")
FUNCTIONS = {
    "FORK": ("kernel_clone", "_do_fork"),
    "FOLDER": ("eventfs_create_dir", "eventfs_add_dir", "tracefs_create_dir"),
    "OPEN": ("do_sys_openat2", "do_sys_open"),
}
"""What the kernel calls a function, by what it is here; the first that it has."""


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
    yield (
        face.write(ALL, "0"),
        lines_with(face.read(TRACE), '"/dev/null"'),
        "kernels:" in face.read(TRACE),
    )


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
    yield face.write(ALL, "0")
    # Disabling so many takes the guest so long that its threads may fork meanwhile.
    yield [line.split()[1:] != ["0", "0"] for line in face.read("kprobe_profile").splitlines()]


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
    yield face.write(ALL, "0"), lines_with(face.read(TRACE), "tun_"), face.read("kprobe_profile")
    yield Run("rmmod tun")
    yield face.read(EVENTS), face.write(ALL, "1"), face.read(ALL), face.write(ALL, "0")
    yield face.write(TRACE, "")
    yield Run("modprobe tun")
    yield face.write(ALL, "1")
    yield TUN_USED
    yield face.write(ALL, "0"), lines_with(face.read(TRACE), "tun_"), face.read("kprobe_profile")
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
    yield len(lines_with(face.read(TRACE), "both:")) > 0


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
    yield face.write(ALL, "0"), lines_with(face.read(TRACE), "back:")


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
