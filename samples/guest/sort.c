/* Sorting and searching through function pointers: indirect calls on every step. */
#include "guest.h"

typedef int cmp_func_t(const void *a, const void *b);
typedef void swap_func_t(void *a, void *b, int size);

noinline int cmp_int(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

noinline int cmp_int_desc(const void *a, const void *b)
{
	return -cmp_int(a, b);
}

noinline void swap_bytes(void *a, void *b, int size)
{
	u8 *x = a, *y = b;

	while (size-- > 0) {
		u8 t = *x;

		*x++ = *y;
		*y++ = t;
	}
}

static noinline void sift_down(u8 *base, size_t root, size_t num, size_t size, cmp_func_t *cmp,
			       swap_func_t *swap)
{
	size_t child;

	for (; (child = 2 * root + 1) < num; root = child) {
		if (child + 1 < num && cmp(base + child * size, base + (child + 1) * size) < 0)
			child++;
		if (cmp(base + root * size, base + child * size) >= 0)
			return;
		swap(base + root * size, base + child * size, size);
	}
}

/* Heap sort, as the kernel's: no memory, no bad case. swap_func may be NULL. */
noinline void sort(void *base, size_t num, size_t size, cmp_func_t *cmp, swap_func_t *swap)
{
	size_t i;

	if (!swap)
		swap = swap_bytes;
	for (i = num / 2; i-- > 0;)
		sift_down(base, i, num, size, cmp, swap);
	for (i = num; i-- > 1;) {
		swap(base, (u8 *)base + i * size, size);
		sift_down(base, 0, i, size, cmp, swap);
	}
}

noinline void *bsearch(const void *key, const void *base, size_t num, size_t size, cmp_func_t *cmp)
{
	const u8 *low = base;

	while (num) {
		const u8 *middle = low + num / 2 * size;
		int order = cmp(key, middle);

		if (!order)
			return (void *)middle;
		if (order > 0) {
			low = middle + size;
			num--;
		}
		num /= 2;
	}
	return NULL;
}
