/* A kernel's mutexes, by the names that it has for them: __mutex_init() is mutex_init_generic()
 * from 6.19 on, those of PREEMPT_RT are ready when they are zero, and in 5.10 have an underscore. */
#include "races.h"

#define maybe __attribute__((weak))
maybe void __mutex_init(struct mutex *lock, const char *name, void *key);
maybe void mutex_init_generic(struct mutex *lock);
maybe void mutex_lock(struct mutex *lock);
maybe void _mutex_lock(struct mutex *lock);
maybe void mutex_unlock(struct mutex *lock);
maybe void _mutex_unlock(struct mutex *lock);

volatile struct mutexes kernel_mutexes = {
	__mutex_init,
	mutex_init_generic,
	{ mutex_lock, _mutex_lock },
	{ mutex_unlock, _mutex_unlock },
};

noinline void init_mutex(struct mutex *lock)
{
	*lock = (struct mutex){};
	if (kernel_mutexes.__mutex_init)
		kernel_mutexes.__mutex_init(lock, "lock", NULL);
	else if (kernel_mutexes.mutex_init_generic)
		kernel_mutexes.mutex_init_generic(lock);
}
