"""Real kernel functions give the right results, with probes on all their instructions, too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from real.probes import probes_everywhere
from real.real_cases import CASES, Case, Guest

from kprobesim import Kernel, Reason, Symbol

MINIMUM = 25


def functions_of(kernel: Kernel, case: Case) -> list[Symbol]:
    """The case's functions; skips it if this kernel lacks one."""
    names = [Guest(kernel).name(function) for function in case.functions]
    for name, wanted in zip(names, case.functions, strict=True):
        if name is None:
            pytest.skip(f"{kernel.version} has no {wanted}")
    inner = [Guest(kernel).name(function) for function in case.inner]
    # A function may have several names, and a name stand for several functions.
    found = {}
    for name in filter(None, names + inner):
        for symbol in kernel.symbols.candidates(name):
            found[symbol.address] = symbol
    return list(found.values())


def run(kernel: Kernel, case: Case) -> object:
    with Guest(kernel) as guest:
        return case.run(guest)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_results_are_what_python_computes(real_kernel: Kernel, case: Case) -> None:
    functions_of(real_kernel, case)
    assert run(real_kernel, case) == case.expected


def check_transparency(kernel: Kernel, case: Case, *, with_post: bool) -> None:
    functions = functions_of(kernel, case)
    before = [kernel.read(symbol.address, symbol.size) for symbol in functions]
    with probes_everywhere(kernel, functions, with_post=with_post) as watch:
        if {error.reason for error in watch.refused} == {Reason.BLACKLISTED} and not watch.probes:
            pytest.skip(f"{kernel.version}: {watch.refused[0].strerror}")
        assert watch.probes, f"no probe was accepted: {watch.refused[:1]}"
        assert run(kernel, case) == case.expected
    assert watch.pre, "no probe was hit"
    assert 0 <= watch.pre - watch.post <= case.faults or not with_post
    assert not watch.strange
    assert not any(p.nmissed for p in watch.probes)
    assert [kernel.read(symbol.address, symbol.size) for symbol in functions] == before
    assert kernel.kprobes.slots.used == 0
    assert run(kernel, case) == case.expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_probes_everywhere_change_nothing(
    stepped_kernels: Callable[[str], Kernel], case: Case
) -> None:
    check_transparency(stepped_kernels("breakpoint"), case, with_post=True)


@pytest.mark.parametrize("case", CASES[1::4], ids=lambda case: case.name)
def test_steps_of_the_cpu_change_nothing(
    stepped_kernels: Callable[[str], Kernel], case: Case
) -> None:
    check_transparency(stepped_kernels("trap"), case, with_post=True)


@pytest.mark.parametrize("case", CASES[::3], ids=lambda case: case.name)
def test_boosted_probes_change_nothing(
    stepped_kernels: Callable[[str], Kernel], case: Case
) -> None:
    """Without a post_handler x86-64 lets the copied instruction jump back by itself."""
    check_transparency(stepped_kernels("breakpoint"), case, with_post=False)


@pytest.fixture(scope="module")
def old_kernel(real_image: Path) -> Kernel:
    """Probed as 5.10 did: branches run in the slot, under the trap flag."""
    return Kernel.load(real_image, model="5.10")


@pytest.mark.parametrize("case", CASES[::8], ids=lambda case: case.name)
def test_probes_of_an_older_kernel_change_nothing(old_kernel: Kernel, case: Case) -> None:
    check_transparency(old_kernel, case, with_post=CASES.index(case) % 16 == 0)


def test_enough_functions_are_there(real_kernel: Kernel) -> None:
    guest = Guest(real_kernel)
    there = {
        name
        for case in CASES
        if all(guest.name(function) for function in case.functions)
        for function in case.functions
        if (name := guest.name(function))
    }
    assert len(there) >= MINIMUM
