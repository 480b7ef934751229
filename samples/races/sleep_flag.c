/* "io_uring: fix race condition when sq threads goes sleeping" (0d7bae69c574): the thread says that
 * it sleeps and looks for work, who brings work looks whether it sleeps; each store may still be in
 * its CPU's buffer when the other one looks. Only a full barrier between both orders them. */
#include "races.h"

static u64 tail, need_wakeup;

/* Whether the thread goes to sleep. */
inline_both s64 sq_thread(bool fixed)
{
	WRITE_ONCE(need_wakeup, 1);
	if (fixed)
		smp_mb();
	return !READ_ONCE(tail);
}
RACY_AND_FIXED(sq_thread)

/* Brings work; whether the thread is woken. */
inline_both s64 sq_submit(bool fixed)
{
	WRITE_ONCE(tail, 1);
	if (fixed)
		smp_mb();
	return (s64)READ_ONCE(need_wakeup);
}
RACY_AND_FIXED(sq_submit)
