/* Checksums and hashes: tables in read-only data, rotations, multiplications. */
#include "guest.h"

extern const u32 crc32table_le[256];

noinline u32 crc32_le(u32 crc, const u8 *p, size_t len)
{
	while (len--)
		crc = crc32table_le[(crc ^ *p++) & 0xff] ^ (crc >> 8);
	return crc;
}

noinline u32 fnv1a32(const u8 *p, size_t len)
{
	u32 hash = 0x811c9dc5;

	while (len--)
		hash = (hash ^ *p++) * 0x01000193;
	return hash;
}

static u32 rotate(u32 x, int by)
{
	return x << by | x >> (32 - by);
}

static u32 load32(const u8 *p)
{
	return p[0] | p[1] << 8 | p[2] << 16 | (u32)p[3] << 24;
}

#define XXH_P1 0x9e3779b1U
#define XXH_P2 0x85ebca77U
#define XXH_P3 0xc2b2ae3dU
#define XXH_P4 0x27d4eb2fU
#define XXH_P5 0x165667b1U

/* "mix" is a local name that bits.c has too: a name alone does not say which one is meant. */
static noinline u32 mix(u32 acc, u32 word)
{
	return rotate(acc + word * XXH_P2, 13) * XXH_P1;
}

noinline u32 xxh32(const u8 *p, size_t len, u32 seed)
{
	const u8 *end = p + len;
	u32 hash;

	if (len >= 16) {
		u32 a = seed + XXH_P1 + XXH_P2, b = seed + XXH_P2, c = seed, d = seed - XXH_P1;

		for (; end - p >= 16; p += 16) {
			a = mix(a, load32(p));
			b = mix(b, load32(p + 4));
			c = mix(c, load32(p + 8));
			d = mix(d, load32(p + 12));
		}
		hash = rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18);
	} else {
		hash = seed + XXH_P5;
	}
	hash += len;
	for (; end - p >= 4; p += 4)
		hash = rotate(hash + load32(p) * XXH_P3, 17) * XXH_P4;
	for (; p < end; p++)
		hash = rotate(hash + *p * XXH_P5, 11) * XXH_P1;
	hash = (hash ^ hash >> 15) * XXH_P2;
	hash = (hash ^ hash >> 13) * XXH_P3;
	return hash ^ hash >> 16;
}
