/* "workqueue: fix ghost PENDING flag while doing MQ IO" (346c09f80459): a worker takes the flag away
 * that says that it is to run, and looks for work. Who brings work sets the flag, and leaves it at
 * that where it is set: the worker will run. If it looks before others see that it has taken the flag
 * away, the work stays undone. */
#include "races.h"

static u64 request;
static u64 pending = 1;

/* Runs, and returns how much it has found to do. */
inline_both s64 process_one_work(bool fixed)
{
	WRITE_ONCE(pending, 0);
	if (fixed)
		smp_mb();
	return (s64)READ_ONCE(request);
}
RACY_AND_FIXED(process_one_work)

/* Whether the worker has to be told. */
noinline s64 queue_work(void)
{
	WRITE_ONCE(request, 1);
	return !__atomic_fetch_or(&pending, 1, __ATOMIC_SEQ_CST);
}
