/* Numbers to text and back. */
#include "guest.h"

/* Decimal digits of number in buf, without a NUL; their count, or 0 when size is too small. */
noinline int num_to_str(char *buf, int size, u64 number)
{
	char digits[20];
	int count = 0, i;

	do {
		digits[count++] = '0' + number % 10;
		number /= 10;
	} while (number);
	if (count > size)
		return 0;
	for (i = 0; i < count; i++)
		buf[i] = digits[count - 1 - i];
	return count;
}

static noinline int digit_value(int c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'z' ? c - 'a' + 10 : 99;
}

/* 0 and *res, or -EINVAL (no number), or -ERANGE (more than 64 bits). Base 0 reads 0x and 0. */
noinline int kstrtoull(const char *s, u32 base, u64 *res)
{
	u64 value = 0;

	if (*s == '+')
		s++;
	if (s[0] == '0' && (s[1] | 0x20) == 'x' && (base == 0 || base == 16)) {
		base = 16;
		s += 2;
	} else if (base == 0) {
		base = s[0] == '0' ? 8 : 10;
	}
	if (digit_value(*s) >= (int)base)
		return -EINVAL;
	for (; digit_value(*s) < (int)base; s++) {
		u64 product, sum;

		if (__builtin_mul_overflow(value, (u64)base, &product) ||
		    __builtin_add_overflow(product, (u64)digit_value(*s), &sum))
			return -ERANGE;
		value = sum;
	}
	if (*s == '\n')
		s++;
	if (*s)
		return -EINVAL;
	*res = value;
	return 0;
}

noinline int kstrtoll(const char *s, u32 base, s64 *res)
{
	int negative = *s == '-';
	u64 value;
	int err = kstrtoull(s + negative, base, &value);

	if (err)
		return err;
	if (value > (~0UL >> 1) + negative)
		return -ERANGE;
	*res = negative ? -value : value;
	return 0;
}
