"""The expression of ``kprobesim call``: a function's name and its arguments.

It looks like C and is read, never evaluated::

    name(0x10, -1, "text", b"bytes", buf(64), init_task, &jiffies+8)

A name may be a module's: ``module:name``.
"""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass
from typing import NoReturn

from kprobesim.errors import UsageError
from kprobesim.hexrepr import HexRepr
from kprobesim.sizes import MASK64

__all__ = [
    "Buffer",
    "Call",
    "Data",
    "ExpressionError",
    "Number",
    "SymbolAddress",
    "parse_call",
    "parse_calls",
]

_TOKEN = re.compile(
    r"""
    \s*(?:
      (?P<data>[bB]?(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'))
    | (?P<number>[0-9]\w*)
    | (?P<name>(?:[A-Za-z_]\w*:)?[A-Za-z_.$][\w.$]*(?:@0[xX][0-9a-fA-F]+)?)
    | (?P<sign>.)
    )""",
    re.VERBOSE | re.DOTALL,
)
_INTEGER = re.compile(r"0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO]?[0-7_]+|[1-9][0-9_]*|0")
_SURROGATE = re.compile("[\udc80-\udcff]")
_LOWEST, _HIGHEST = -(1 << 63), MASK64
_MOST_DIGITS = 80


class ExpressionError(UsageError):
    """Text that is no call; the message shows where, with a caret below ``column``."""

    def __init__(self, problem: str, text: str, column: int) -> None:
        self.problem, self.text, self.column = problem, text, column
        line = text.replace("\n", " ").replace("\t", " ")
        super().__init__(f"{problem}\n  {line}\n  {' ' * column}^")


@dataclass(frozen=True, repr=False)
class Number(HexRepr):
    """An integer, passed as it is."""

    value: int


@dataclass(frozen=True)
class Data:
    """Bytes that are placed in guest memory; a string's NUL is among them."""

    content: bytes


@dataclass(frozen=True)
class Buffer:
    """``buf(size)``: zeroed guest memory, shown after the call."""

    size: int


@dataclass(frozen=True)
class SymbolAddress:
    """The address of a symbol, plus ``offset``."""

    name: str
    offset: int


Argument = Number | Data | Buffer | SymbolAddress


@dataclass(frozen=True)
class Call:
    """``function`` is a symbol's name or an address."""

    function: str | int
    arguments: tuple[Argument, ...]


def parse_call(text: str) -> Call:
    r"""Read one call; raises :class:`ExpressionError`.

    >>> parse_call('crc32_le(0, "ab", 2)').arguments
    (Number(value=0), Data(content=b'ab\x00'), Number(value=2))
    """
    return _Reader(text).call()


def parse_calls(text: str) -> tuple[Call, ...]:
    """Read calls with ``;`` between them; raises :class:`ExpressionError`.

    >>> [call.function for call in parse_calls("mutex_lock(m); mutex_unlock(m)")]
    ['mutex_lock', 'mutex_unlock']
    """
    return _Reader(text).calls()


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    column: int


class _Reader:
    """Reads the tokens of ``text`` from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = [
            _Token(str(found.lastgroup), found[str(found.lastgroup)], found.start(found.lastindex))
            for found in _TOKEN.finditer(text.rstrip())
            if found.lastindex
        ]
        self._at = 0

    # -- tokens ----------------------------------------------------------------------------------

    @property
    def _token(self) -> _Token:
        if self._at < len(self._tokens):
            return self._tokens[self._at]
        return _Token("end", "", len(self._text.rstrip()))

    def _is(self, *signs: str) -> bool:
        return self._token.kind == "sign" and self._token.text in signs

    def _next(self) -> _Token:
        token = self._token
        self._at += 1
        return token

    def _expect(self, sign: str, problem: str) -> None:
        if not self._is(sign):
            self._fail(problem)
        self._at += 1

    def _fail(self, problem: str, token: _Token | None = None) -> NoReturn:
        raise ExpressionError(problem, self._text, (token or self._token).column)

    # -- grammar ---------------------------------------------------------------------------------

    def call(self) -> Call:
        call = self._one_call()
        if self._token.kind != "end":
            self._fail("expected nothing behind the call")
        return call

    def calls(self) -> tuple[Call, ...]:
        calls = [self._one_call()]
        while self._is(";"):
            self._at += 1
            if self._token.kind == "end":
                break
            calls.append(self._one_call())
        if self._token.kind != "end":
            self._fail("expected ; and another call, or nothing")
        return tuple(calls)

    def _one_call(self) -> Call:
        function: str | int
        if self._token.kind == "number":
            function = self._integer()
        else:
            if self._token.kind != "name":
                self._fail('expected a function\'s name, as in: strlen("hello")')
            function = self._next().text
        self._expect("(", "expected ( and the arguments behind the function's name")
        arguments: list[Argument] = []
        while not self._is(")"):
            if arguments:
                self._expect(",", "expected , or )")
            arguments.append(self._argument())
        self._at += 1
        return Call(function, tuple(arguments))

    def _argument(self) -> Argument:
        token = self._token
        if token.kind == "data":
            return Data(self._data())
        if token.kind == "number" or self._is("-", "~", "+"):
            return Number(self._integer())
        if self._is("&"):
            self._at += 1
            if self._token.kind != "name":
                self._fail("expected a symbol's name behind &")
            return self._symbol()
        if token.kind != "name":
            if token.text in ('"', "'"):
                self._fail(f"this string has no closing {token.text}")
            self._fail('expected an argument: a number, "text", b"bytes", buf(N) or a symbol')
        if token.text == "buf" and self._follows("("):
            return self._buffer()
        if self._follows("("):
            self._fail("a call cannot be an argument: make it first and pass its result")
        if token.text in ("NULL", "None"):
            self._at += 1
            return Number(0)
        return self._symbol()

    def _follows(self, sign: str) -> bool:
        after = self._tokens[self._at + 1 : self._at + 2]
        return bool(after) and after[0].kind == "sign" and after[0].text == sign

    def _buffer(self) -> Buffer:
        self._at += 2
        token = self._token
        size = self._integer()
        if size <= 0:
            self._fail("a buffer has at least one byte", token)
        self._expect(")", "expected ) behind the buffer's size")
        return Buffer(size)

    def _symbol(self) -> SymbolAddress:
        name = self._next().text
        if not self._is("+", "-"):
            return SymbolAddress(name, 0)
        negative = self._next().text == "-"
        if self._token.kind != "number":
            self._fail("expected an offset in bytes")
        offset = self._integer()
        return SymbolAddress(name, -offset if negative else offset)

    def _integer(self) -> int:
        start = self._token
        signs = []
        while self._is("-", "~", "+"):
            signs.append(self._next().text)
        token = self._token
        if token.kind != "number":
            self._fail("expected a number")
        if not _INTEGER.fullmatch(token.text) or token.text.endswith("_") or "__" in token.text:
            self._fail(f"{token.text} is no integer: write 10, -10, 0x1f, 0o17, 017 or 0b101")
        if len(token.text) > _MOST_DIGITS:
            self._fail("this number does not fit 64 bits")
        self._at += 1
        digits = token.text
        is_old_octal = digits[0] == "0" and digits.strip("0_") and digits[1] not in "xXbBoO"
        value = int(digits, 8 if is_old_octal else 0)
        for sign in reversed(signs):
            value = {"-": -value, "~": ~value, "+": value}[sign]
        if not _LOWEST <= value <= _HIGHEST:
            self._fail("this number does not fit 64 bits", start)
        return value

    def _data(self) -> bytes:
        token = self._next()
        literal = token.text
        for raw, escape in (("\n", "\\n"), ("\r", "\\r")):
            literal = literal.replace("\\" + raw, raw).replace(raw, escape)
        # What is not UTF-8 on the command line arrives as surrogates: they stand for the bytes.
        literal = _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):x}", literal)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # an unknown escape such as \d
                value = ast.literal_eval(literal)
                if isinstance(value, str):
                    return value.encode("utf-8", "surrogateescape") + b"\0"
                return bytes(value)
        except (SyntaxError, ValueError, Warning) as error:
            problem = getattr(error, "msg", None) or str(error)
            self._fail(f"this text cannot be read: {problem}", token)
