"""Numbers: their text forms, and arithmetic (lib/kstrtox.c, lib/cmdline.c, lib/math, lib/mpi)."""

from __future__ import annotations

import calendar
import math
import struct
import time

from real.real_cases.case import Guest, case
from real.real_cases.references import lfsr113

_EINVAL, _ERANGE = -22, -34
_A, _B = 0xFEDCBA98_76543210_0F1E2D3C_4B5A6978, 0x01234567_89ABCDEF_F0E1D2C3_B4A59687
_DATES = [(1970, 1, 1, 0, 0, 0), (2000, 2, 29, 23, 59, 59), (2038, 1, 19, 3, 14, 8)]


def _parse(guest: Guest, function: str, size: int, text: bytes, *base: int) -> int:
    """What ``function`` makes of ``text``: a number, or the error."""
    result = guest.buf(8)
    status = guest.int(function, text + b"\0", *base, result)
    return status or int.from_bytes(guest.read(result, size), "little")


def _memparse(guest: Guest, text: bytes) -> tuple[int, bytes]:
    end = guest.buf(8)
    start = guest.put(text + b"\0")
    value = guest.call("memparse", start, end)
    return value, text[guest.u64s(end, 1)[0] - start :]


def _get_options(guest: Guest) -> tuple[int, ...]:
    ints = guest.buf(40)
    guest.call("get_options", b"3,0x10,-2,5-8\0", 10, ints)
    return struct.unpack("<8i", guest.read(ints, 32))


def _time64_to_tm(guest: Guest, seconds: int) -> tuple[int, ...]:
    result = guest.buf(48)
    guest.call("time64_to_tm", seconds, 0, result)
    second, minute, hour, mday, month, year, wday, yday = struct.unpack(
        "<5i4xq2i", guest.read(result, 40)
    )
    return (year + 1900, month + 1, mday, hour, minute, second, (wday - 1) % 7, yday + 1)


def _multiply(guest: Guest) -> int:
    product = guest.buf(24)
    carry = guest.call("mpihelp_mul_1", product, _limbs(guest, _A), 2, _B & (1 << 64) - 1)
    return int.from_bytes(guest.read(product, 16), "little") | carry << 128


def _limbs(guest: Guest, value: int) -> int:
    return guest.put(value.to_bytes(16, "little"))


def _add(guest: Guest) -> int:
    total = guest.buf(16)
    carry = guest.call("mpihelp_add_n", total, _limbs(guest, _A), _limbs(guest, _B), 2)
    return int.from_bytes(guest.read(total, 16), "little") | carry << 128


def _random(guest: Guest) -> list[int]:
    state = guest.put(struct.pack("<4I", 2, 8, 16, 128))
    return [guest.u32("prandom_u32_state", state) for _ in range(5)]


def _python_random() -> list[int]:
    state = [2, 8, 16, 128]
    return [lfsr113(state) for _ in range(5)]


def _get_size(guest: Guest, size: int, block: int, units: int) -> bytes:
    buffer = guest.buf(32)
    guest.call("string_get_size", size, block, units, buffer, 32)
    return guest.kernel.read_cstr(buffer)


CASES = [
    case(
        "kstrtoull",
        lambda g: [
            _parse(g, "kstrtoull", 8, *one)
            for one in (
                (b"18446744073709551615", 10),
                (b"0xdeadBEEF\n", 0),
                (b"0755", 0),
                (b"12x", 10),
                (b"18446744073709551616", 10),
            )
        ],
        [2**64 - 1, 0xDEADBEEF, 0o755, _EINVAL, _ERANGE],
        inner="_kstrtoull _parse_integer",
    ),
    case(
        "kstrtoint",
        lambda g: [
            _parse(g, "kstrtoint", 4, *one)
            for one in ((b"2147483647", 10), (b"2147483648", 10), (b"-1", 16), (b"", 10))
        ],
        [2**31 - 1, _ERANGE, 2**32 - 1, _EINVAL],
        inner="kstrtoll",
    ),
    case(
        "kstrtobool",
        lambda g: [_parse(g, "kstrtobool", 1, text) for text in (b"y", b"off", b"1", b"N", b"?")],
        [1, 0, 1, 0, _EINVAL],
    ),
    case(
        "memparse",
        lambda g: [_memparse(g, text) for text in (b"64M@0x1000", b"0x2k", b"1G")],
        [(64 << 20, b"@0x1000"), (2 << 10, b""), (1 << 30, b"")],
        inner="simple_strtoull",
    ),
    case("get_options", _get_options, (7, 3, 16, -2, 5, 6, 7, 8), inner="get_option"),
    case("simple_strtol", lambda g: g.call("simple_strtol", b"-123abc\0", None, 10), 2**64 - 123),
    case(
        "num_to_str",
        lambda g: (lambda at: (g.int("num_to_str", at, 32, 987654321098765, 20), g.read(at, 20)))(
            g.buf(32)
        ),
        (20, b"%20d" % 987654321098765),
    ),
    case(
        "string_get_size",
        lambda g: [_get_size(g, 7_500_000, 512, units) for units in (0, 1)],
        [b"3.84 GB", b"3.58 GiB"],
    ),
    case(
        "int_sqrt",
        lambda g: [g.call("int_sqrt", n) for n in (0, 99, 10**12, 2**64 - 1)],
        [math.isqrt(n) for n in (0, 99, 10**12, 2**64 - 1)],
    ),
    case(
        "int_pow",
        lambda g: [g.call("int_pow", base, n) for base, n in ((3, 39), (10, 19))],
        [3**39, 10**19],
    ),
    case("gcd", lambda g: g.call("gcd", 2**20 * 3**9, 6**11), math.gcd(2**20 * 3**9, 6**11)),
    case("lcm", lambda g: g.call("lcm", 5040, 6600), math.lcm(5040, 6600)),
    case(
        "mktime64",
        lambda g: [g.call("mktime64", *date) for date in _DATES],
        [calendar.timegm(date) for date in _DATES],
    ),
    case(
        "time64_to_tm",
        lambda g: [_time64_to_tm(g, s) for s in (0, 951868799, 4102444800)],
        [tuple(time.gmtime(s))[:8] for s in (0, 951868799, 4102444800)],
    ),
    case("mpihelp_add_n", _add, _A + _B),
    case("mpihelp_mul_1", _multiply, _A * (_B & (1 << 64) - 1)),
    case("prandom_u32_state", _random, _python_random()),
]
