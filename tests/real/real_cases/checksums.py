"""Checksums, hashes and ciphers: lib/crc*, lib/crypto, lib/siphash.c, lib/xxhash.c."""

from __future__ import annotations

import hashlib
import struct
import zlib

from real.real_cases.case import Guest, case
from real.real_cases.references import (
    chacha20_block,
    crc,
    internet_checksum,
    siphash24,
    xxh32,
)

_AES_KEY = "aes_preparekey|aes_expandkey"  # the former since 7.0
_CHECK = b"123456789"
_DATA = bytes((7 * n * n + 3) & 0xFF for n in range(75))
_ALL = (1 << 64) - 1


def _crc16(guest: Guest, function: str, start: int, data: bytes) -> int:
    return guest.call(function, start, data, len(data)) & 0xFFFF


def _padded(message: bytes, order: str) -> bytes:
    """One block as the Merkle-Damgard hashes pad a message."""
    length = struct.pack(order + "Q", 8 * len(message))
    return (message + b"\x80").ljust(56, b"\0") + length


def _sha1(guest: Guest) -> bytes:
    state = guest.put(
        struct.pack("<5I", 0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0)
    )
    guest.call("sha1_transform", state, _padded(_DATA[:40], ">"), guest.buf(64))
    return struct.pack(">5I", *struct.unpack("<5I", guest.read(state, 20)))


def _md5(guest: Guest) -> bytes:
    state = guest.put(struct.pack("<4I", 0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476))
    guest.call("md5_transform", state, _padded(_DATA[:40], "<"))
    return guest.read(state, 16)


def _sha256(guest: Guest) -> bytes:
    digest = guest.buf(32)
    guest.call("sha256", _DATA, len(_DATA), digest)
    return guest.read(digest, 32)


def _blake2s(guest: Guest) -> bytes:
    """Struct blake2s_state: h[8], t[2], f[2], buf[64], buflen, outlen (crypto/blake2s.h, 6.1)."""
    h = [
        0x6A09E667,
        0xBB67AE85,
        0x3C6EF372,
        0xA54FF53A,
        0x510E527F,
        0x9B05688C,
        0x1F83D9AB,
        0x5BE0CD19,
    ]
    h[0] ^= 0x01010000 | 32
    state = guest.put(struct.pack("<8I4I64sII", *h, 0, 0, 0, 0, b"", 0, 32))
    digest = guest.buf(32)
    guest.call("blake2s_update", state, _DATA, len(_DATA))
    guest.call("blake2s_final", state, digest)
    return guest.read(digest, 32)


def _aes(guest: Guest) -> tuple[bytes, bytes]:
    context = guest.buf(1024)
    guest.call(_AES_KEY, context, bytes(range(32)), 32)
    block = bytes.fromhex("00112233445566778899aabbccddeeff")
    sealed, opened = guest.buf(16), guest.buf(16)
    guest.call("aes_encrypt", context, sealed, block)
    guest.call("aes_decrypt", context, opened, sealed)
    return guest.read(sealed, 16), guest.read(opened, 16)


_CHACHA = [*struct.unpack("<4I", b"expand 32-byte k"), *range(1, 13)]


def _chacha(guest: Guest) -> tuple[bytes, int]:
    state, stream = guest.put(struct.pack("<16I", *_CHACHA)), guest.buf(64)
    guest.call("chacha_block_generic", state, stream, 20)
    return guest.read(stream, 64), int.from_bytes(guest.read(state + 48, 4), "little")


_SIP = bytes(range(16))

CASES = [
    case(
        "crc32_le|crc32_le_base",
        lambda g: g.u32("crc32_le|crc32_le_base", 0xFFFFFFFF, _DATA, len(_DATA)) ^ 0xFFFFFFFF,
        zlib.crc32(_DATA),
        inner="crc32_le_arch",
    ),
    case(
        "crc32_be|crc32_be_base",
        lambda g: g.u32("crc32_be|crc32_be_base", 0xFFFFFFFF, _DATA, len(_DATA)),
        crc(_DATA, 32, 0x04C11DB7, 0xFFFFFFFF, reflected=False),
        inner="crc32_be_arch",
    ),
    case(
        "__crc32c_le|crc32c_base|crc32c",
        lambda g: g.u32("__crc32c_le|crc32c_base|crc32c", 0xFFFFFFFF, _CHECK, 9),
        crc(_CHECK, 32, 0x82F63B78, 0xFFFFFFFF, reflected=True),
    ),
    case(
        "crc16", lambda g: _crc16(g, "crc16", 0, _DATA), crc(_DATA, 16, 0xA001, 0, reflected=True)
    ),
    case(
        "crc_ccitt",
        lambda g: _crc16(g, "crc_ccitt", 0xFFFF, _DATA),
        crc(_DATA, 16, 0x8408, 0xFFFF, reflected=True),
    ),
    case(
        "crc_t10dif_generic|crc_t10dif_update",
        lambda g: _crc16(g, "crc_t10dif_generic|crc_t10dif_update", 0, _DATA),
        crc(_DATA, 16, 0x8BB7, 0, reflected=False),
    ),
    case(
        "crc64_be|crc64_be_generic",
        lambda g: g.call("crc64_be|crc64_be_generic", 0, _DATA, len(_DATA)),
        crc(_DATA, 64, 0x42F0E1EBA9EA3693, 0, reflected=False),
    ),
    case(
        "crc64_rocksoft_generic|crc64_nvme",
        lambda g: g.call("crc64_rocksoft_generic|crc64_nvme", 0, _DATA, len(_DATA)),
        crc(_DATA, 64, 0x9A6C9329AC4BC9B5, _ALL, reflected=True) ^ _ALL,
    ),
    case(
        "ip_compute_csum",
        lambda g: g.call("ip_compute_csum", _DATA, len(_DATA)) & 0xFFFF,
        internet_checksum(_DATA),
        inner="csum_partial do_csum",
        faults=1,  # the last word: load_unaligned_zeropad()
    ),
    case("sha1_transform", _sha1, hashlib.sha1(_DATA[:40]).digest()),
    case(
        "sha256",
        _sha256,
        hashlib.sha256(_DATA).digest(),
        inner="sha256_update sha256_final sha256_transform_blocks",
    ),
    case("md5_transform", _md5, hashlib.md5(_DATA[:40]).digest()),
    case(
        "blake2s_update blake2s_final",
        _blake2s,
        hashlib.blake2s(_DATA).digest(),
        inner="blake2s_compress_generic blake2s_compress",
    ),
    case(
        "siphash_3u64",
        lambda g: g.call("siphash_3u64", 1, 1 << 40, _ALL, g.put(_SIP)),
        siphash24(_SIP, struct.pack("<3Q", 1, 1 << 40, _ALL)),
    ),
    case(
        "__siphash_unaligned",
        lambda g: g.call("__siphash_unaligned", _DATA, 61, g.put(_SIP)),
        siphash24(_SIP, _DATA[:61]),
    ),
    case(
        "xxh32",
        lambda g: [g.u32("xxh32", _DATA, n, 42) for n in (75, 7)],
        [xxh32(_DATA, 42), xxh32(_DATA[:7], 42)],
    ),
    case(
        "chacha_block_generic",
        _chacha,
        (chacha20_block(_CHACHA), _CHACHA[12] + 1),
        inner="chacha_permute",
    ),
    # The example of FIPS 197, appendix C.3.
    case(
        "aes_encrypt aes_decrypt",
        _aes,
        (
            bytes.fromhex("8ea2b7ca516745bfeafc49904b496089"),
            bytes.fromhex("00112233445566778899aabbccddeeff"),
        ),
        inner=_AES_KEY,
    ),
]
