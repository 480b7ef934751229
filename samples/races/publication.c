/* "tty: fix data race on tty_buffer.commit" (facd885c7506): how much of a buffer is filled is told
 * with a plain store, which may come before what it is filled with. Only memory that reorders stores
 * shows it. */
#include "races.h"

static u64 data;
static u64 commit;

inline_both s64 tty_commit(bool fixed, u64 value)
{
	WRITE_ONCE(data, value);
	if (fixed)
		smp_store_release(&commit, 1);
	else
		WRITE_ONCE(commit, 1);
	return 0;
}
RACY_AND_FIXED_OF(tty_commit)

/* What is committed, or -EBUSY. */
noinline s64 tty_flush(void)
{
	if (!smp_load_acquire(&commit))
		return -EBUSY;
	return (s64)READ_ONCE(data);
}
