/* Locks that spin, also those that would let others run: nobody else is on their CPU. */
#include "races.h"

noinline void _raw_spin_lock(spinlock_t *lock)
{
	while (__atomic_exchange_n(&lock->locked, 1, __ATOMIC_ACQUIRE))
		while (READ_ONCE(lock->locked))
			cpu_relax();
}

noinline void _raw_spin_unlock(spinlock_t *lock)
{
	smp_store_release(&lock->locked, 0);
}

void __mutex_init(struct mutex *lock, const char *name, void *key);
void mutex_lock(struct mutex *lock);
void mutex_unlock(struct mutex *lock);

noinline void __mutex_init(struct mutex *lock, const char *name, void *key)
{
	(void)name, (void)key;
	lock->words[0] = 0;
}

noinline void mutex_lock(struct mutex *lock)
{
	while (__atomic_exchange_n(&lock->words[0], 1, __ATOMIC_ACQUIRE))
		while (READ_ONCE(lock->words[0]))
			cpu_relax();
}

noinline void mutex_unlock(struct mutex *lock)
{
	smp_store_release(&lock->words[0], 0);
}
