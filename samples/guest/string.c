/* The string functions, byte by byte. Not traced, as some libraries are in the kernel. */
#include "guest.h"

noinline size_t strlen(const char *s)
{
	const char *end = s;

	while (*end)
		end++;
	return end - s;
}

noinline int strcmp(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return (u8)*a - (u8)*b;
}

noinline char *strcpy(char *dst, const char *src)
{
	char *to = dst;

	while ((*to++ = *src++))
		;
	return dst;
}

/* Bytes copied without the final NUL; -E2BIG when src had to be cut. */
noinline s64 strscpy(char *dst, const char *src, size_t size)
{
	size_t i;

	if (!size)
		return -E2BIG;
	for (i = 0; i < size; i++)
		if (!(dst[i] = src[i]))
			return i;
	dst[size - 1] = 0;
	return -E2BIG;
}

noinline char *strchr(const char *s, int c)
{
	for (; *s != (char)c; s++)
		if (!*s)
			return NULL;
	return (char *)s;
}

noinline char *strstr(const char *haystack, const char *needle)
{
	size_t length = strlen(needle);

	for (; *haystack; haystack++)
		if (!memcmp(haystack, needle, length))
			return (char *)haystack;
	return length ? NULL : (char *)haystack;
}

noinline void *memcpy(void *dst, const void *src, size_t count)
{
	u8 *to = dst;
	const u8 *from = src;

	while (count--)
		*to++ = *from++;
	return dst;
}
/* One address, two names, as the kernel's memcpy has. */
void *__memcpy(void *dst, const void *src, size_t count) __attribute__((alias("memcpy")));

noinline void *memmove(void *dst, const void *src, size_t count)
{
	u8 *to = dst;
	const u8 *from = src;

	if (to <= from)
		return memcpy(dst, src, count);
	while (count--)
		to[count] = from[count];
	return dst;
}

noinline void *memset(void *s, int c, size_t count)
{
	u8 *at = s;

	while (count--)
		*at++ = c;
	return s;
}

noinline int memcmp(const void *a, const void *b, size_t count)
{
	const u8 *x = a, *y = b;

	for (; count; count--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}
