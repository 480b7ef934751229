"""What objects say of themselves: addresses in hex, contents in a few words."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pkgutil
import re
from importlib import import_module

import pytest

import kprobesim
from kprobesim import (
    GuestFault,
    Jprobe,
    Kernel,
    Kprobe,
    Kretprobe,
    Stop,
    StopReason,
    Trap,
    TrapKind,
)
from kprobesim.boot.console import Console
from kprobesim.hexrepr import HexRepr

LONG_DECIMAL = re.compile(r"(?<![0-9a-fA-Fx])\d{8,}(?![0-9a-fA-F])")
ADDRESSES = re.compile(r"^(address|addr|start|end|vaddr|target|ip|value|fixup|handler)$")


def test_addresses_are_in_hex(arch: str) -> None:
    shown: list[str] = []

    def look(*things: object) -> None:
        shown.extend(map(repr, things))

    k = Kernel.sample(arch, arming="breakpoint")
    k.on_text_poke(lambda *poke: None)
    kp = Kprobe("gcd", offset=0, pre_handler=lambda p, regs: look(regs, k.kprobes.ctlblk[0]))
    rp = Kretprobe("fib", handler=lambda ri, regs: look(ri))
    jp = Jprobe("int_sqrt", entry=lambda value: None)
    look(kp, rp, jp)
    k.register_kprobe(kp)
    k.register_kretprobe(rp)
    k.register_jprobe(jp)
    k.call("gcd", 12, 18)
    k.call("fib", 1)
    with pytest.raises(GuestFault) as fault:
        k.call("strlen", 1 << 40)
    symbol = k.symbols["gcd"]
    look(kp, rp, jp, k, k.symbols, k.kprobes, k.modules, k.image, symbol)
    look(k.symbols.at(symbol.address + 3), k.check("gcd"), k.machine.text.log[-1], fault.value.trap)
    look(k.override_return("fnv1a32", 5), *k.machine.memory.regions, *k.image.segments)
    look(k.kprobes.rules.site(Kprobe("gcd")), next(iter(k.image.exception_table)))
    assert len(shown) > 20
    for text in shown:
        assert not LONG_DECIMAL.search(text), text
    assert f"<Kprobe gcd at {kp.addr:#x} nmissed=0>" in shown
    assert "<Kretprobe fib nmissed=0>" in shown
    assert any("KPROBE_HIT_ACTIVE" in text for text in shown)


def test_what_a_kernel_holds_says_what_it_is(arch: str) -> None:
    k = Kernel.sample(arch)
    assert re.fullmatch(r"<SymbolTable of \d+ symbols, from .*>", repr(k.symbols))
    assert repr(k.modules) == "<Modules: none is loaded>"
    assert repr(k.kprobes) == f"<kprobes of model {k.model.name}: none>"
    probes = [Kprobe("gcd"), *(Kprobe("fib") for _ in range(4))]
    k.register_kprobes(probes)
    assert repr(k.kprobes).startswith(f"<kprobes of model {k.model.name}: gcd at 0xffff")
    assert repr(k.kprobes).endswith(" and 1 more>")
    assert str(k.kprobes) == k.kprobes.list()
    console = Console()
    console.put(b"one\r\ntwo\r\n\r\n")
    assert repr(console) == "<Console of 12 bytes, at the end 'two'>"
    assert str(console) == "one\ntwo\n\n"


def test_records_leave_out_what_goes_without_saying() -> None:
    assert repr(Trap(TrapKind.PAGE_FAULT, 14, address=8)) == (
        "Trap(kind=PAGE_FAULT, number=14, address=0x8)"
    )
    assert repr(StopReason(Stop.TEXT, "x")) == "StopReason(kind=TEXT, detail='x')"


def _records() -> list[type]:
    names = [one.name for one in pkgutil.walk_packages(kprobesim.__path__, "kprobesim.")]
    modules = [import_module(name) for name in names if not name.endswith("__main__")]
    found = {
        kind
        for module in modules
        for kind in vars(module).values()
        if inspect.isclass(kind) and dataclasses.is_dataclass(kind)
        if kind.__module__.startswith("kprobesim")
    }
    return sorted(found, key=lambda kind: kind.__qualname__)


def test_a_record_with_an_address_shows_it_in_hex() -> None:
    """Whoever writes a new one meets this test."""
    for kind in _records():
        addresses = [
            field.name
            for field in dataclasses.fields(kind)
            if ADDRESSES.match(field.name) and field.repr and "int" in str(field.type)
        ]
        if addresses and not kind.__name__.startswith("_"):
            assert issubclass(kind, HexRepr), f"{kind.__module__}.{kind.__qualname__}"


def test_copies_are_equal_as_before() -> None:
    trap = Trap(TrapKind.STEP, 1)
    assert copy.deepcopy(trap) == trap
