/* "bcache: fix a lost wake-up problem caused by mca_cannibalize_lock" (34cf78bf34d4): who finds the
 * cache taken joins the queue only afterwards. If it is given back in between, nobody is woken, and
 * he sleeps for ever. Both steps are one under a lock. */
#include "races.h"

static spinlock_t cannibalize_lock;
static u64 owner;
static wait_queue_head_t cannibalize_wait;
static struct task tasks[2];

inline_both bool try_to_take(bool fixed, u64 self)
{
	bool taken;

	if (fixed)
		spin_lock(&cannibalize_lock);
	taken = !__sync_val_compare_and_swap(&owner, 0, self + 1);
	if (!taken)
		prepare_to_wait(&cannibalize_wait, &tasks[self]);
	if (fixed)
		spin_unlock(&cannibalize_lock);
	return taken;
}

inline_both s64 cannibalize(bool fixed, u64 self)
{
	while (!try_to_take(fixed, self))
		schedule_task(&tasks[self]);
	if (fixed)
		spin_lock(&cannibalize_lock);
	WRITE_ONCE(owner, 0);
	wake_up(&cannibalize_wait);
	if (fixed)
		spin_unlock(&cannibalize_lock);
	return 0;
}
RACY_AND_FIXED_OF(cannibalize)
