"""What ``%p`` prints: ``ptr_to_hashval()`` of lib/vsprintf.c, siphash_1u64() of lib/siphash.c."""

from __future__ import annotations

from kprobesim.sizes import MASK64

__all__ = ["hashed_pointer"]

_MOST_ERRNO = 4095
_START = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)


def hashed_pointer(address: int, key: tuple[int, int]) -> str:
    """The 16 characters that are printed for ``address``.

    Args:
        address: A pointer. NULL and error pointers are printed as they are.
        key: The kernel's ``ptr_key``: (0, 0) until it has random numbers for it.
    """
    if address == 0 or address > MASK64 - _MOST_ERRNO:
        return f"{address:016x}"
    if not any(key):
        return "(____ptrval____)"
    return f"{_siphash(address, key) & 0xFFFF_FFFF:016x}"


def _siphash(value: int, key: tuple[int, int]) -> int:
    """SipHash-2-4 of one word of 64 bits."""
    state = [start ^ key[index & 1] for index, start in enumerate(_START)]
    length = 8 << 56
    for word in (value, length):
        state[3] ^= word
        _rounds(state, 2)
        state[0] ^= word
    state[2] ^= 0xFF
    _rounds(state, 4)
    return state[0] ^ state[1] ^ state[2] ^ state[3]


def _rounds(v: list[int], count: int) -> None:
    for _ in range(count):
        v[0] = v[0] + v[1] & MASK64
        v[1] = _left(v[1], 13) ^ v[0]
        v[0] = _left(v[0], 32)
        v[2] = v[2] + v[3] & MASK64
        v[3] = _left(v[3], 16) ^ v[2]
        v[0] = v[0] + v[3] & MASK64
        v[3] = _left(v[3], 21) ^ v[0]
        v[2] = v[2] + v[1] & MASK64
        v[1] = _left(v[1], 17) ^ v[2]
        v[2] = _left(v[2], 32)


def _left(value: int, bits: int) -> int:
    return (value << bits | value >> 64 - bits) & MASK64
