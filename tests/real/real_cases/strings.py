"""Strings and memory: lib/string.c, lib/string_helpers.c, lib/glob.c and the assembly beside."""

from __future__ import annotations

from real.real_cases.case import Guest, case

_STRSCPY = "strscpy|sized_strscpy"  # renamed in 6.9
_TEXT = b"the quick brown fox jumps over the lazy dog"
_MEMORY = bytes(range(7, 207)) * 2


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


def _scan(guest: Guest, function: str, text: bytes, *arguments: object) -> bytes | None:
    """The rest of ``text`` from where ``function`` points to."""
    found = guest.call(function, guest.put(text + b"\0"), *arguments)
    return guest.kernel.read_cstr(found) if found else None


def _memory(guest: Guest) -> bytes:
    memory = guest.put(_MEMORY)
    guest.call("memset", memory + 3, 0xA5, 37)
    guest.call("memcpy", memory + 101, guest.put(_TEXT), 29)
    guest.call("memmove", memory + 200, memory + 190, 150)
    guest.call("memmove", memory + 80, memory + 87, 61)
    return guest.read(memory, len(_MEMORY))


def _python_memory() -> bytes:
    memory = bytearray(_MEMORY)
    memory[3:40] = b"\xa5" * 37
    memory[101:130] = _TEXT[:29]
    memory[200:350] = memory[190:340]
    memory[80:141] = memory[87:148]
    return bytes(memory)


def _strsep(guest: Guest) -> list[bytes]:
    words = []
    cursor = guest.put(guest.put(b"root=/dev/vda1,ro,,quiet\0").to_bytes(8, "little"))
    while word := guest.call("strsep", cursor, b",\0"):
        words.append(guest.kernel.read_cstr(word))
    return words


def _strscpy(guest: Guest) -> tuple[int, int, bytes]:
    target = guest.buf(64)
    whole = guest.int(_STRSCPY, target, b"whole\0", 64)
    return whole, guest.int(_STRSCPY, target, _TEXT + b"\0", 20), guest.kernel.read_cstr(target)


def _match_string(guest: Guest) -> list[int]:
    words = [guest.put(word) for word in (b"mask\0", b"unmask\0", b"poll\0")]
    table = guest.put(b"".join(word.to_bytes(8, "little") for word in words))
    return [guest.int("match_string", table, 3, key) for key in (b"poll\0", b"mask\0", b"no\0")]


CASES = [
    case(
        "strlen",
        lambda g: [g.call("strlen", _TEXT[n:] + b"\0") for n in range(9)],
        [len(_TEXT) - n for n in range(9)],
    ),
    case(
        "strnlen",
        lambda g: [g.call("strnlen", _TEXT + b"\0", n) for n in (0, 7, 99)],
        [0, 7, len(_TEXT)],
    ),
    case(
        "strcmp",
        lambda g: [
            _sign(g.int("strcmp", a, b))
            for a, b in ((b"abc\0", b"abd\0"), (b"same\0", b"same\0"), (b"b\0", b"abc\0"))
        ],
        [-1, 0, 1],
    ),
    case(
        "strncmp",
        lambda g: [_sign(g.int("strncmp", b"kprobe_a\0", b"kprobe_b\0", n)) for n in (7, 8)],
        [0, -1],
    ),
    case(
        "strncasecmp",
        lambda g: [_sign(g.int("strncasecmp", b"KPROBES\0", b"kprobed\0", n)) for n in (6, 7)],
        [0, 1],
    ),
    case(
        "strchr",
        lambda g: [_scan(g, "strchr", _TEXT, ord(c)) for c in "qz!"],
        [_TEXT[4:], _TEXT[_TEXT.index(b"z") :], None],
    ),
    case("strrchr", lambda g: _scan(g, "strrchr", _TEXT, ord("o")), _TEXT[_TEXT.rindex(b"o") :]),
    case(
        "strstr",
        lambda g: [_scan(g, "strstr", _TEXT, b"fox\0"), _scan(g, "strstr", _TEXT, b"c\0x")],
        [_TEXT[16:], _TEXT[7:]],
    ),
    case(
        "strspn strcspn",
        lambda g: [
            g.call("strspn", _TEXT + b"\0", b"eht \0"),
            g.call("strcspn", _TEXT + b"\0", b"xyz\0"),
        ],
        [4, 18],
    ),
    case("strpbrk", lambda g: _scan(g, "strpbrk", _TEXT, b"zxj\0"), _TEXT[18:]),
    case("strsep", _strsep, [b"root=/dev/vda1", b"ro", b"", b"quiet"]),
    # Reads a word that ends behind its argument: load_unaligned_zeropad().
    case(_STRSCPY, _strscpy, (5, -7, _TEXT[:19]), faults=1),
    case("strim", lambda g: _scan(g, "strim", b" \t padded \n "), b"padded", inner="skip_spaces"),
    case(
        "sysfs_streq",
        lambda g: [g.int("sysfs_streq", b"on\n\0", s) & 1 for s in (b"on\0", b"o\0")],
        [1, 0],
    ),
    case("match_string", _match_string, [2, 0, -22]),
    case(
        "glob_match",
        lambda g: [
            g.int("glob_match", p, b"sched_switch\0") & 1
            for p in (b"sch*_sw?tch\0", b"[a-m]*\0", b"[!s]*\0")
        ],
        [1, 0, 0],
    ),
    case(
        "parse_option_str",
        lambda g: [
            g.int("parse_option_str", b"nx,smep,noibrs\0", o) & 1 for o in (b"smep\0", b"ibrs\0")
        ],
        [1, 0],
    ),
    case(
        "memcpy memmove memset",
        _memory,
        _python_memory(),
        inner="memcpy_orig __memcpy __memmove memset_orig __memset",
    ),
    case(
        "memcmp",
        lambda g: [
            _sign(g.int("memcmp", _MEMORY, _MEMORY[:90] + bytes([b]) + b"x" * 9, 91))
            for b in (_MEMORY[90], 0, 255)
        ],
        [0, 1, -1],
    ),
    case(
        "memchr_inv",
        lambda g: (lambda at: g.call("memchr_inv", at, 0x55, 90) - at)(
            g.put(b"\x55" * 77 + b"\x56" + b"\x55" * 12)
        ),
        77,
    ),
]
