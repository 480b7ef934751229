/* "ucount: Remove the atomicity from ucount->count" (040757f738e1, CVE-2017-6874): the count falls to
 * zero outside the lock under which others look the object up, so that they take a reference to what
 * is about to be freed. The count belongs under the lock. */
#include "races.h"

struct ucounts {
	struct list_head node;
	u64 *limit;
	u64 count;
};

static spinlock_t ucounts_lock;
static LIST_HEAD(ucounts_table);
static u64 limit = 7;

noinline s64 create_ucounts(void)
{
	struct ucounts *new = __kmalloc(sizeof(*new));

	new->limit = &limit;
	new->count = 1;
	list_add(&new->node, &ucounts_table);
	return 0;
}

static struct ucounts *get_ucounts(void)
{
	struct ucounts *found = NULL;

	spin_lock(&ucounts_lock);
	if (!list_empty(&ucounts_table)) {
		found = (struct ucounts *)ucounts_table.next;
		__atomic_fetch_add(&found->count, 1, __ATOMIC_RELAXED);
	}
	spin_unlock(&ucounts_lock);
	return found;
}

inline_both void put(bool fixed, struct ucounts *ucounts)
{
	bool last;

	if (fixed)
		spin_lock(&ucounts_lock);
	last = __atomic_fetch_sub(&ucounts->count, 1, __ATOMIC_RELAXED) == 1;
	if (last && !fixed)
		spin_lock(&ucounts_lock);
	if (last)
		list_del(&ucounts->node);
	if (last || fixed)
		spin_unlock(&ucounts_lock);
	if (last)
		kfree(ucounts);
}

/* The first user's end: the reference that create_ucounts() has left. */
inline_both s64 put_ucounts(bool fixed)
{
	put(fixed, (struct ucounts *)ucounts_table.next);
	return 0;
}
RACY_AND_FIXED(put_ucounts)

/* Another user: the limit, or 0 if there is none any more. */
inline_both s64 inc_ucount(bool fixed)
{
	struct ucounts *ucounts = get_ucounts();
	s64 found = 0;

	if (ucounts) {
		found = (s64)*READ_ONCE(ucounts->limit);
		put(fixed, ucounts);
	}
	return found;
}
RACY_AND_FIXED(inc_ucount)
