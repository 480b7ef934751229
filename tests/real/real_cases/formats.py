"""Text: printf and scanf with the kernel's formats, encodings, identifiers."""

from __future__ import annotations

import base64
import ipaddress
import uuid

from real.real_cases.case import Guest, case

_BYTES = bytes(range(0x9C, 0xBC))
_UUID = uuid.UUID("c33f4995-3701-450e-9fbf-206a2e98e576")
_IP6 = "2001:db8::8:800:200c:417a"
_UNICODE = "aß€😀"


def _snprintf(guest: Guest, form: bytes, *arguments: object) -> tuple[bytes, int]:
    buffer = guest.buf(128)
    length = guest.int("snprintf", buffer, 128, form + b"\0", *arguments)
    return guest.kernel.read_cstr(buffer), length


def _is(text: bytes) -> tuple[bytes, int]:
    return text, len(text)


def _sscanf(guest: Guest) -> tuple[int, ...]:
    a, b, c, word = guest.buf(4), guest.buf(8), guest.buf(2), guest.buf(16)
    count = guest.int("sscanf", b"-17 0xfeed:eth0/99\0", b"%d %llx:%4[0eht]/%hu\0", a, b, word, c)
    return (  # type: ignore[return-value]
        count,
        int.from_bytes(guest.read(a, 4), "little", signed=True),
        guest.u64s(b, 1)[0],
        guest.kernel.read_cstr(word),
        int.from_bytes(guest.read(c, 2), "little"),
    )


def _hex_dump(guest: Guest) -> bytes:
    line = guest.buf(128)
    guest.call("hex_dump_to_buffer", b"kprobe!\x00\x7f~ 0123", 15, 16, 1, line, 128, 1)
    return guest.kernel.read_cstr(line)


def _hex_round(guest: Guest) -> tuple[bytes, int, bytes]:
    text, data = guest.buf(64), guest.buf(32)
    guest.call("bin2hex", text, _BYTES, 32)
    status = guest.int("hex2bin", data, text, 32)
    return guest.read(text, 64), status, guest.read(data, 32)


def _base64(guest: Guest) -> bytes:
    text = guest.buf(64)
    return guest.read(text, guest.int("base64_encode", _BYTES[:31], 31, text, 1, 0))


def _utf8_to_utf32(guest: Guest) -> list[tuple[int, int]]:
    found = []
    for letter in _UNICODE:
        code = guest.buf(4)
        data = letter.encode()
        length = guest.int("utf8_to_utf32", data, len(data), code)
        found.append((length, int.from_bytes(guest.read(code, 4), "little")))
    return found


def _utf32_to_utf8(guest: Guest) -> bytes:
    buffer = guest.buf(8)
    return b"".join(
        guest.read(buffer, guest.int("utf32_to_utf8", ord(letter), buffer, 6))
        for letter in _UNICODE
    )


def _utf8s_to_utf16s(guest: Guest) -> bytes:
    data, wide = _UNICODE.encode(), guest.buf(32)
    words = guest.int("utf8s_to_utf16s", data, len(data), 1, wide, 16)
    return guest.read(wide, 2 * words)


def _into(guest: Guest, size: int, function: str, *before: object) -> tuple[int, bytes]:
    """Status and result of a function that writes ``size`` bytes to its last argument."""
    result = guest.buf(size)
    return guest.int(function, *before, result), guest.read(result, size)


def _pton(guest: Guest, function: str, size: int, text: str) -> tuple[int, bytes]:
    result = guest.buf(size)
    status = guest.int(function, text.encode(), len(text), result, -1, None)
    return status, guest.read(result, size)


def _unescape(guest: Guest) -> bytes:
    target = guest.buf(64)
    size = guest.int("string_unescape", b"tab\\tnl\\n\\x41\\101\\\\\0", target, 64, 0xF)
    return guest.read(target, size)


def _next_arg(guest: Guest) -> list[bytes]:
    parameter, value = guest.buf(8), guest.buf(8)
    start = guest.put(b'root="/dev my" quiet\0')
    rest = guest.call("next_arg", start, parameter, value)
    at = [guest.u64s(parameter, 1)[0], guest.u64s(value, 1)[0], rest]
    return [guest.kernel.read_cstr(address) for address in at]


CASES = [
    case(
        "snprintf",
        lambda g: [
            _snprintf(
                g,
                b"%d %s %#lx|%-6s|%+d %llu %c %*d %.2s",
                2**64 - 5,
                b"str\0",
                0xABC,
                b"ab\0",
                7,
                2**64 - 1,
                ord("Z"),
                4,
                42,
                b"xyz\0",
            ),
            _snprintf(g, b"%pI4 %pM", b"\xc0\xa8\x01\x0a", bytes(range(0xA0, 0xA6))),
            _snprintf(g, b"%pI6c %pUb", ipaddress.ip_address(_IP6).packed, _UUID.bytes),
            _snprintf(g, b"%*ph|%6phN|%3phC", 4, _BYTES, _BYTES, _BYTES),
            _snprintf(g, b"%08x %o %% %5.3d %hhu", 0xBEEF, 8, 7, 0x1FF),
        ],
        [
            _is(b"-5 str 0xabc|ab    |+7 18446744073709551615 Z   42 xy"),
            _is(b"192.168.1.10 a0:a1:a2:a3:a4:a5"),
            _is(f"{_IP6} {_UUID}".encode()),
            _is(
                _BYTES[:4].hex(" ").encode()
                + b"|"
                + _BYTES[:6].hex().encode()
                + b"|"
                + _BYTES[:3].hex(":").encode()
            ),
            _is(b"0000beef 10 %   007 255"),
        ],
        inner="vsnprintf format_decode number string_nocheck string pointer put_dec",
    ),
    case(
        "snprintf",
        lambda g: _snprintf(g, b"%ps", g.kernel.symbols["int_sqrt"]),
        _is(b"int_sqrt"),
        inner="symbol_string sprint_symbol_no_offset kallsyms_expand_symbol.constprop.0",
        name="snprintf-symbol",
    ),
    case("sscanf", _sscanf, (4, -17, 0xFEED, b"eth0", 99), inner="vsscanf"),
    case(
        "hex_dump_to_buffer",
        _hex_dump,
        b"6b 70 72 6f 62 65 21 00 7f 7e 20 30 31 32 33     kprobe!..~ 0123",
    ),
    case("bin2hex hex2bin", _hex_round, (_BYTES.hex().encode(), 0, _BYTES), inner="hex_to_bin"),
    case("base64_encode", _base64, base64.b64encode(_BYTES[:31])),
    case("utf8_to_utf32", _utf8_to_utf32, [(len(c.encode()), ord(c)) for c in _UNICODE]),
    case("utf32_to_utf8", _utf32_to_utf8, _UNICODE.encode()),
    case("utf8s_to_utf16s", _utf8s_to_utf16s, _UNICODE.encode("utf-16-le")),
    case(
        "in4_pton", lambda g: _pton(g, "in4_pton", 4, "203.0.113.77"), (1, bytes([203, 0, 113, 77]))
    ),
    case(
        "in6_pton", lambda g: _pton(g, "in6_pton", 16, _IP6), (1, ipaddress.ip_address(_IP6).packed)
    ),
    case(
        "mac_pton",
        lambda g: _into(g, 6, "mac_pton", b"52:54:00:aB:cd:EF\0"),
        (1, bytes.fromhex("525400abcdef")),
    ),
    case(
        "uuid_parse",
        lambda g: _into(g, 16, "uuid_parse", str(_UUID).encode() + b"\0"),
        (0, _UUID.bytes),
        inner="__uuid_parse uuid_is_valid",
    ),
    case(
        "guid_parse",
        lambda g: _into(g, 16, "guid_parse", str(_UUID).encode() + b"\0"),
        (0, _UUID.bytes_le),
        inner="__uuid_parse",
    ),
    case("string_unescape", _unescape, b"tab\tnl\nAA\\"),
    case("next_arg", _next_arg, [b"root", b"/dev my", b"quiet"]),
    # 1.2.840.113549.1.1.11 in the encoding of X.690, 8.19: sha256WithRSAEncryption.
    case(
        "sprint_oid",
        lambda g: (
            lambda at: (
                g.int("sprint_oid", bytes.fromhex("2a864886f70d01010b"), 9, at, 64),
                g.kernel.read_cstr(at),
            )
        )(g.buf(64)),
        (21, b"1.2.840.113549.1.1.11"),
    ),
]
