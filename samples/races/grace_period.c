/* Read-copy-update with the functions of a real kernel: who replaces an object frees it at once, or
 * after a grace period. Memory comes from the caller. */
#include "races.h"

struct callback_head {
	struct callback_head *next;
	void (*func)(struct callback_head *head);
};
struct object {
	struct callback_head head;
	u64 value;
};

/* Where CONFIG_PREEMPT_RCU is not they are missing: readers need no code there. */
#pragma weak __rcu_read_lock
#pragma weak __rcu_read_unlock
void call_rcu(struct callback_head *head, void (*func)(struct callback_head *head));
void rcu_barrier(void);

static struct object *published;
static u64 freed;
static void (*volatile lock)(void) = __rcu_read_lock;
static void (*volatile unlock)(void) = __rcu_read_unlock;

static void read_lock(void)
{
	if (lock)
		lock();
}

static void read_unlock(void)
{
	if (unlock)
		unlock();
}

/* Release an object to readers; nothing reads yet. */
noinline s64 rcu_publish(struct object *new)
{
	new->value = 1;
	smp_store_release(&published, new);
	return 0;
}

noinline s64 rcu_read(void)
{
	struct object *found;
	s64 result;

	read_lock();
	found = READ_ONCE(published);
	result = (s64)READ_ONCE(found->value);
	read_unlock();
	return result;
}

/* Uses the object once the section is over. */
noinline s64 rcu_read_late(void)
{
	struct object *found;

	read_lock();
	found = READ_ONCE(published);
	read_unlock();
	return (s64)READ_ONCE(found->value);
}

inline_both s64 rcu_replace(bool fixed, struct object *new)
{
	struct object *old = published;

	new->value = 2;
	smp_store_release(&published, new);
	if (fixed)
		synchronize_rcu();
	kfree(old);
	return 0;
}
noinline s64 rcu_replace_racy(struct object *new) { return rcu_replace(false, new); }
noinline s64 rcu_replace_fixed(struct object *new) { return rcu_replace(true, new); }

static void free_object(struct callback_head *head)
{
	kfree(head);
	freed++;
}

/* Leaves the freeing to a callback. */
noinline s64 rcu_replace_later(struct object *new)
{
	struct object *old = published;

	new->value = 2;
	smp_store_release(&published, new);
	call_rcu(&old->head, free_object);
	return 0;
}

/* Waits until callbacks are over; how many objects they have freed. */
noinline s64 rcu_freed(void)
{
	rcu_barrier();
	return (s64)freed;
}

/* Releases nothing: the pointer may be seen before what it leads to. */
noinline s64 rcu_publish_early(struct object *new)
{
	WRITE_ONCE(new->value, 2);
	WRITE_ONCE(published, new);
	return 0;
}
