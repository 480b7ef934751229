/* "block: fix use-after-free in sys_ioprio_get()" (8ba8682107ee, CVE-2016-7911): a task that exits
 * takes its I/O context away from between somebody else's check and use of it. Both need the task's
 * lock. */
#include "races.h"

struct io_context {
	u64 priority;
};

static spinlock_t alloc_lock;
static struct io_context *io_context;

noinline s64 create_io_context(void)
{
	io_context = __kmalloc(sizeof(*io_context));
	io_context->priority = 4;
	return 0;
}

inline_both s64 get_ioprio(bool fixed)
{
	s64 priority = 0;

	if (fixed)
		spin_lock(&alloc_lock);
	if (READ_ONCE(io_context))
		priority = (s64)READ_ONCE(READ_ONCE(io_context)->priority);
	if (fixed)
		spin_unlock(&alloc_lock);
	return priority;
}
RACY_AND_FIXED(get_ioprio)

noinline s64 exit_io_context(void)
{
	struct io_context *context;

	spin_lock(&alloc_lock);
	context = io_context;
	WRITE_ONCE(io_context, NULL);
	spin_unlock(&alloc_lock);
	kfree(context);
	return 0;
}
