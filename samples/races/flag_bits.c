/* "cpuset: PF_SPREAD_PAGE and PF_SPREAD_SLAB should be atomic flags" (2ad654bc5e2b): a task changes a
 * bit of its flags, another CPU a second one of the same word, and one of both is lost. */
#include "races.h"

enum { PF_USED_MATH = 0x2000, PF_SPREAD_PAGE = 0x01000000 };

static u32 flags = PF_USED_MATH;

inline_both void change_flags(bool fixed, u32 clear, u32 set)
{
	if (!fixed) {
		u32 now = READ_ONCE(flags);

		opaque(now);
		WRITE_ONCE(flags, (now & ~clear) | set);
	} else {
		__atomic_fetch_and(&flags, ~clear, __ATOMIC_RELAXED);
		__atomic_fetch_or(&flags, set, __ATOMIC_RELAXED);
	}
}

/* The task forgets its floating-point state. */
inline_both s64 clear_used_math(bool fixed)
{
	change_flags(fixed, PF_USED_MATH, 0);
	return 0;
}
RACY_AND_FIXED(clear_used_math)

/* Somebody writes to cpuset.memory_spread_page. */
inline_both s64 spread_page(bool fixed)
{
	change_flags(fixed, 0, PF_SPREAD_PAGE);
	return 0;
}
RACY_AND_FIXED(spread_page)

/* Whether the flags are what both have made of them. */
noinline s64 flags_are_right(void)
{
	return flags == PF_SPREAD_PAGE;
}
