"""The language of ``kprobesim call``."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kprobesim.cli.expression import (
    Buffer,
    Call,
    Data,
    ExpressionError,
    Number,
    SymbolAddress,
    parse_call,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("10", 10),
        ("-1", -1),
        ("+7", 7),
        ("~0", -1),
        ("- -3", 3),
        ("0x1F", 31),
        ("0XffffFFFFffffFFFF", 2**64 - 1),
        ("-0x8000000000000000", -(2**63)),
        ("0o17", 15),
        ("0755", 0o755),
        ("00", 0),
        ("0b101", 5),
        ("1_000_000", 1000000),
        ("NULL", 0),
    ],
)
def test_integers(text: str, value: int) -> None:
    assert parse_call(f"f({text})") == Call("f", (Number(value),))


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ('"abc"', b"abc\0"),
        ("'abc'", b"abc\0"),
        ('""', b"\0"),
        (r'"a\"b\\\n\x41\0"', b'a"b\\\nA\0\0'),
        ('b"abc"', b"abc"),
        (r'b"\x00\xff"', b"\x00\xff"),
        ('"né, (x)"', "né, (x)\0".encode()),
        ('"two\nlines"', b"two\nlines\0"),
        ('"\udcff"', b"\xff\0"),  # a byte of the command line that is not UTF-8
    ],
)
def test_strings(text: str, content: bytes) -> None:
    assert parse_call(f"f({text})") == Call("f", (Data(content),))


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("f()", Call("f", ())),
        (" f ( ) ", Call("f", ())),
        ("f(1,2)", Call("f", (Number(1), Number(2)))),
        ("foo.isra.0(1)", Call("foo.isra.0", (Number(1),))),
        ("mix@0xffffffff81000050(1)", Call("mix@0xffffffff81000050", (Number(1),))),
        ("0xffffffff81000050(1)", Call(0xFFFFFFFF81000050, (Number(1),))),
        ("f(buf(64), buf)", Call("f", (Buffer(64), SymbolAddress("buf", 0)))),
        ("f(init_task)", Call("f", (SymbolAddress("init_task", 0),))),
        ("f(&init_task)", Call("f", (SymbolAddress("init_task", 0),))),
        ("f(&a+0x10, a-8)", Call("f", (SymbolAddress("a", 16), SymbolAddress("a", -8)))),
    ],
)
def test_calls(text: str, call: Call) -> None:
    assert parse_call(text) == call


@pytest.mark.parametrize(
    ("text", "column", "problem"),
    [
        ("", 0, "function's name"),
        ("f", 1, "expected ("),
        ("(1)", 0, "function's name"),
        ("f(1", 3, "expected , or )"),
        ("f(1,)", 4, ""),
        ("f(,)", 2, "expected an argument"),
        ("f(1 2)", 4, "expected , or )"),
        ("f(1) g(2)", 5, "nothing behind"),
        ('f("a', 2, 'no closing "'),
        ("f(g(1))", 2, "a call cannot be an argument"),
        ("f(1.5)", 3, ""),
        ("f(0x)", 2, "no integer"),
        ("f(08)", 2, "no integer"),
        ("f(12ab)", 2, "no integer"),
        ("f(1__0)", 2, "no integer"),
        ("f(0x10000000000000000)", 2, "64 bits"),
        ("f(-0x8000000000000001)", 2, "64 bits"),
        ("f(" + "9" * 5000 + ")", 2, "64 bits"),
        ("f(buf(0))", 6, "at least one byte"),
        ("f(buf(-1))", 6, "at least one byte"),
        ("f(buf())", 6, "expected a number"),
        ("f(buf(8)", 8, "expected , or )"),
        ("f(&)", 3, "behind &"),
        ("f(&1)", 3, "behind &"),
        ("f(a+b)", 4, "offset"),
        ("f(1+1)", 3, "expected , or )"),
        (r'f("\d")', 2, "invalid escape"),
        (r'f("\xzz")', 2, "cannot be read"),
        (r'f(b"é")', 2, "cannot be read"),
        (r'f("\ud800")', 2, "cannot be read"),
        ("__import__('os').system('true')", 16, "nothing behind"),
        ("f(x for x in y)", 4, "expected , or )"),
    ],
)
def test_errors_point_at_the_place(text: str, column: int, problem: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_call(text)
    error = caught.value
    assert problem in error.problem
    if problem:
        assert error.column == column
    assert str(error).splitlines()[-1].index("^") == 2 + error.column


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_call(text)
    except ExpressionError as error:
        assert 0 <= error.column <= len(text)


@given(st.binary())
def test_any_bytes_can_be_written(data: bytes) -> None:
    assert parse_call(f"f({data!r})") == Call("f", (Data(data),))


@given(st.integers(-(2**63), 2**64 - 1))
def test_any_64_bits_can_be_written(value: int) -> None:
    assert parse_call(f"f({value}, {value:#x})") == Call("f", (Number(value), Number(value)))
