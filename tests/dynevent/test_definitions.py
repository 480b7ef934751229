"""What definitions mean, and where the caret points to in those that are refused."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest
from dynevent.plain_kernel import PlainKernel

from kprobesim import ProbeEventError
from kprobesim.dynevent.definition import ProbeArgument
from kprobesim.dynevent.dialect import dialect_of, texts_of
from kprobesim.dynevent.fetch import (
    Address,
    Argument,
    Comm,
    Deref,
    Immediate,
    ImmediateString,
    Memory,
    Register,
    Retval,
    Stack,
    StackPointer,
)
from kprobesim.dynevent.hashed_pointer import hashed_pointer
from kprobesim.dynevent.parse import parse_definition, parse_old_or_new
from kprobesim.dynevent.resolve import resolve_symbols

# A caret stands before the column that error_log shows, as in the kernel's own tests of it.
REFUSED = {
    "p^100 f": "BAD_MAXACT_TYPE",
    "r^1a111 f": "BAD_MAXACT",
    "r^100000 f": "MAXACT_TOO_BIG",
    "p ^nobody": "BAD_PROBE_ADDR",
    "p ^f-4": "BAD_PROBE_ADDR",
    "p ^f+4294967296": "BAD_PROBE_ADDR",
    "r ^f+10": "BAD_RETPROBE",
    "p f^%hoge": "BAD_ADDR_SUFFIX",
    "p ^twice": "NON_UNIQ_SYMBOL",
    "p:^/e f": "NO_GROUP_NAME",
    f"p:^{'g' * 64}/e f": "GROUP_TOO_LONG",
    "p:^1g/e f": "BAD_GROUP_NAME",
    "p:^ f": "NO_EVENT_NAME",
    f"p:g/^{'e' * 64} f": "EVENT_TOO_LONG",
    "p:g/^e.f f": "BAD_EVENT_NAME",
    f"p f ^{'a' * 33}=@1": "ARG_NAME_TOO_LONG",
    "p f ^=@1": "NO_ARG_NAME",
    "p f ^a.b=@1": "BAD_ARG_NAME",
    "p f a=@1 ^a=@2": "USED_ARG_NAME",
    "p f ^common_pid=@1": "USED_ARG_NAME",
    "p f a=^": "NO_ARG_BODY",
    "p f ^$retval": "RETVAL_ON_PROBE",
    "p f ^$stack2049": "BAD_STACK_NUM",
    "p f a=^$stack-1": "BAD_VAR",
    "p f a=^$arg0": "BAD_ARG_NUM",
    "p f+4 a=^$arg1": "NOFENTRY_ARGS",
    "p f ^%nobody": "BAD_REG_NAME",
    "p f ^@0xzz": "BAD_MEM_ADDR",
    "p f ^@+10": "FILE_ON_KPROBE",
    "p f \\^x": "BAD_IMM",
    'p f \\"abcd^': "IMMSTR_NO_CLOSE",
    "p f ^+0": "DEREF_NEED_BRACE",
    "p f ^+0ab1(@0)": "BAD_DEREF_OFFS",
    "p f +0(+0(@0^)": "DEREF_OPEN_BRACE",
    "p f +0(^$comm)": "COMM_CANT_DEREF",
    "p f +0(-8(^&1))": "BAD_FETCH_ARG",
    "p f +0(@1):u8[1^": "ARRAY_NO_CLOSE",
    "p f +0(@1):u8[1]^x": "BAD_ARRAY_SUFFIX",
    "p f +0(@1):u8[^0]": "BAD_ARRAY_NUM",
    "p f +0(@1):u8[^65]": "ARRAY_TOO_BIG",
    "p f @1:^u7": "BAD_TYPE",
    "p f $stack0:^string": "BAD_STRING",
    "p f \\1:^symstr": "BAD_SYMSTRING",
    "p f @1:^b9@0/8": "BAD_BITFIELD",
    "p f $comm:^u8": "NEED_STRING_TYPE",
    "p f ^$arg*": "NOSUP_BTFARG",
}


@pytest.fixture
def kernel(arch: str) -> PlainKernel:
    """A kernel with the newest grammar, and no types."""
    return PlainKernel(arch, ambiguous=frozenset({"twice"}))


@pytest.mark.parametrize("marked", REFUSED)
def test_refusals_point_to_the_fault(kernel: PlainKernel, marked: str) -> None:
    with pytest.raises(ProbeEventError) as caught:
        parse_definition(marked.replace("^", ""), kernel)
    assert (caught.value.id, caught.value.column) == (REFUSED[marked], marked.index("^"))
    assert caught.value.entry.splitlines()[2] == " " * (11 + marked.index("^")) + "^"


def test_too_much_is_too_much(kernel: PlainKernel) -> None:
    register = next(iter(kernel.registers))
    many = " ".join(f"a{number}=%{register}" for number in range(129))
    large = " ".join(f"a{number}=@1:u64[64]" for number in range(7))
    nested = "+0(" * 9 + "@0" + ")" * 9
    for text, name in ((many, "ARGS"), (large, "BIG"), (nested, "NESTED")):
        with pytest.raises(ProbeEventError, match="oo") as caught:
            parse_definition(f"p f {text}", kernel)
        assert name in caught.value.id
        assert caught.value.errno == errno.E2BIG


def fetched(kernel: PlainKernel, text: str, head: str = "p f") -> ProbeArgument:
    (argument,) = parse_definition(f"{head} {text}", kernel).arguments
    return argument


def test_what_arguments_read(kernel: PlainKernel) -> None:
    register = next(iter(kernel.registers))
    assert fetched(kernel, f"a=+8(-0x10(%{register})):x32").fetch == Deref(
        Deref(Register(register), -16), 8
    )
    assert fetched(kernel, "+u0($arg2):ustring").fetch == Deref(Argument(2), 0, user=True)
    assert fetched(kernel, "$stack3").fetch == Stack(3)
    assert fetched(kernel, "$stack").fetch == StackPointer()
    assert fetched(kernel, "$retval:s32", "r f").fetch == Retval()
    assert fetched(kernel, "$COMM").fetch == Comm()
    assert fetched(kernel, "\\-1:u8").fetch == Immediate((1 << 64) - 1)
    assert fetched(kernel, '\\"hi"').fetch == ImmediateString("hi")
    assert fetched(kernel, "@f-4:symbol").fetch == Memory(Address(symbol="f-4"))


def test_how_they_are_stored(kernel: PlainKernel) -> None:
    assert fetched(kernel, "@1").type.name == "x64"
    assert fetched(kernel, "@1:b4@0x4/16").type.bitfield == (4, 4)
    array = fetched(kernel, "@1:s16[010]")
    assert (array.name, array.body, array.type.count, array.type.size) == (
        ("arg1", "@1:s16[010]", 8, 16)
    )
    assert fetched(kernel, "name=$comm:string").type.format == "__data_loc char[]"


def test_places_and_names(kernel: PlainKernel) -> None:
    definition = parse_definition("r010:grp-1/ mod:f.isra.0+0 $retval", kernel)
    assert definition.maxactive == 8
    assert definition.name == "grp-1/r_mod_f_isra_0_0"
    assert (definition.module, definition.symbol) == ("mod", "f.isra.0")
    assert parse_definition("p f%return", kernel).returns
    address = parse_definition("p 0x1234", kernel)
    assert (address.address, address.event) == (0x1234, "p_0x0000000000001234")


def test_symbols_are_looked_up_when_the_probe_is_registered(kernel: PlainKernel) -> None:
    definition = parse_definition("p f +8(@g+0x10) @nobody", kernel)
    assert resolve_symbols(definition, kernel.lookup).errno == errno.ENOENT
    definition = replace(definition, arguments=definition.arguments[:1])
    (argument,) = resolve_symbols(definition, kernel.lookup).definition.arguments
    assert argument.fetch == Deref(Memory(Address(0x2010)), 8)


OLD_TEXTS = (
    "Invalid $-valiable specified",
    "Unknown type is specified",
    "Argument name is too long",
)


def test_old_kernels_know_less(arch: str) -> None:
    """What is not in their images they neither take nor say."""
    old = dialect_of((5, 10), texts_of(OLD_TEXTS.__contains__), lambda _: False, lambda _: ())
    kernel = PlainKernel(arch, old)
    refused = {
        "@1:char": "Unknown type is specified",
        "$comm:u8": "",
        "a=$current": "Invalid $-valiable specified",
    }
    for text, said in refused.items():
        with pytest.raises(ProbeEventError) as caught:
            parse_definition(f"p f {text}", kernel)
        assert (caught.value.errno, caught.value.text) == (errno.EINVAL, said)


def test_short_logs_keep_the_start_of_a_command(arch: str) -> None:
    old = dialect_of((5, 10), texts_of(OLD_TEXTS.__contains__), lambda _: False, lambda _: ())
    line = f"p f {' '.join(f'a{number}=@1' for number in range(60))} {'b' * 40}=@2"
    with pytest.raises(ProbeEventError) as caught:
        parse_definition(line, PlainKernel(arch, old))
    told = f"\n  Command: {line}\n"[:255]
    column = line.index("bb") % 256
    assert caught.value.entry == (
        f"trace_kprobe: error: Argument name is too long{told}{' ' * (11 + column)}^\n"
    )


def test_hashed_pointers() -> None:
    """As a real kernel with that key printed 0x1000."""
    assert hashed_pointer(0, (1, 2)) == "0" * 16
    assert hashed_pointer(0x1000, (0, 0)) == "(____ptrval____)"
    assert hashed_pointer((1 << 64) - 1, (1, 2)) == "f" * 16


def test_what_only_the_kernel_itself_takes_is_taken_beside_the_newest(arch: str) -> None:
    newest = PlainKernel(arch)
    kernel = PlainKernel(arch, replace(newest.dialect, newest=False, most_nested=0))
    kernel.newest = newest
    nested = "+0(" * 9 + "@f" + ")" * 9
    with pytest.raises(ProbeEventError, match="Too many nested"):
        parse_definition(f"p f {nested}", newest)
    assert parse_old_or_new(f"p f {nested}", kernel)[1] is kernel
    assert parse_old_or_new("p f $current", kernel)[1] is newest
    with pytest.raises(ProbeEventError, match="Invalid \\$-variable"):
        parse_old_or_new("p f $nothing", kernel)
