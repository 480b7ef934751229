/* "lcoking/rwsem: Add missing ACQUIRE to read_slowpath sleep loop" (99143f82a255): who waits for a
 * lock that a writer holds sees that it was given to him, and then what the writer has written. Both
 * are loads, and a branch between them orders nothing on ARM64. */
#include "races.h"

static u64 protected_by_it;
static u64 waiter = 1;

/* Gives the lock to who waits for it. */
noinline s64 rwsem_up_write(u64 value)
{
	WRITE_ONCE(protected_by_it, value);
	smp_store_release(&waiter, 0);
	return 0;
}

/* What the lock protects, or -EBUSY as long as somebody else has it. */
inline_both s64 rwsem_down_read(bool fixed)
{
	if (fixed ? smp_load_acquire(&waiter) : READ_ONCE(waiter))
		return -EBUSY;
	return (s64)READ_ONCE(protected_by_it);
}
RACY_AND_FIXED(rwsem_down_read)
