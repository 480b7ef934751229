"""Which address a name means: of several symbols, of names that clang's LTO has promoted."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from kprobesim import Kernel, Kprobe, KprobeError, KprobeFlag, Reason

HASH = "7391025506432178805"


@pytest.fixture
def promoted(sample: Path, tmp_path: Path) -> Path:
    """A System.map in which LTO has promoted two functions, one of them twice."""
    names = {"fib": f"fib.llvm.{HASH}", "gcd": f"gcd.llvm.{HASH}", "mix": f"gcd.llvm.{HASH}0"}
    lines = [
        f"{s.address:016x} {s.type} {names.get(s.name, s.name)}"
        for s in Kernel.load(sample).symbols
    ]
    file = tmp_path / "System.map"
    file.write_text("\n".join([*lines, ""]))
    return file


@pytest.mark.parametrize(
    ("model", "found"), [("5.10", False), ("5.15", True), ("6.1", True), ("6.6", True)]
)
def test_promoted_names(sample: Path, promoted: Path, model: str, found: bool) -> None:
    """``cleanup_symbol_name()``: from 5.16 to 6.10 both names find the function."""
    k = Kernel.load(sample, symbols=promoted, model=model)
    assert bool(k.check("fib")) is found
    assert k.check(f"fib.llvm.{HASH}")
    if found:
        assert k.check("fib").address == k.check(f"fib.llvm.{HASH}").address
        # One name of several functions: as of several static ones.
        verdict = k.check("gcd")
        assert verdict.same_named > 1
        assert verdict.address == min(s.address for s in k.symbols if s.name.startswith("gcd."))


def test_newer_kernels_want_the_whole_name(sample: Path, promoted: Path) -> None:
    k = Kernel.load(sample, symbols=promoted, model="6.12")
    assert k.check("fib").errno == errno.ENOENT
    assert k.check(f"fib.llvm.{HASH}")


def test_the_kernel_takes_the_first_of_several(sample: Path) -> None:
    strict = Kernel.load(sample, strict=True)
    first, *others = (symbol.address for symbol in strict.symbols.candidates("mix"))
    assert others
    with strict.probing("mix") as p:
        assert p.addr is not None and p.addr - first in (0, 4)  # behind an ENDBR
    verdict = strict.check("mix")
    assert (verdict.same_named, verdict.address) == (1 + len(others), p.addr)
    with pytest.raises(KprobeError) as caught:
        Kernel.load(sample).register_kprobe(Kprobe("mix"))
    assert caught.value.reason is Reason.AMBIGUOUS_SYMBOL


@pytest.mark.parametrize(
    ("model", "equal", "unknown"),
    [
        ("5.10", 0, errno.ENOENT),
        ("6.1", errno.EADDRNOTAVAIL, errno.ENOENT),
        ("6.12", errno.EINVAL, errno.EINVAL),
    ],
)
def test_kprobe_events_counts_names(sample: Path, model: str, equal: int, unknown: int) -> None:
    k = Kernel.load(sample, model=model)
    assert k.check("mix", events=True).errno == equal
    assert k.check("no_such_function", events=True).errno == unknown
    assert k.check("mix").errno == 0
    assert k.check("no_such_function").errno == errno.ENOENT


def test_ftraces_places_in_init_go_with_it(sample: Path) -> None:
    """5.10 refuses what is inside of them first of all, with another errno than what is no text."""
    k = Kernel.load(sample, model="5.10")
    if k.arch == "arm64":
        pytest.skip("both are EINVAL")
    start, end = k.image.init_text or (0, 0)
    site = next(site for site in sorted(k.image.ftrace_sites) if start <= site < end)
    with pytest.raises(KprobeError) as caught:
        k.register_kprobe(Kprobe(addr=site + 1, flags=KprobeFlag.DISABLED))
    assert (caught.value.errno, caught.value.reason) == (errno.EILSEQ, Reason.FTRACE_SITE)
    answer = k.check(addr=site + 1)  # as after boot
    assert (answer.errno, answer.reason) == (errno.EINVAL, Reason.NOT_KERNEL_TEXT)
