/* "eventpoll: defer struct eventpoll free to RCU grace period" (07712db80857): readers hold nothing
 * but rcu_read_lock(), and what they look at is freed at once. */
#include "races.h"

struct eventpoll {
	u64 *depth;
};

static u64 depth = 3;
static struct eventpoll *eventpoll;

noinline s64 ep_create(void)
{
	eventpoll = __kmalloc(sizeof(*eventpoll));
	eventpoll->depth = &depth;
	return 0;
}

noinline s64 ep_get_depth(void)
{
	struct eventpoll *found;
	s64 result = 0;

	rcu_read_lock();
	found = READ_ONCE(eventpoll);
	if (found)
		result = (s64)READ_ONCE(*READ_ONCE(found->depth));
	rcu_read_unlock();
	return result;
}

inline_both s64 ep_free(bool fixed)
{
	struct eventpoll *gone = eventpoll;

	WRITE_ONCE(eventpoll, NULL);
	if (fixed)
		synchronize_rcu();
	kfree(gone);
	return 0;
}
RACY_AND_FIXED(ep_free)
