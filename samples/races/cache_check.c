/* "svcrpc: ensure cache_check caller sees updated entry" (fdef7aa5d402): an entry of a cache is looked
 * at, and used where it is valid. Whoever fills it says so last, but who uses it may have loaded what
 * is in it before. (Here the one who fills it orders his stores in both variants.) */
#include "races.h"

static u64 entry, valid;

noinline s64 cache_update(u64 value)
{
	WRITE_ONCE(entry, value);
	smp_wmb();
	WRITE_ONCE(valid, 1);
	return 0;
}

/* What is in the entry, or -EBUSY. */
inline_both s64 cache_check(bool fixed)
{
	if (!READ_ONCE(valid))
		return -EBUSY;
	if (fixed)
		smp_rmb();
	return (s64)READ_ONCE(entry);
}
RACY_AND_FIXED(cache_check)
