/* Words for the console, and what the compiler expects of a library. */
#include "init.h"

static char line[512];
static u64 used;

void *memcpy(void *to, const void *from, u64 size)
{
	u8 *out = to;
	const u8 *in = from;

	while (size--)
		*out++ = *in++;
	return to;
}

void *memset(void *to, int value, u64 size)
{
	u8 *out = to;

	while (size--)
		*out++ = value;
	return to;
}

u64 length(const char *text)
{
	u64 size = 0;

	while (text[size])
		size++;
	return size;
}

/* What follows the prefix, or NULL if the text begins with something else. */
const char *after_prefix(const char *text, const char *prefix)
{
	while (*prefix)
		if (*text++ != *prefix++)
			return NULL;
	return text;
}

int same(const char *a, const char *b)
{
	const char *rest = after_prefix(a, b);

	return rest && !*rest;
}

void put(const char *text)
{
	while (*text && used < sizeof(line) - 1)
		line[used++] = *text++;
}

void put_number(s64 value)
{
	char digits[24];
	u64 at = sizeof(digits) - 1, rest = value < 0 ? -(u64)value : (u64)value;

	digits[at] = 0;
	do
		digits[--at] = '0' + rest % 10;
	while (rest /= 10);
	if (value < 0)
		digits[--at] = '-';
	put(digits + at);
}

/* Reports say whose they are: the kernel writes to the same console. */
void begin_line(void)
{
	put("kprobesim init: ");
}

void end_line(void)
{
	line[used++] = '\n';
	write(STDOUT, line, used);
	used = 0;
}
