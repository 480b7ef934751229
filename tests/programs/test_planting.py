"""Where programs are planted: among probes of other kinds, by address, without a compiler."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from kprobesim import CalledKernel, Kernel, Kprobe, KprobeError, UsageError
from kprobesim.programs import Count, Histogram, Program, Record, arg, caller, here, now
from kprobesim.programs.stores.counts import Counts
from kprobesim.programs.stores.single import Counter


def test_a_program_joins_a_breakpoint(sample: Path) -> None:
    guest = Kernel.load(sample, arming="breakpoint")
    order: list[int] = []
    hits: Counter | Counts
    guest.register_kprobe(Kprobe("gcd", pre_handler=lambda p, regs: order.append(int(hits))))
    hits = guest.count("gcd")
    guest.call("gcd", 12, 8)
    assert order == [1]  # the newest comes first
    assert guest.read(guest.symbols["gcd"].address, 4) != guest.image.read(
        guest.symbols["gcd"].address, 4
    )


def test_a_program_alone_changes_no_byte(sample: Path) -> None:
    guest = Kernel.load(sample, arming="breakpoint")
    code = guest.read(guest.symbols["gcd"].address, 16)
    hits = guest.count("gcd")
    guest.call("gcd", 12, 8)
    assert hits == 1
    assert guest.read(guest.symbols["gcd"].address, 16) == code


def test_a_place_may_be_an_address_or_a_symbol(guest: CalledKernel) -> None:
    symbol = guest.symbols["gcd"]
    by_address, by_symbol = guest.count(symbol.address), guest.count(symbol)
    guest.call("gcd", 12, 8)
    assert (int(by_address), int(by_symbol)) == (1, 1)


def test_a_refused_place_leaves_no_probe(guest: CalledKernel) -> None:
    with pytest.raises(KprobeError):
        guest.plant(["gcd", "noprobe_listed"], Program(Count()))
    assert len(guest.kprobes) == 0


def test_each_function_has_a_counter(guest: CalledKernel) -> None:
    counts = guest.count(["gc?", "lcm"])
    guest.call("lcm", 4, 6)
    assert dict(counts) == {"gcd": 1, "lcm": 1}
    assert counts.hit == {"gcd": 1, "lcm": 1}
    assert (counts.total, counts.to_numpy().sum()) == (2, 2)


def test_what_is_on_one_list_is_one_function(guest: CalledKernel) -> None:
    shared = guest.histogram("str*", arg(0) & 7, key=here)
    assert len(guest.kprobes) == len(shared.planted.names) > 3
    functions = {native.function for p in guest.kprobes if (native := p.native) is not None}
    assert len(functions) == 1
    guest.call("strlen", "abc")
    assert [*shared] == [guest.symbols["strlen"].address]


def test_programs_are_listed_and_disabled_as_probes(guest: CalledKernel) -> None:
    hits = guest.count("gcd")
    assert " k  gcd+0x0 " in guest.kprobes.list()
    hits.disable()
    assert "[DISABLED]" in guest.kprobes.list()
    guest.kprobes.disarm_all_kprobes()
    hits.enable()
    guest.call("gcd", 12, 8)
    guest.kprobes.arm_all_kprobes()
    guest.call("gcd", 12, 8)
    assert hits == 1
    with hits:
        pass
    assert guest.programs == []


def test_every_run_gives_the_same(sample: Path) -> None:
    hashes = set()
    for _ in range(5):
        guest = Kernel.load(sample)
        program = Program(
            [
                Record({"a": arg(0), "text": arg(1).string, "by": caller, "now": now}),
                Histogram(arg(0) * 7, key=(arg(1) & 3, here)),
            ],
            when=arg(0) % 3 != 0,
        )
        planted = guest.plant("gcd,fib", program)
        for n in range(40):
            guest.call("gcd", n, 3)
        guest.call("fib", 8)
        kept = pickle.dumps([store.save() for store in planted.stores])
        hashes.add(hashlib.sha256(kept).hexdigest())
    assert len(hashes) == 1


def test_without_a_compiler_python_does_the_same(
    guest: CalledKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    for name in [name for name in sys.modules if name.startswith("kprobesim.programs.compiler.")]:
        monkeypatch.delitem(sys.modules, name)
    hits = guest.count("gcd")
    assert not hits.compiled
    assert "pip install 'kprobesim[jit]'" in hits.planted.why_not
    guest.call("gcd", 12, 8)
    assert hits == 1
    with pytest.raises(UsageError, match="cannot be compiled: llvmlite is not installed"):
        guest.count("gcd", compiled=True)


def test_the_compiler_is_loaded_when_it_is_used() -> None:
    program = (
        "import sys\n"
        "from kprobesim import Kernel\n"
        "from kprobesim.programs import arg\n"
        "k = Kernel.sample()\n"
        "k.count('gcd', when=arg(0) > 1, compiled=False)\n"
        "heavy = {'llvmlite', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
