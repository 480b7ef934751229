"""Checksums, hashes and ciphers that Python's library lacks, written from their specifications."""

from __future__ import annotations

import struct

_U32 = (1 << 32) - 1
_U64 = (1 << 64) - 1


def crc(data: bytes, width: int, polynomial: int, value: int, *, reflected: bool) -> int:
    """A bitwise CRC without final XOR; a reflected one takes the reflected polynomial."""
    for byte in data:
        value ^= byte if reflected else byte << width - 8
        for _ in range(8):
            if reflected:
                value = value >> 1 ^ (polynomial if value & 1 else 0)
            else:
                value = (value << 1 ^ (polynomial if value >> width - 1 else 0)) & (1 << width) - 1
    return value


def _rotl(value: int, count: int, bits: int) -> int:
    return (value << count | value >> bits - count) & (1 << bits) - 1


def siphash24(key: bytes, data: bytes) -> int:
    """SipHash-2-4 (Aumasson and Bernstein, 2012)."""
    k0, k1 = struct.unpack("<2Q", key)
    v = [
        k0 ^ 0x736F6D6570736575,
        k1 ^ 0x646F72616E646F6D,
        k0 ^ 0x6C7967656E657261,
        k1 ^ 0x7465646279746573,
    ]

    def rounds(count: int) -> None:
        for _ in range(count):
            v[0] = (v[0] + v[1]) & _U64
            v[2] = (v[2] + v[3]) & _U64
            v[1] = _rotl(v[1], 13, 64) ^ v[0]
            v[3] = _rotl(v[3], 16, 64) ^ v[2]
            v[0] = _rotl(v[0], 32, 64)
            v[2] = (v[2] + v[1]) & _U64
            v[0] = (v[0] + v[3]) & _U64
            v[1] = _rotl(v[1], 17, 64) ^ v[2]
            v[3] = _rotl(v[3], 21, 64) ^ v[0]
            v[2] = _rotl(v[2], 32, 64)

    tail = data[len(data) & ~7 :].ljust(7, b"\0") + bytes([len(data) & 0xFF])
    for (word,) in struct.iter_unpack("<Q", data[: len(data) & ~7] + tail):
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xFF
    rounds(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


_X32 = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1)


def xxh32(data: bytes, seed: int) -> int:
    """xxHash, 32 bits (its specification, version 0.1.1)."""
    p1, p2, p3, p4, p5 = _X32
    at = 0
    if len(data) >= 16:
        lanes = [seed + p1 + p2, seed + p2, seed, seed - p1]
        while at <= len(data) - 16:
            for lane, word in enumerate(struct.unpack_from("<4I", data, at)):
                lanes[lane] = _rotl((lanes[lane] + word * p2) & _U32, 13, 32) * p1 & _U32
            at += 16
        value = sum(_rotl(lane, turn, 32) for lane, turn in zip(lanes, (1, 7, 12, 18), strict=True))
    else:
        value = seed + p5
    value = value + len(data) & _U32
    while at <= len(data) - 4:
        value = _rotl(value + struct.unpack_from("<I", data, at)[0] * p3 & _U32, 17, 32) * p4 & _U32
        at += 4
    for byte in data[at:]:
        value = _rotl(value + byte * p5 & _U32, 11, 32) * p1 & _U32
    value = (value ^ value >> 15) * p2 & _U32
    value = (value ^ value >> 13) * p3 & _U32
    return value ^ value >> 16


def chacha20_block(state: list[int]) -> bytes:
    """The ChaCha20 block function (RFC 8439, 2.3)."""
    x = list(state)

    def quarter(a: int, b: int, c: int, d: int) -> None:
        for into, other, target, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            x[into] = x[into] + x[other] & _U32
            x[target] = _rotl(x[target] ^ x[into], turn, 32)

    for _ in range(10):
        for column in range(4):
            quarter(column, column + 4, column + 8, column + 12)
        for column in range(4):
            quarter(column, 4 + (column + 1) % 4, 8 + (column + 2) % 4, 12 + (column + 3) % 4)
    return struct.pack("<16I", *((a + b) & _U32 for a, b in zip(x, state, strict=True)))


def internet_checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071), as it is stored by a little-endian machine."""
    total = sum(word for (word,) in struct.iter_unpack("<H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def lfsr113(state: list[int]) -> int:
    """One step of L'Ecuyer's combined Tausworthe generator lfsr113, in place."""
    for index, (shift, keep, left, right) in enumerate(
        (
            (6, 0xFFFFFFFE, 18, 13),
            (2, 0xFFFFFFF8, 2, 27),
            (13, 0xFFFFFFF0, 7, 21),
            (3, 0xFFFFFF80, 13, 12),
        )
    ):
        s = state[index]
        state[index] = ((s & keep) << left & _U32) ^ ((s << shift & _U32) ^ s) >> right
    return state[0] ^ state[1] ^ state[2] ^ state[3]
