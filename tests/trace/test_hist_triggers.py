"""Hist triggers: how they are read, what they count, and how that is shown."""

from __future__ import annotations

import errno
import random
from pathlib import Path

import pytest

from kprobesim import CalledKernel, Kernel
from kprobesim.trace.filters.field import Field, Fields
from kprobesim.trace.hist.attributes import parse_attributes, split_filter
from kprobesim.trace.hist.definition import HistDefinition, define_hist
from kprobesim.trace.hist.error import HistError
from kprobesim.trace.hist.ordering import heapsort
from kprobesim.trace.hist.text import trigger_text
from kprobesim.trace.syscall_names import SyscallNames

SAMPLES = Path(__file__).parents[2] / "samples"
LATEST, OLD = (7, 3, 4), (6, 1, 170)
OWN = (
    Field("n", "u32", 4),
    Field("s", "s8", 1, signed=True),
    Field("c", "__data_loc char[]", 4, signed=True),
    Field("a", "u8[3]", 3),
)


def define(text: str, version: tuple[int, ...] = LATEST) -> HistDefinition:
    attributes = parse_attributes(text.replace(".sym-offset", ".symXoffset"), version)
    return define_hist(attributes, Fields(OWN, version), version)


# As guests answered: what is written behind "hist:", errno, the error's name, what the caret is at.
REFUSED = (
    ("keys=zz", errno.EINVAL, "FIELD_NOT_FOUND", "zz"),
    ("vals=n", errno.EINVAL, "", ""),
    ("keys=n:sort=zz", errno.EINVAL, "INVALID_SORT_FIELD", "zz"),
    ("keys=n:sort=n.up", errno.EINVAL, "INVALID_SORT_MODIFIER", "up"),
    ("keys=n:sort=n,n,n", errno.EINVAL, "TOO_MANY_SORT_FIELDS", "sort="),
    ("keys=n:sort=n,", errno.EINVAL, "EMPTY_SORT_FIELD", "sort="),
    ("keys=n:vals=", errno.EINVAL, "EMPTY_ASSIGNMENT", "vals="),
    ("keys=n.foo", errno.EINVAL, "BAD_FIELD_MODIFIER", "foo"),
    ("keys=n.buckets=0", errno.EINVAL, "BAD_FIELD_MODIFIER", "0"),
    ("keys=n:vals=n.log2", errno.EINVAL, "BAD_FIELD_MODIFIER", "n.log2"),
    ("keys=n:vals=n,s,n", errno.EINVAL, "", ""),
    ("keys=n,s,n,s", errno.EINVAL, "", ""),
    ("keys=c,c", errno.EINVAL, "", ""),
    ("keys=a", errno.ENOMEM, "", ""),
    ("keys=c+1", errno.EINVAL, "INVALID_STR_OPERAND", "c"),
    ("keys=n/0", errno.EDOM, "DIVISION_BY_ZERO", "0"),
    ("keys=n+1x", errno.EINVAL, "EXPECT_NUMBER", "1x"),
    ("keys=n:size=100000000", errno.EINVAL, "", ""),
    ("keys=n:size=99999999999999999999", errno.ERANGE, "", ""),
    ("keys=n:nohitcount", errno.ENOENT, "NEED_NOHC_VAL", ""),
    ("keys=n:x=n:x=s", errno.EINVAL, "DUPLICATE_VAR", "x"),
)


@pytest.mark.parametrize(("text", "number", "name", "part"), REFUSED, ids=[r[0] for r in REFUSED])
def test_refusals(text: str, number: int, name: str, part: str) -> None:
    with pytest.raises(OSError, match=r".") as caught:
        define(text)
    assert caught.value.errno == number
    logged = caught.value.logged if isinstance(caught.value, HistError) else ()
    assert [(entry.id, entry.part) for entry in logged] == ([(name, part)] if name else [])


def test_a_refusal_in_the_log() -> None:
    with pytest.raises(HistError) as caught:
        define("keys=n:sort=zz")
    (entry,) = caught.value.logged
    assert entry.text("t:e", "keys=n:sort=zz if n > 3") == (
        "hist:t:e: error: Sort field must be a key or a val\n"
        "  Command: hist:keys=n:sort=zz if n > 3\n"
        "                            ^\n"
    )


@pytest.mark.parametrize(
    ("text", "latest", "old"),
    [
        ("keys=n", "keys=n:vals=hitcount:sort=hitcount:size=2048", None),
        (
            "keys=c,common_pid.execname:vals=n:sort=n.descending,hitcount",
            "keys=c,common_pid.execname:vals=hitcount,n:sort=n.descending,hitcount:size=2048",
            None,
        ),
        (
            "keys=stacktrace:size=200",
            "keys=common_stacktrace:vals=hitcount:sort=hitcount:size=256",
            "keys=stacktrace:vals=hitcount:sort=hitcount:size=256",
        ),
        (
            "keys=cpu,s",
            "keys=common_cpucpu,s:vals=hitcount:sort=hitcount:size=2048",
            "keys=common_cpu,s:vals=hitcount:sort=hitcount:size=2048",
        ),
        (
            "keys=n.buckets=10,n.sym-offset:vals=n*2+1,s-1",
            "keys=n.buckets=10,n.sym-offset:vals=hitcount,n*2+1,s-1:sort=hitcount:size=2048",
            None,
        ),
        (
            "keys=n:x=common_timestamp.usecs:vals=n:nohitcount",
            "keys=n:vals=n:x=common_timestamp.usecs:sort=hitcount:size=2048:clock=global"
            ":nohitcount",
            "",
        ),
    ],
)
def test_how_triggers_are_listed(text: str, latest: str, old: str | None) -> None:
    for version, expected in ((LATEST, latest), (OLD, latest if old is None else old)):
        if expected:
            assert trigger_text(define(text, version), None, paused=False) == (
                f"hist:{expected} [active]"
            )
    assert trigger_text(define("keys=n"), "n > 3", paused=True).endswith(" if n > 3 [paused]")


def test_a_filter_is_split_off() -> None:
    assert split_filter("keys=n:size=128  if n > 3") == ("keys=n:size=128", "if n > 3")
    assert split_filter("keys=different") == ("keys=different", None)
    for text in ("if n > 3", "keys=n if", "keys=n if "):
        with pytest.raises(HistError):
            split_filter(text)


@pytest.mark.parametrize("version", [LATEST, OLD])
def test_heapsort_sorts(version: tuple[int, ...]) -> None:
    rng = random.Random(2)
    for length in range(40):
        items = [rng.randrange(10) for _ in range(length)]
        result = [*items]
        heapsort(result, lambda one, other: one - other, version)
        assert result == sorted(items)


HIST = """# event histogram
#
# trigger info: hist:keys=x.log2:vals=hitcount,y:sort=hitcount:size=2048 [active]
#

{ x: ~ 2^4  } hitcount:          1  y:         18
{ x: ~ 2^3  } hitcount:          2  y:         10

Totals:
    Hits: 3
    Entries: 2
    Dropped: 0
"""


def traced(guest: CalledKernel) -> None:
    """An event on ``gcd`` and one on ``hweight64``."""
    fetch = "%di y=%si" if guest.arch == "x86_64" else "%x0 y=%x1"
    guest.tracefs["kprobe_events"].write(f"p:t/e gcd x={fetch}:u32\np:t/f hweight64\n")


def test_what_a_histogram_counts_and_shows(guest: CalledKernel) -> None:
    traced(guest)
    files = guest.tracefs
    trigger, hist = "events/t/e/trigger", "events/t/e/hist"
    assert files["events/t/e/enable"].read() == "0\n"
    assert files[trigger].read().startswith("# Available triggers:\n# traceon traceoff ")
    files[trigger].write("hist:keys=x.log2:vals=y")
    assert files["events/t/e/enable"].read() == "0*\n"
    for pair in ((12, 18), (8, 2), (6, 8)):
        guest.call("gcd", *pair)
    assert files[hist].read() == HIST
    assert [*guest.tracing.buffer] == []
    files[trigger].append("hist:keys=x.log2:vals=y:pause")
    guest.call("gcd", 8, 2)
    assert files[hist].read() == HIST.replace("[active]", "[paused]")
    files[trigger].append("hist:keys=x.log2:vals=y:clear")
    assert "Hits: 0\n" in files[hist].read()
    with pytest.raises(OSError, match="Hist trigger already exists") as caught:
        files[trigger].append("hist:keys=x.log2:vals=y")
    assert caught.value.errno == errno.EEXIST
    assert "hist:t:e: error: Hist trigger already exists" in files["error_log"].read()
    files[trigger].append("!hist:keys=x.log2:vals=y")
    assert files["events/t/e/enable"].read() == "0\n"
    assert not files[hist].read()


def test_texts_capacity_filters_and_names(guest: CalledKernel) -> None:
    traced(guest)
    files = guest.tracefs
    files["events/t/e/trigger"].write("hist:keys=x:size=128 if y == 1")
    files["events/t/e/trigger"].append("hist:name=both:keys=common_cpu")
    files["events/t/f/trigger"].append("hist:name=both:keys=common_cpu")
    for number in range(131):
        guest.call("gcd", number + 1, 1 + (number == 0))
    guest.call("hweight64", 1)
    text = files["events/t/e/hist"].read()
    assert "Hits: 128\n    Entries: 128\n    Dropped: 2\n" in text
    assert "Hits: 132\n    Entries: 1\n" in text
    assert "Hits: 132\n" in files["events/t/f/hist"].read()
    with pytest.raises(OSError, match="doesn't match existing named trigger"):
        files["events/t/e/trigger"].append("hist:name=both:keys=x")


def test_keys_that_are_names_constants_and_contexts(guest: CalledKernel) -> None:
    fetch = "%di" if guest.arch == "x86_64" else "%x0"
    files, start = guest.tracefs, guest.symbols["gcd"].address
    files["kprobe_events"].write(f'p:t/k gcd always=\\"one" by={fetch}:symstr\n')
    files["kprobe_events"].append(f'p:t/k hweight64 always=\\"other" by={fetch}:symstr\n')
    for keys in ("always", "by", "common_flags,common_preempt_count.hex"):
        files["events/t/k/trigger"].append(f"hist:keys={keys}")
    for function in ("gcd", "hweight64", "gcd"):
        guest.call(function, start, 1)
    text = files["events/t/k/hist"].read()
    assert f"{{ always: {'one':<50} }} hitcount:          2\n" in text
    assert f"{{ always: {'other':<50} }} hitcount:          1\n" in text
    assert f"{{ by: {guest.tracing.name(start):<50} }} hitcount:          3\n" in text
    assert f"{{ common_flags: {0:10}, common_preempt_count: 0 }} hitcount:          3\n" in text


@pytest.mark.real_kernel
def test_system_calls_have_names(real_kernel: CalledKernel) -> None:
    names = SyscallNames(real_kernel.image)
    read, none = {"x86_64": (0, 340), "arm64": (63, 244)}[real_kernel.arch]
    assert names(read) == "sys_read"
    assert names(none) is names(1 << 40) is None


def test_a_hit_whose_record_has_no_room_is_not_counted(guest: CalledKernel) -> None:
    fetch = "%di" if guest.arch == "x86_64" else "%x0"
    files = guest.tracefs
    files["kprobe_events"].write(f"p:t/long gcd text=+0({fetch}):string\n")
    files["events/t/long/trigger"].write("hist:keys=common_cpu")
    at = guest.alloc(8192)
    for length in (100, 4060, 4090):
        guest.write(at, b"x" * length + b"\0")
        guest.call("gcd", at, 1)
    assert "Hits: 2\n" in files["events/t/long/hist"].read()


def test_triggers_switch_tracing_and_events(guest: CalledKernel) -> None:
    traced(guest)
    files = guest.tracefs
    files["events/t/e/enable"].write("1")
    files["events/t/e/trigger"].write("enable_event:t:f if x == 2")
    files["events/t/e/trigger"].append("traceoff:1 if x == 3")
    assert files["events/t/e/trigger"].read() == (
        "traceoff:count=1 if x == 3\nenable_event:t:f:unlimited if x == 2\n"
    )
    assert files["events/t/f/enable"].read() == "0*\n"

    def recorded() -> list[str]:
        return [entry.name for entry in guest.tracing.buffer]

    guest.call("hweight64", 1)
    guest.call("gcd", 1, 1)
    guest.call("gcd", 2, 1)
    guest.call("hweight64", 1)
    assert recorded() == ["e", "e", "f"]
    assert files["events/t/f/enable"].read() == "1*\n"
    guest.call("gcd", 3, 1)
    guest.call("gcd", 4, 1)
    assert recorded() == ["e", "e", "f", "e"]
    assert files["tracing_on"].read() == "0\n"
    files["tracing_on"].write("1")
    guest.call("gcd", 3, 1)
    assert files["tracing_on"].read() == "1\n"
    assert files["events/t/e/trigger"].read().startswith("traceoff:count=0 ")
    files["events/t/e/trigger"].append("stacktrace:1")
    guest.call("gcd", 5, 1)
    guest.call("gcd", 5, 1)
    entries = [str(entry) for entry in guest.tracing.buffer][-3:]
    assert "<stack trace>\n => gcd+0x0" in entries[1]
    assert recorded()[-3:] == ["e", "kernel_stack", "e"]
    for removed in ("traceoff", "stacktrace", "enable_event:t:f"):
        files["events/t/e/trigger"].append(f"!{removed}")
    assert files["events/t/f/enable"].read() == "1\n"  # so does the kernel leave it
    assert files["events/t/e/enable"].read() == "1\n"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("foo", errno.EINVAL),
        ("traceon:x", errno.EINVAL),
        ("snapshot:99999999999999999999", errno.ERANGE),
        ("enable_event:t", errno.EINVAL),
        ("enable_event:t:none", errno.EINVAL),
        ("traceoff if", errno.EINVAL),
        ("traceoff if zz", errno.EINVAL),
        ("traceoff", errno.EEXIST),
    ],
)
def test_triggers_that_are_refused(text: str, number: int) -> None:
    guest = _guest()
    guest.tracefs["events/t/e/trigger"].append("traceon:5")
    with pytest.raises(OSError, match=r".") as caught:
        guest.tracefs["events/t/e/trigger"].append(text)
    assert caught.value.errno == number
    guest.tracefs["events/t/e/trigger"].append("!traceon")


def _guest() -> CalledKernel:
    """One guest for all of them."""
    if not _GUESTS:
        _GUESTS.append(Kernel.load(SAMPLES / "guest-x86_64.elf"))
        traced(_GUESTS[0])
    return _GUESTS[0]


_GUESTS: list[CalledKernel] = []


VALID = (
    ("filter", 'x > 4 && name ~ "p*" || !(y & 0x3)'),
    ("filter", 'common_flags & 1 || by == "gcd" && CPU & CPUS{0}'),
    ("filter", '__probe_ip.function == gcd && comm != "a[b-c]*?"'),
    ("trigger", "hist:keys=x.log2,common_cpu:vals=y:sort=y.descending,hitcount:size=256 if x > 1"),
    ("trigger", "hist:keys=by:vals=hitcount.percent,y.hex:nohitcount"),
    ("trigger", "hist:keys=-(x+y)*2:v=y/3,w=$v:name=n:pause"),
    ("trigger", "hist:keys=x.buckets=10:ts=common_timestamp.usecs:onmatch(t.f).trace(s,$ts)"),
    ("trigger", "hist:keys=common_stacktrace:m=y:onmax($m).save(x)"),
    ("trigger", "enable_event:t:f:2 if common_preempt_count == 0"),
    ("trigger", "!stacktrace:3"),
)
PIECES = [
    *"~&|()!\"'*:,.=$+-/[?{}\\ \0\u00e9\u0663",
    "99999999999999999999",
    "keys",
    "x",
    "by",
    "if ",
]


def test_no_text_does_more_than_be_refused() -> None:
    guest = Kernel.load(SAMPLES / "guest-x86_64.elf")
    files, chance = guest.tracefs, random.Random(12)
    files["kprobe_events"].write(
        'p:t/e gcd x=%di y=%si name=\\"one" by=%di:symstr\np:t/f hweight64\n'
    )
    for _ in range(250):
        name, text = chance.choice(VALID)
        for _ in range(chance.choice((0, 1, 1, 2, 3))):
            at, piece = chance.randrange(len(text) + 1), chance.choice(PIECES)
            text = text[:at] + piece * chance.randrange(2) + text[at + chance.randrange(4) :]
        try:
            files[f"events/t/e/{name}"].append(text)
        except OSError as error:
            assert error.errno in errno.errorcode, text
    files["events/t/e/filter"].write("0")
    files["events/t/e/enable"].write("1")
    files["tracing_on"].write("1")
    guest.tracing.buffer.clear()
    guest.call("gcd", 4, 2)
    assert [entry.fields["x"] for entry in guest.tracing.buffer] == [4]
