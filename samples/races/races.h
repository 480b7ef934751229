/* What the races share: the kernel's primitives in small, under the kernel's names. */
#ifndef RACES_H
#define RACES_H

#include "../module/module.h"

typedef _Bool bool;
enum { false, true };
#define NULL ((void *)0)
enum { EBUSY = 16, EINVAL = 22 };

#define READ_ONCE(place) (*(const volatile __typeof__(place) *)&(place))
#define WRITE_ONCE(place, value) (*(volatile __typeof__(place) *)&(place) = (value))
/* Hides a value from the compiler, which would make one instruction of a load and a store. */
#define opaque(value) __asm__ volatile("" : "+r"(value))
#define smp_load_acquire(pointer) __atomic_load_n(pointer, __ATOMIC_ACQUIRE)
#define smp_store_release(pointer, value) __atomic_store_n(pointer, value, __ATOMIC_RELEASE)
#define smp_mb() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#ifdef __x86_64__
#define cpu_relax() __asm__ volatile("pause" ::: "memory")
#define smp_rmb() __asm__ volatile("" ::: "memory")
#define smp_wmb() __asm__ volatile("" ::: "memory")
#else
#define cpu_relax() __asm__ volatile("yield" ::: "memory")
#define smp_rmb() __asm__ volatile("dmb ishld" ::: "memory")
#define smp_wmb() __asm__ volatile("dmb ishst" ::: "memory")
#endif

/* A race is written once; what mends it stands in it, under `if (fixed)`. */
#define inline_both static inline __attribute__((always_inline))
#define RACY_AND_FIXED(name)                                                                       \
	noinline s64 name##_racy(void) { return name(false); }                                     \
	noinline s64 name##_fixed(void) { return name(true); }
#define RACY_AND_FIXED_OF(name)                                                                    \
	noinline s64 name##_racy(u64 argument) { return name(false, argument); }                   \
	noinline s64 name##_fixed(u64 argument) { return name(true, argument); }

#define TRAP(line, flags)                                                                          \
	__asm__ volatile("771: " BUG_INSTRUCTION "\n"                                              \
			 ".pushsection __bug_table, \"aw\"\n"                                      \
			 ".balign 4\n"                                                             \
			 ".long 771b - .\n.long 772f - .\n.short %c0\n.short " flags "\n"          \
			 ".popsection\n"                                                           \
			 ".pushsection .rodata.str, \"aMS\", %%progbits, 1\n"                      \
			 "772: .asciz \"samples/" __FILE__ "\"\n"                                  \
			 ".popsection" ::"i"(line))
#define BUG_ON(wrong)                                                                              \
	do {                                                                                       \
		if (__builtin_expect(!!(wrong), 0)) {                                              \
			TRAP(__LINE__, "0");                                                       \
			__builtin_unreachable();                                                   \
		}                                                                                  \
	} while (0)
#define WARN_ON(wrong)                                                                             \
	do {                                                                                       \
		if (__builtin_expect(!!(wrong), 0))                                                \
			TRAP(__LINE__, "1");                                                       \
	} while (0)

/* locks.c */
typedef struct {
	u32 locked;
} spinlock_t;
void _raw_spin_lock(spinlock_t *lock);
void _raw_spin_unlock(spinlock_t *lock);
#define spin_lock(lock) _raw_spin_lock(lock)
#define spin_unlock(lock) _raw_spin_unlock(lock)

/* As large as any kernel's; what is in it is its own affair. */
struct mutex {
	u64 words[16];
};

/* mutex.c: what a kernel has for them. In memory, as an instruction could not hold the address of
 * a function that may be missing. */
extern volatile struct mutexes {
	void (*__mutex_init)(struct mutex *lock, const char *name, void *key);
	void (*mutex_init_generic)(struct mutex *lock);
	void (*lock[2])(struct mutex *lock);
	void (*unlock[2])(struct mutex *lock);
} kernel_mutexes;
void init_mutex(struct mutex *lock);
static inline void lock_mutex(struct mutex *lock)
{
	(kernel_mutexes.lock[0] ? kernel_mutexes.lock[0] : kernel_mutexes.lock[1])(lock);
}
static inline void unlock_mutex(struct mutex *lock)
{
	(kernel_mutexes.unlock[0] ? kernel_mutexes.unlock[0] : kernel_mutexes.unlock[1])(lock);
}

/* rcu.c */
void __rcu_read_lock(void);
void __rcu_read_unlock(void);
void synchronize_rcu(void);
#define rcu_read_lock() __rcu_read_lock()
#define rcu_read_unlock() __rcu_read_unlock()

/* slab.c */
void *__kmalloc(u64 size);
void kfree(void *object);

/* list.c */
struct list_head {
	struct list_head *next, *prev;
};
#define LIST_HEAD(name) struct list_head name = { &(name), &(name) }
void list_add(struct list_head *new, struct list_head *head);
void list_del(struct list_head *entry);
static inline bool list_empty(const struct list_head *head)
{
	return READ_ONCE(head->next) == head;
}

/* wait.c: a task that may sleep, and who does. */
struct task {
	u32 asleep;
	struct task *next;
};
typedef struct {
	spinlock_t lock;
	struct task *first;
} wait_queue_head_t;
void prepare_to_wait(wait_queue_head_t *queue, struct task *task);
void schedule_task(struct task *task);
void wake_up(wait_queue_head_t *queue);

#endif
