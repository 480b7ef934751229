/* Read-copy-update: a grace period is over once nobody reads. */
#include "races.h"

static u64 readers;

noinline void __rcu_read_lock(void)
{
	__atomic_fetch_add(&readers, 1, __ATOMIC_SEQ_CST);
}

noinline void __rcu_read_unlock(void)
{
	__atomic_fetch_sub(&readers, 1, __ATOMIC_SEQ_CST);
}

noinline void synchronize_rcu(void)
{
	while (__atomic_load_n(&readers, __ATOMIC_SEQ_CST))
		cpu_relax();
}
