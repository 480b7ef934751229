/* Arithmetic with loops, branches and many arguments. */
#include "guest.h"

noinline u64 int_sqrt(u64 x)
{
	u64 bit = 1UL << 62, root = 0;

	while (bit > x)
		bit >>= 2;
	for (; bit; bit >>= 2) {
		if (x >= root + bit) {
			x -= root + bit;
			root = (root >> 1) + bit;
		} else {
			root >>= 1;
		}
	}
	return root;
}

noinline u64 gcd(u64 a, u64 b)
{
	while (b) {
		u64 rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

noinline u64 lcm(u64 a, u64 b)
{
	return a && b ? a / gcd(a, b) * b : 0;
}

noinline u64 int_pow(u64 base, u32 exp)
{
	u64 result = 1;

	for (; exp; exp >>= 1, base *= base)
		if (exp & 1)
			result *= base;
	return result;
}

noinline s64 negate(s64 x)
{
	return -x;
}

/* More arguments than registers: x86-64 passes six in registers, ARM64 eight. */
noinline s64 sum10(s64 a, s64 b, s64 c, s64 d, s64 e, s64 f, s64 g, s64 h, s64 i, s64 j)
{
	return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h + 9 * i + 10 * j;
}

static const int weights[8] = { 3, 1, 4, 1, 5, 9, 2, 6 };

/* A switch that the compiler turns into a ladder of branches. */
noinline s64 calculate(u32 op, s64 a, s64 b)
{
	switch (op) {
	case 0:
		return a + b;
	case 1:
		return a - b;
	case 2:
		return a * b;
	case 3:
		return b ? a / b : -EINVAL;
	case 4:
		return a & b;
	case 5:
		return a ^ b;
	case 6:
		return a * weights[b & 7];
	default:
		return -EINVAL;
	}
}
