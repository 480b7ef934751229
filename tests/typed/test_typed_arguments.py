"""Arguments by name, variables and addresses in real kernels, by their own BTF."""

from __future__ import annotations

from typing import Any

import pytest

from kprobesim import CalledKernel, PtRegs, SymbolError, TypesError, UsageError

pytestmark = pytest.mark.real_kernel


def test_an_argument_has_its_type(real_kernel: CalledKernel) -> None:
    k, seen = real_kernel, list[Any]()

    def look(_p: object, regs: PtRegs) -> None:
        seen.append((regs.arg("s").string_(), regs.arg("base"), regs.arg("res")))
        with pytest.raises(UsageError, match="it has s, base, res"):
            regs.arg("size")
        kept.append(regs)

    kept: list[PtRegs] = []
    with k.probing("kstrtoull", pre_handler=look):
        assert k.call("kstrtoull", b"0x2a\0", 16, bytearray(8)) == 0
    ((text, base, res),) = seen
    assert (text, base, repr(base)) == (b"0x2a", 16, "(unsigned int)16")
    assert repr(res).startswith("(unsigned long long *)0x") or "long long unsigned" in repr(res)
    assert kept[0].arg("base") == 16  # as it was: registers outlive the handler


def test_names_are_for_entries_of_functions_that_btf_knows(real_kernel: CalledKernel) -> None:
    k, errors = real_kernel, list[str]()

    def look(_p: object, regs: PtRegs) -> None:
        with pytest.raises(UsageError) as raised:
            regs.arg("s")
        errors.append(str(raised.value))

    with k.probing("kstrtoull", offset=_behind_the_entry(k), pre_handler=look):
        k.call("kstrtoull", b"1\0", 10, bytearray(8))
    assert "is not the entry of kstrtoull()" in errors[0]


def _behind_the_entry(k: CalledKernel) -> int:
    """An instruction behind the entry and what ftrace patches there."""
    start = k.symbols["kstrtoull"].address
    return next(
        offset
        for offset in range(9, 64)
        if start + offset not in k.image.ftrace_sites and k.check("kstrtoull", offset=offset)
    )


def test_variables_and_addresses_are_typed(real_kernel: CalledKernel) -> None:
    k = real_kernel
    assert k.variable("init_task").comm.string_() == b"swapper"
    pid = k.variable("init_pid_ns", "struct pid_namespace")
    assert k.typed(pid.address_of_(), "struct pid_namespace *").level == 0
    assert k.typed(-1, "int") == -1 and k.typed(-1, "u8") == 255
    assert k.variable("runqueues").nr_running == 0
    with pytest.raises(TypesError, match="of which type the variable vfs_read is"):
        k.variable("vfs_read")
    with pytest.raises(SymbolError):
        k.variable("no_such_variable", "int")
    with pytest.raises(SymbolError, match="no symbol is named no_such_variable"):
        k.variable("no_such_variable")
