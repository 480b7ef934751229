"""A small trace, made by hand: nested calls of two tasks, with every kind of field."""

from __future__ import annotations

from kprobesim.dynevent.definition import ProbeArgument
from kprobesim.dynevent.fetch import Register
from kprobesim.dynevent.fetch_type import FETCH_TYPES, FetchType
from kprobesim.image import Symbol, SymbolAt
from kprobesim.programs.fault import FAULT
from kprobesim.stack.stack_trace import Frame
from kprobesim.trace.entry import TraceEntry
from kprobesim.trace.exports.export import About, ProfileRow
from kprobesim.trace.frames import StackNames

__all__ = ["ABOUT", "ENTRIES", "PROFILE"]

_CODE = {"do_open": 0x1000, "do_read": 0x2000, "sys_read": 0x3000, "entry": 0x4000}
_SIZE = 0x100
_INLINED = 0x2010  # where get_page is inlined in do_read


def _frame(address: int, exact: bool) -> Frame:
    for name, start in _CODE.items():
        if start <= address < start + _SIZE:
            found = SymbolAt(Symbol(name, start, _SIZE, "t", True), address - start, _SIZE)
            return Frame(address, exact, found)
    return Frame(address, exact, None)


def _lines(address: int) -> list[tuple[str, str, int]]:
    if _INLINED <= address < _INLINED + 8:
        return [("get_page", "include/mm.h", 7), ("do_read", "fs/read.c", 40)]
    return [("do_read", "fs/read.c", 30)] if address == _CODE["do_read"] else []


def _fetched(name: str, kind: FetchType) -> ProbeArgument:
    return ProbeArgument(name, f"%ax:{kind.name}", Register("ax"), kind)


_PAIR = FetchType("u16", 16, "u16", count=2)
ABOUT = About(
    release="6.1.0-made",
    arch="x86_64",
    definitions=["p:k/open do_open name=+0(%di):string n=%si:u64", "p:k/read do_read n=%si:s32"],
    arguments={
        "k/open": [_fetched("name", FETCH_TYPES["string"]), _fetched("n", FETCH_TYPES["u64"])],
        "k/read": [_fetched("n", FETCH_TYPES["s32"]), _fetched("pair", _PAIR)],
        "k/open_r": [_fetched("ret", FETCH_TYPES["s64"])],
    },
    names=StackNames(_frame, _lines),
)
PROFILE = [ProfileRow("k/open", 3, 0), ProfileRow("k/read", 2, 1)]


def _entry(time: int, event: str, task: tuple[int, str], fields: dict[str, object]) -> TraceEntry:
    pid, comm = task
    name = {"open": "do_open", "open_r": "do_open", "read": "do_read"}[event]
    returns = event.endswith("_r")
    return TraceEntry(
        time=time,
        cpu=0,
        pid=pid,
        tgid=pid,
        comm=comm,
        flags=1,
        preempt_count=0,
        event=f"k/{event}",
        ip=_CODE["sys_read"] + 0x20 if returns else _CODE[name],
        func=_CODE[name] if returns else None,
        fields=fields,
        stack=(_INLINED + 4, _CODE["sys_read"] + 0x20, _CODE["entry"] + 8),
    )


_CAT, _SWAPPER = (42, 'cat "<&>'), (0, "swapper/0")
ENTRIES = [
    _entry(1000, "open", _CAT, {"name": "/etc/<passwd>;é", "n": (1 << 64) - 1}),
    _entry(1000, "read", _CAT, {"n": -5, "pair": (1, 65535)}),
    _entry(1500, "open", _SWAPPER, {"name": FAULT, "n": 1}),
    _entry(2000, "open_r", _CAT, {"ret": -2}),
    _entry(3000, "open", _CAT, {"name": "never returns\x01", "n": 3}),
    _entry(3500, "read", _SWAPPER, {"n": 7, "pair": (0, 2)}),
]
