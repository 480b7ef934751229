"""Events from definitions to the kernel's lines."""

from __future__ import annotations

from kprobesim import CalledKernel
from kprobesim.dynevent import fetch as f
from kprobesim.dynevent.definition import ProbeArgument, ProbeDefinition
from kprobesim.dynevent.fetch_type import FETCH_TYPES


def argument(name: str, fetch: f.Fetch, kind: str) -> ProbeArgument:
    return ProbeArgument(name, "", fetch, FETCH_TYPES[kind])


def define(guest: CalledKernel, kind: str, name: str, *arguments: ProbeArgument) -> None:
    guest.tracing.add(ProbeDefinition(kind, "t", name, "gcd", arguments, ()))
    guest.tracing.events[f"t/{name}"].enabled = True


def bodies(guest: CalledKernel) -> list[str]:
    return [str(entry).partition(": ")[2] for entry in guest.tracing.buffer]


def test_entries_of_all_events_come_in_the_order_of_their_coming(guest: CalledKernel) -> None:
    define(guest, "p", "a", argument("x", f.Argument(1), "u32"), argument("y", f.Argument(2), "x8"))
    define(guest, "r", "b", argument("ret", f.Retval(), "s64"))
    guest.call("gcd", 12, 18)
    guest.call("gcd", 0x1_0000_0007, 0x107)
    size = guest.symbols.at(guest.symbols["gcd"].address)
    assert size is not None
    first, second, third, _ = bodies(guest)
    assert first == f"a: ({size}) x=12 y=0x12"
    assert second.endswith(" <- gcd) ret=6")
    assert third == f"a: ({size}) x=7 y=0x7"
    assert str(next(iter(guest.tracing.buffer))).startswith("          <idle>-0       [000] ")
    assert guest.tracing.profile().split() == ["a", "2", "0", "b", "2", "0"]


def test_a_filter_refuses_entries_and_counts_hits(guest: CalledKernel) -> None:
    from kprobesim.programs import arg

    define(guest, "p", "a", argument("x", f.Argument(1), "u32"))
    event = guest.tracing.events["t/a"]
    event.restrict(lambda fields: arg(0) > 10, "x > 10")
    for number in (8, 12, 10, 14):
        guest.call("gcd", number, 2)
    assert [entry.fields["x"] for entry in guest.tracing.buffer] == [12, 14]
    assert event.hits == 4
    event.restrict(None, "none")
    guest.call("gcd", 8, 2)
    assert [entry.fields["x"] for entry in guest.tracing.buffer] == [12, 14, 8]
    assert event.hits == 5


def test_strings_arrays_and_faults(guest: CalledKernel) -> None:
    text = guest.alloc(64)
    guest.write(text, b"one\0")
    guest.write(text + 8, bytes([1, 2, 255, 4]))
    at = f.Argument(1)
    kinds = FETCH_TYPES["u8"]
    array = ProbeArgument("v", "", f.Deref(at, 8), type(kinds)("u8", 8, "u8", count=4))
    define(
        guest,
        "p",
        "a",
        argument("s", f.Deref(at, 0), "string"),
        argument("none", f.Deref(f.Deref(at, 0x20), 0), "string"),
        array,
        argument("z", f.Deref(f.Immediate(0), 0), "u64"),
        argument("i", f.ImmediateString("hi"), "string"),
    )
    guest.call("gcd", text, 1)
    (line,) = bodies(guest)
    assert line.endswith('s="one" none=(fault) v={1,2,255,4} z=0 i="hi"')


def test_a_symbols_text_runs_on_and_an_empty_user_string_is_a_fault(guest: CalledKernel) -> None:
    define(
        guest,
        "p",
        "a",
        argument("y", f.Argument(1), "symstr"),
        argument("none", f.Deref(f.Immediate(0), 0), "string"),
        argument("i", f.Deref(f.Argument(2), 0), "string"),
    )
    text, empty = guest.alloc(8), guest.alloc(8)
    guest.write(text, b"text\0")
    gcd = guest.symbols["gcd"].address
    guest.call("gcd", gcd, text)
    guest.call("gcd", gcd, empty)
    name = str(guest.symbols.at(gcd))
    first, second = bodies(guest)
    assert first.endswith(f'y="{name}text" none=(fault) i="text"')
    assert second.endswith(f'y="{name}" none=(fault) i=""')
