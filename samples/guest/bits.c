/* Counting and finding bits. */
#include "guest.h"

/* hash.c has a local function of this name as well. */
static noinline u32 mix(u32 x)
{
	x ^= x >> 16;
	x *= 0x45d9f3b;
	return x ^ x >> 15;
}

noinline u32 hash_32(u32 value, u32 bits)
{
	return mix(value) >> (32 - bits);
}

noinline u32 hweight64(u64 x)
{
	u32 count = 0;

	for (; x; x &= x - 1)
		count++;
	return count;
}

/* The first set bit at or after offset, or size. */
noinline u64 find_next_bit(const u64 *addr, u64 size, u64 offset)
{
	for (; offset < size; offset++)
		if (addr[offset / 64] >> offset % 64 & 1)
			break;
	return offset;
}

noinline u64 bit_reverse(u64 x)
{
	u64 result = 0;
	int i;

	for (i = 0; i < 64; i++, x >>= 1) {
		result = result << 1 | (x & 1);
		opaque(result);
	}
	return result;
}
